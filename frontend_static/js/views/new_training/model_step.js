/** Step 1: which model. */
import { Badge } from "../../components/badge.js";
import { LinkButton } from "../../components/button.js";
import { TextField } from "../../components/field.js";
import { LayerTable } from "../../components/layer_table.js";
import { Icon } from "../../components/icon.js";
import { Empty, Loaded, Notice } from "../../components/states.js";
import { Tabs } from "../../components/tabs.js";
import { ago, count, dateTime, number } from "../../format.js";
import { html, useId, useMemo, useState } from "../../html.js";
import { FORMAT, KIND, shapeText, trainingOf } from "../../model_words.js";
import { Link } from "../../router.js";
import { hasWords } from "../../search.js";
import { UploadForm } from "../models/upload_form.js";

const SHOWN = 50;

/**
 * @param {object} props
 *   models: of the caller's own; trainings; metadata: resource of the chosen model, with its layers;
 *   onUploaded: given the id of a new model, after which it is among `models`.
 */
export function ModelStep({ form, model, models, trainings, metadata, onUploaded }) {
  const [tab, setTab] = useState(models.length === 0 ? "upload" : "choose");
  const [uploads, setUploads] = useState(0);
  const fault = form.fault("model_id");
  async function uploaded(id) {
    await onUploaded(id);
    setTab("choose");
    setUploads((was) => was + 1);
  }

  // Both, one of them hidden: what is filled in or on its way survives a look at the other.
  const panels = () => html`<div hidden=${tab !== "choose"}>
      <${ModelList} ...${{ form, models, trainings }} />
    </div>
    <div hidden=${tab !== "upload"}>
      <${UploadForm} key=${uploads} own=${models} onDone=${uploaded} />
    </div>`;
  return html`<div class="stack">
    ${fault && html`<p class="fault" role="alert"><${Icon} name="circle-alert" />${fault}</p>`}
    <${Tabs}
      label="Where the model comes from"
      selected=${tab}
      onSelect=${setTab}
      tabs=${[
        ["choose", `One of mine (${models.length})`, panels],
        ["upload", "Upload a new one", panels],
      ]}
    />
    ${tab === "choose" &&
    model !== null &&
    html`<${Chosen} ...${{ model, metadata }} training=${trainingOf(model, trainings)} />`}
  </div>`;
}

function ModelList({ form, models, trainings }) {
  const id = useId();
  const [text, setText] = useState("");
  const found = useMemo(() => filtered(models, text), [models, text]);
  // The newest first; the chosen one is to be seen, wherever it is.
  const shown = [...found].reverse().slice(0, SHOWN);
  const chosen = form.draft.modelId;
  const unseen = models.find((model) => model.id === chosen && !shown.includes(model));
  if (unseen) shown.unshift(unseen);
  if (models.length === 0) {
    return html`<${Empty} icon="boxes" title="You have no model yet">
      Upload the network that the training is to start from.
    <//>`;
  }
  return html`<div class="stack-small">
    ${models.length > 6 &&
    html`<${TextField}
      label="Search"
      type="search"
      placeholder="Name or description"
      value=${text}
      onInput=${setText}
    />`}
    <fieldset class="model-list">
      <legend class="sr-only">Model</legend>
      ${shown.map(
        (model) => html`<label key=${model.id} class="model-row">
          <input
            type="radio"
            name=${id}
            checked=${model.id === chosen}
            aria-invalid=${form.fault("model_id") ? "true" : undefined}
            aria-labelledby=${`${id}-${model.id}`}
            aria-describedby=${`${id}-${model.id}-more`}
            onChange=${() => form.chooseModel(model)}
          />
          <span class="model-row-words">
            <span class="model-row-name" id=${`${id}-${model.id}`}>${model.name || "Without a name"}</span>
            <span class="quiet" id=${`${id}-${model.id}-more`}>
              ${about(model)}
            </span>
          </span>
          <span class="row">
            ${model.kind !== "GLOBAL" && html`<${Badge}>${KIND[model.kind].label}<//>`}
            ${trainingOf(model, trainings) && html`<${Badge}>in a training<//>`}
          </span>
        </label>`,
      )}
      ${shown.length === 0 && html`<p class="quiet">${`No model like “${text}”.`}</p>`}
    </fieldset>
    ${found.length > SHOWN &&
    html`<p class="quiet">${`${SHOWN} of ${number(found.length)} shown: search to narrow it down.`}</p>`}
  </div>`;
}

const about = (model) =>
  [
    count(model.num_parameters, "parameter"),
    model.input_shape && shapeText(model.input_shape),
    ago(model.created_at),
  ]
    .filter(Boolean)
    .join(" · ");

const filtered = (models, text) =>
  models.filter((model) => hasWords(`${model.name} ${model.description} ${model.id}`, text));

function Chosen({ model, metadata, training }) {
  return html`<section class="stack" aria-labelledby="chosen-model">
    <div class="spread">
      <h3 id="chosen-model">${model.name || "Without a name"}</h3>
      <${LinkButton} size="small" to=${`/models/${model.id}`}>Its page<//>
    </div>
    ${model.kind === "MEAN" &&
    html`<${Notice} tone="active">
      A mean model is not trained further. What you create here makes it predict as an ensemble, with
      an estimate of what it does not know.
    <//>`}
    ${training
      ? html`<${Notice} tone="active">
          It belongs to <${Link} to=${`/trainings/${training.id}`}>a training<//> already, so this one
          starts from a copy of its present weights, at round 0. The model itself stays as it is.
        <//>`
      : model.round > 0 &&
        html`<${Notice} tone="active">
          It is at round ${number(model.round)}, so the training starts from a copy of its weights, at
          round 0. The model itself stays as it is.
        <//>`}
    <dl class="facts">
      <dt>Format</dt>
      <dd>${FORMAT[model.format] ?? model.format}</dd>
      <dt>Input shape</dt>
      <dd>${shapeText(model.input_shape)}</dd>
      <dt>Preprocessing</dt>
      <dd>${model.has_preprocessing ? "yes" : "none"}</dd>
      <dt>Created</dt>
      <dd>${dateTime(model.created_at)}</dd>
    </dl>
    <${Loaded} resource=${metadata}>${(full) => html`<${LayerTable} model=${full} />`}<//>
  </section>`;
}
