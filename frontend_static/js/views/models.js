/** The models that the caller owns, trains or helps to train. */
import * as api from "../api.js";
import { Badge, TrainingBadge } from "../components/badge.js";
import { LinkButton } from "../components/button.js";
import { SelectField, TextField } from "../components/field.js";
import { PageHead } from "../components/page_head.js";
import { Empty, Loaded } from "../components/states.js";
import { Table } from "../components/table.js";
import { Tabs } from "../components/tabs.js";
import { ago, bytes, dateTime, number, short } from "../format.js";
import { html, useMemo, useState } from "../html.js";
import { isLocal, KIND, trainingOf } from "../model_words.js";
import { useResource } from "../resource.js";
import { Link, setQuery } from "../router.js";
import { hasWords } from "../search.js";
import { MoreRows } from "./models/more_rows.js";
import { loadPeople, nameOf } from "./models/people.js";

export default function Models({ query }) {
  const resource = useResource(load, []);
  return html`
    <${PageHead}
      title="Models"
      lead="What trainings start from, and what has become of it. A model belongs to at most one training."
      actions=${html`
        <${LinkButton} to="/models/new" tone="primary" icon="upload">Upload a model<//>
      `}
    />
    <${Loaded} resource=${resource} lines=${6}>
      ${(data) => html`<${Lists} ...${data} query=${query} />`}
    <//>
  `;
}

async function load(signal) {
  const [models, trainings] = await Promise.all([
    api.get("/api/models/", { signal }),
    api.get("/api/users/trainings/", { signal }),
  ]);
  return { models, trainings, people: await loadPeople(models, signal) };
}

function Lists({ models, trainings, people, query }) {
  const updates = models.filter(isLocal);
  const globals = models.filter((model) => !isLocal(model));
  if (models.length === 0) {
    return html`<div class="panel">
      <${Empty}
        icon="boxes"
        title="No models yet"
        action=${html`<${LinkButton} to="/models/new" tone="primary" icon="upload">Upload a model<//>`}
      >
        Upload the network that a training is to start from: a TorchScript file, a pickled torch.nn
        module, or a torch.export archive. Models of trainings that you take part in are shown here
        too.
      <//>
    </div>`;
  }
  const list = html`<${GlobalModels} ...${{ models: globals, updates, trainings, people, query }} />`;
  // Who only runs trainings has no updates of their own, and no use for tabs.
  if (updates.length === 0) return list;
  return html`<${Tabs}
    label="Models and updates"
    selected=${query.tab ?? "models"}
    onSelect=${(tab) => setQuery({ tab: tab === "models" ? null : tab })}
    tabs=${[
      ["models", `Models (${globals.length})`, () => list],
      [
        "updates",
        `My updates (${updates.length})`,
        () => html`<${MyUpdates} models=${globals} updates=${updates} />`,
      ],
    ]}
  />`;
}

function GlobalModels({ models, updates, trainings, people, query }) {
  const [text, setText] = useState(query.q ?? "");
  const [limit, setLimit] = useState(100);
  const kind = query.kind ?? "";
  const kinds = [...new Set(models.map((model) => model.kind))];
  const found = useMemo(() => filtered(models, text, kind, people), [models, text, kind, people]);
  const updatesOf = useMemo(() => counted(updates), [updates]);
  // The newest first, also where only some are shown.
  const rows = [...found].reverse().slice(0, limit);

  return html`<div class="panel">
    <header>
      <div class="filters">
        <${TextField}
          label="Search"
          type="search"
          placeholder="Name, description, owner or id"
          value=${text}
          onInput=${(value) => {
            setText(value);
            setQuery({ q: value || null });
          }}
        />
        ${kinds.length > 1 &&
        html`<${SelectField}
          label="Kind"
          value=${kind}
          onInput=${(value) => setQuery({ kind: value || null })}
          options=${[["", "All kinds"], ...kinds.map((name) => [name, KIND[name].label])]}
        />`}
      </div>
      <span class="quiet" role="status">
        ${found.length === models.length
          ? `${number(models.length)} in all`
          : `${number(found.length)} of ${number(models.length)}`}
      </span>
    </header>
    ${rows.length === 0
      ? html`<${Empty} icon="search" title="No model like that">
          Try another word${kind ? " or all kinds" : ""}.
        <//>`
      : html`<${Table}
          caption="Models"
          rows=${rows}
          rowKey=${(model) => model.id}
          columns=${columns({ trainings, people, updatesOf })}
        />`}
    <${MoreRows} shown=${rows.length} of=${found.length} onMore=${() => setLimit(limit + 100)} />
  </div>`;
}

function columns({ trainings, people, updatesOf }) {
  const training = (model) => trainingOf(model, trainings);
  return [
    {
      key: "name",
      label: "Name",
      head: true,
      sort: (model) => model.name,
      cell: (model) => html`<span class="model-name">
        <${Link} to=${`/models/${model.id}`}>${model.name || "Without a name"}<//>
        ${updatesOf.has(model.id) &&
        html`<span class="quiet">${`with ${number(updatesOf.get(model.id))} of my updates`}</span>`}
      </span>`,
    },
    {
      key: "kind",
      label: "Kind",
      sort: (model) => KIND[model.kind].label,
      cell: (model) => html`<${Badge}>${KIND[model.kind].label}<//>`,
    },
    {
      key: "round",
      label: "Round",
      num: true,
      sort: (model) => model.round,
      cell: (model) => number(model.round),
    },
    {
      key: "parameters",
      label: "Parameters",
      num: true,
      sort: (model) => model.num_parameters,
      cell: (model) => number(model.num_parameters),
    },
    {
      key: "owner",
      label: "Owner",
      sort: (model) => nameOf(model.owner, people),
      cell: (model) => nameOf(model.owner, people),
    },
    {
      key: "training",
      label: "Training",
      sort: (model) => training(model)?.state,
      cell: (model) =>
        training(model)
          ? html`<${Link} to=${`/trainings/${training(model).id}`} class="badge-link">
              <${TrainingBadge} training=${training(model)} />
            <//>`
          : html`<span class="quiet">none</span>`,
    },
    {
      key: "created",
      label: "Created",
      num: true,
      sort: (model) => Date.parse(model.created_at),
      cell: (model) => html`<span class="nowrap" title=${dateTime(model.created_at)}>
        ${ago(model.created_at)}
      </span>`,
    },
  ];
}

function MyUpdates({ models, updates }) {
  const [limit, setLimit] = useState(100);
  const names = new Map(models.map((model) => [model.id, model.name]));
  const rows = [...updates].reverse().slice(0, limit);
  return html`<div class="panel">
    <${Table}
      caption="My updates"
      rows=${rows}
      rowKey=${(update) => update.id}
      columns=${[
        {
          key: "base",
          label: "Of model",
          head: true,
          sort: (update) => names.get(update.base_model) ?? "",
          cell: (update) => html`<${Link} to=${`/models/${update.base_model}`}>
            ${names.get(update.base_model) ?? short(update.base_model)}
          <//>`,
        },
        {
          key: "round",
          label: "Round",
          num: true,
          sort: (update) => update.round,
          cell: (update) => number(update.round),
        },
        {
          key: "samples",
          label: "Samples",
          num: true,
          sort: (update) => update.sample_size,
          cell: (update) => number(update.sample_size),
        },
        {
          key: "size",
          label: "Size",
          num: true,
          sort: (update) => update.size_bytes,
          cell: (update) => bytes(update.size_bytes),
        },
        {
          key: "sent",
          label: "Delivered",
          num: true,
          sort: (update) => Date.parse(update.created_at),
          cell: (update) => dateTime(update.created_at),
        },
        {
          key: "look",
          label: "",
          num: true,
          cell: (update) => html`<${LinkButton}
            size="small"
            to=${`/models/${update.id}`}
            aria-label=${`Look at the update of round ${update.round}`}
          >
            Look
          <//>`,
        },
      ]}
    />
    <${MoreRows} shown=${rows.length} of=${updates.length} onMore=${() => setLimit(limit + 100)} />
  </div>`;
}

function filtered(models, text, kind, people) {
  return models.filter(
    (model) =>
      (!kind || model.kind === kind) &&
      hasWords(`${model.name} ${model.description} ${model.id} ${nameOf(model.owner, people)}`, text),
  );
}

function counted(updates) {
  const counts = new Map();
  for (const { base_model: base } of updates) counts.set(base, (counts.get(base) ?? 0) + 1);
  return counts;
}
