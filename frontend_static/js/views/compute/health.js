/** Whether the parts that a training needs work. */
import * as api from "../../api.js";
import { Badge } from "../../components/badge.js";
import { Loaded } from "../../components/states.js";
import { html } from "../../html.js";
import { useResource } from "../../resource.js";

/** Rarer than the figures: each time something is written to the blob store. */
const EVERY_MILLISECONDS = 15_000;
const WORKS = "ok";
const PARTS = [
  ["database", "Database", "The truth about every training."],
  ["blob_store", "Blob store", "Models and updates."],
  ["compute", "Ray", "Checks, aggregation and predictions."],
];

export function Health() {
  const health = useResource(
    // 503 says that something is down, and the body says what.
    (signal) => api.get("/health/ready/", { signal, answers: [503] }),
    [],
    { every: EVERY_MILLISECONDS },
  );
  return html`<section class="panel" aria-label="Health">
    <header><h2>Health</h2></header>
    <${Loaded} resource=${health} lines=${2}>
      ${(state) =>
        html`<ul class="parts panel-body">
          ${PARTS.map(([key, name, what]) => html`<${Part} key=${key} name=${name} what=${what} state=${state[key]} />`)}
        </ul>`}
    <//>
  </section>`;
}

function Part({ name, what, state }) {
  const works = state === WORKS;
  return html`<li class="stack-small">
    <div class="row">
      <h3>${name}</h3>
      <${Badge} tone=${works ? "good" : "bad"} icon=${works ? "circle-check" : "circle-x"}>
        ${works ? "Works" : "Does not work"}
      <//>
    </div>
    <p class=${works ? "quiet" : ""}>${works ? what : state}</p>
  </li>`;
}
