/** The processes that stay up on the cluster, and what they are up for. */
import * as api from "../../api.js";
import { Badge } from "../../components/badge.js";
import { Empty } from "../../components/states.js";
import { Table } from "../../components/table.js";
import { count, short } from "../../format.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";
import { Link } from "../../router.js";

const KINDS = { aggregator: "Aggregator", predictor: "Predictor" };
/** Ray's states, in the words of this console. */
const STATES = {
  ALIVE: ["Running", "good", "circle-check"],
  RESTARTING: ["Restarting", "warn", "refresh-cw"],
  DEPENDENCIES_UNREADY: ["Starting", "active", "clock"],
  PENDING_CREATION: ["Starting", "active", "clock"],
  DEAD: ["Gone", "bad", "circle-x"],
};
const TRAININGS_EVERY_MILLISECONDS = 30_000;

export function ActorTable({ actors, nodes }) {
  // A superuser may not look into everybody's trainings: a link to those would lead nowhere.
  const mine = useResource((signal) => api.get("/api/users/trainings/", { signal }), [], {
    every: TRAININGS_EVERY_MILLISECONDS,
  });
  const open = new Set((mine.data ?? []).map(({ id }) => id));
  return html`<section class="panel" aria-label="Aggregators and predictors">
    <header>
      <h2>Aggregators and predictors</h2>
      ${actors.length > 0 && html`<span class="quiet">${count(actors.length, "process", "processes")}</span>`}
    </header>
    ${actors.length === 0
      ? html`<${Empty} icon="server" title="Nothing stays up at the moment">
          An aggregator comes up with a training's round, a predictor with the first question to a model.
        <//>`
      : html`<${Table}
          columns=${columns(open, new Map(nodes.map((node) => [node.id, node.name])))}
          rows=${actors}
          rowKey=${({ id }) => id}
          caption="Aggregators and predictors"
          initial=${["kind", "ascending"]}
        />`}
  </section>`;
}

function columns(open, nodeNames) {
  return [
    {
      key: "kind",
      label: "Process",
      head: true,
      sort: ({ kind, name }) => `${kind} ${name}`,
      cell: ({ kind, name, id }) =>
        html`<span title=${name || id}>${KINDS[kind] ?? "Other"} <span class="quiet mono">${short(id)}</span></span>`,
    },
    { key: "state", label: "State", sort: ({ state }) => state, cell: ({ state }) => stateBadge(state) },
    { key: "for", label: "Works for", sort: purposeText, cell: (actor) => purpose(actor, open) },
    {
      key: "node",
      label: "Node",
      sort: ({ node }) => nodeNames.get(node) ?? node,
      cell: ({ node }) => nodeNames.get(node) ?? short(node),
    },
    { key: "pid", label: "Process id", num: true, cell: ({ pid }) => (pid === null ? "–" : String(pid)) },
    { key: "restarts", label: "Restarts", num: true, sort: ({ restarts }) => restarts, cell: ({ restarts }) => restarts },
  ];
}

function stateBadge(state) {
  const [label, tone, icon] = STATES[state] ?? [state, "", "circle"];
  return html`<${Badge} tone=${tone} icon=${icon}>${label}<//>`;
}

const purposeText = ({ training_name: name, training, model }) => name ?? training ?? model;

function purpose({ kind, training, training_name: name, model }, open) {
  if (training !== null) {
    const shown = `Training of ${name ?? short(training)}`;
    return open.has(training) ? html`<${Link} to=${`/trainings/${training}`}>${shown}<//>` : shown;
  }
  if (model !== null) return html`Last asked: <${Link} to=${`/models/${model}`}>model ${short(model)}<//>`;
  const why = kind === "aggregator" ? "Spare: kept warm for the next training" : "Not asked yet";
  return html`<span class="quiet">${why}</span>`;
}
