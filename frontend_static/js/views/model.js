/** One model: what it is, its layers, its versions, and what can be done with it. */
import * as api from "../api.js";
import { Badge, TrainingBadge } from "../components/badge.js";
import { Button, LinkButton } from "../components/button.js";
import { CopyButton } from "../components/code.js";
import { confirm } from "../components/dialog.js";
import { DownloadLink } from "../components/download_link.js";
import { LayerTable } from "../components/layer_table.js";
import { PageHead } from "../components/page_head.js";
import { Loading, Notice } from "../components/states.js";
import { toast } from "../components/toast.js";
import { bytes, count, dateTime, number, short } from "../format.js";
import { html, useState } from "../html.js";
import { FORMAT, isLocal, KIND, shapeText, trainingOf } from "../model_words.js";
import { useResource } from "../resource.js";
import { go, Link } from "../router.js";
import { session } from "../session.js";
import { isRunning } from "../words.js";
import { loadPeople, nameOf } from "./models/people.js";
import { PreprocessingDialog } from "./models/preprocessing_dialog.js";
import { Updates } from "./models/updates.js";
import { Versions } from "./models/versions.js";

export default function Model({ params }) {
  const { id } = params;
  const resource = useResource((signal) => load(id, signal), [id]);
  const { data, error, reload } = resource;
  if (data === undefined) {
    if (error === null) {
      return html`<${PageHead} title="Model" /><div class="panel"><${Loading} lines=${6} /></div>`;
    }
    return html`<${PageHead} title="Model" />
      <${Notice} tone="bad" action=${html`<${LinkButton} to="/models">All models<//>`}>
        ${refused(error)}
      <//>`;
  }
  return html`<${Shown} ...${data} reload=${reload} />`;
}

async function load(id, signal) {
  const [model, models, trainings] = await Promise.all([
    api.get(`/api/models/${id}/metadata/`, { signal }),
    api.get("/api/models/", { signal }),
    api.get("/api/users/trainings/", { signal }),
  ]);
  const training = trainingOf(model, trainings);
  const [versions, base, updates] = await Promise.all([
    isLocal(model) ? [] : api.get(`/api/models/${id}/versions/`, { signal }),
    isLocal(model) ? readBase(model, signal) : null,
    training === null || isLocal(model) ? [] : readUpdates(training, signal),
  ]);
  const people = await loadPeople([model, ...updates], signal);
  return { model, models, training, people, versions, base, updates };
}

/** The model that an update is of; null for who is no participant of its training any more. */
async function readBase(model, signal) {
  try {
    return await api.get(`/api/models/${model.base_model}/metadata/`, { signal });
  } catch (error) {
    if (error.status === 403) return null;
    throw error;
  }
}

const BaseLink = ({ base }) =>
  base === null
    ? "a training that you have left"
    : html`<${Link} to=${`/models/${base.id}`}>${base.name || "without a name"}<//>`;

async function readUpdates(training, signal) {
  const models = await api.get(`/api/trainings/${training.id}/models/`, { signal });
  return models.filter(isLocal);
}

function refused(error) {
  if (error.status === 403) {
    return "This model is not yours to see. Its owner, the actor of its training and who takes part in it may look at it.";
  }
  if (error.status === 400) return "There is no such model. Perhaps it was deleted.";
  return error.message;
}

function Shown({ model, models, training, people, versions, base, updates, reload }) {
  const local = isLocal(model);
  const title = local ? `Update of round ${model.round}` : model.name || "Model without a name";
  const mine = model.owner === session.value.user?.id;
  return html`
    <${PageHead}
      title=${title}
      lead=${local ? null : model.description}
      actions=${html`<${Actions} ...${{ model, models, training, mine, title }} />`}
    >
      <p class="row model-badges">
        <${Badge}>${KIND[model.kind].label}<//>
        ${training &&
        html`<${Link} to=${`/trainings/${training.id}`} class="badge-link">
          <${TrainingBadge} training=${training} />
        <//>`}
      </p>
    <//>
    <div class="model-grid">
      <div class="stack">
        ${!local &&
        html`<section class="panel" aria-labelledby="layers">
          <header><h2 id="layers">Layers</h2></header>
          <div class="panel-body"><${LayerTable} model=${model} /></div>
        </section>`}
        ${!local && html`<${Versions} model=${model} versions=${versions} />`}
        ${updates.length > 0 && html`<${Updates} updates=${updates} people=${people} />`}
        ${local &&
        html`<${Notice}>
          An update has the layers of the model that it is of:${" "}
          <${BaseLink} base=${base} />.
        <//>`}
      </div>
      <div class="stack">
        <section class="panel" aria-labelledby="facts">
          <header><h2 id="facts">Facts</h2></header>
          <div class="panel-body"><${Facts} ...${{ model, models, training, people, base }} /></div>
        </section>
        <section class="panel" aria-labelledby="files">
          <header><h2 id="files">Files</h2></header>
          <div class="panel-body"><${Files} model=${model} mine=${mine} reload=${reload} /></div>
        </section>
      </div>
    </div>
  `;
}

function Actions({ model, models, training, mine, title }) {
  const mayDelete = mine || training?.actor === session.value.user?.id;
  return html`
    <${LinkButton} to="/try" query=${{ model: model.id }} icon="sparkles">Try it<//>
    ${mine &&
    model.kind !== "LOCAL" &&
    html`<${LinkButton} to="/trainings/new" query=${{ model: model.id }} icon="play">
      ${model.kind === "MEAN" ? "Predict as ensemble" : "Train it"}
    <//>`}
    ${mayDelete &&
    html`<${Button}
      tone="danger"
      icon="trash-2"
      reason=${whyNotDeleted(model, models, training)}
      onClick=${() => askDelete(model, training, title)}
    >
      Delete
    <//>`}
  `;
}

function whyNotDeleted(model, models, training) {
  if (training !== null && isRunning(training)) {
    return "Its training is running. Abort or delete the training first.";
  }
  const mean = models.find((other) => other.models?.includes(model.id));
  if (mean) return `It is a member of the mean model “${mean.name}”. Delete that first.`;
  return null;
}

async function askDelete(model, training, title) {
  const along =
    model.kind !== "LOCAL" && training !== null
      ? "Its training goes with it, with every update and figure."
      : "Its versions and files go with it.";
  const done = await confirm({
    title: `Delete ${model.kind === "LOCAL" ? "this update" : `“${title}”`}?`,
    text: html`<p>
      ${model.kind === "LOCAL" ? "Its weights are deleted for good." : along} This cannot be undone.
    </p>`,
    verb: "Delete",
    danger: true,
    act: () => api.del(`/api/models/${model.id}/`),
  });
  if (!done) return;
  toast("Deleted.");
  go("/models");
}

function Facts({ model, models, training, people, base }) {
  const named = new Map(models.map((other) => [other.id, other.name]));
  const local = isLocal(model);
  return html`<dl class="facts">
    <dt>Owner</dt>
    <dd>${nameOf(model.owner, people)}</dd>
    <dt>${local ? "Delivered" : "Created"}</dt>
    <dd>${dateTime(model.created_at)}</dd>
    <dt>Round</dt>
    <dd>${number(model.round)}</dd>
    ${local
      ? html`<dt>Samples</dt>
          <dd>${number(model.sample_size)}</dd>
          <dt>Of model</dt>
          <dd><${BaseLink} base=${base} /></dd>`
      : html`<dt>Parameters</dt>
          <dd>${number(model.num_parameters)}</dd>
          <dt>Input shape</dt>
          <dd>${shapeText(model.input_shape)}</dd>
          <dt>Format</dt>
          <dd>${FORMAT[model.format] ?? model.format}</dd>`}
    <dt>Size</dt>
    <dd>${bytes(model.size_bytes)}</dd>
    <dt>Training</dt>
    <dd>
      ${training
        ? html`<${Link} to=${`/trainings/${training.id}`}>
            ${`${training.aggregation_method}, ${count(training.target_num_updates, "round")}`}
          <//>`
        : html`<span class="quiet">none</span>`}
    </dd>
    ${model.models &&
    html`<dt>Members</dt>
      <dd>
        <ul>
          ${model.models.map(
            (member) => html`<li key=${member}>
              <${Link} to=${`/models/${member}`}>${named.get(member) || short(member)}<//>
            </li>`,
          )}
        </ul>
      </dd>`}
    <dt>Id</dt>
    <dd class="row">
      <span class="mono">${model.id}</span>
      <${CopyButton} text=${model.id} aria-label="Copy the id" />
    </dd>
  </dl>`;
}

function Files({ model, mine, reload }) {
  const [dialog, setDialog] = useState(false);
  const path = `/api/models/${model.id}`;
  const local = isLocal(model);
  return html`<ul class="files">
    <${File}
      name="Model"
      text=${local ? "As it was delivered." : "In the format that was uploaded, for torch."}
      href=${`${path}/`}
    />
    <${File}
      name="Tensors alone"
      text="As safetensors, for any framework."
      href=${`${path}/?format=safetensors`}
    />
    ${model.kind === "SWAG" &&
    (model.swag_first_moment
      ? html`<${File}
            name="First SWAG moment"
            text="Mean of the weights, a torch tensor."
            href=${`${path}/swag/first/`}
          />
          <${File}
            name="Second SWAG moment"
            text="Mean of their squares."
            href=${`${path}/swag/second/`}
          />`
      : html`<li>
          <span class="files-words">
            <strong>SWAG moments</strong>
            <span class="quiet">There are none before a training with SWAG has collected them.</span>
          </span>
        </li>`)}
    ${model.has_preprocessing &&
    html`<${File}
      name="Preprocessing"
      text="What inputs go through before the model."
      href=${`${path}/preprocessing/`}
    />`}
    ${!local &&
    (mine || !model.has_preprocessing) &&
    html`<li>
      <span class="files-words">
        ${!model.has_preprocessing &&
        html`<strong>Preprocessing</strong>
          <span class="quiet">None: inputs reach the model as they are sent.</span>`}
      </span>
      ${mine &&
      html`<${Button} size="small" icon="upload" onClick=${() => setDialog(true)}>
        ${model.has_preprocessing ? "Replace preprocessing" : "Upload preprocessing"}
      <//>`}
    </li>`}
    ${dialog &&
    html`<${PreprocessingDialog}
      model=${model}
      onClose=${() => setDialog(false)}
      onDone=${() => {
        setDialog(false);
        toast("The preprocessing is there.");
        reload();
      }}
    />`}
  </ul>`;
}

function File({ name, text, href }) {
  return html`<li>
    <span class="files-words">
      <strong>${name}</strong>
      <span class="quiet">${text}</span>
    </span>
    <${DownloadLink} href=${href} label=${`Download: ${name}`} />
  </li>`;
}
