/** Step 5: everything once more, and what will happen. */
import { Button } from "../../components/button.js";
import { Code } from "../../components/code.js";
import { Notice } from "../../components/states.js";
import { count, number, personName } from "../../format.js";
import { html } from "../../html.js";
import { trainingOf } from "../../model_words.js";
import { applicable, courseOf, doubtsAbout, methodLabels, onlyPredicts } from "./draft.js";
import { OPTIONS, readOption, UNITS } from "./options.js";

const NAMES_SHOWN = 12;

export function SummaryStep({ form, order, model, trainings, users, onEdit }) {
  const { draft } = form;
  const trained = !onlyPredicts(model);
  const people = order.clients.length;
  const [aggregation, uncertainty] = methodLabels(order);
  return html`<div class="stack">
    ${trained
      ? html`<ul class="course">
          ${courseOf(order, people).map((sentence) => html`<li>${sentence}</li>`)}
        </ul>`
      : html`<p>
          From then on, predictions of the mean model are those of its members, with their
          disagreement. Nobody trains, and nothing has to be started.
        </p>`}
    ${trained &&
    doubtsAbout(order, people).map((doubt) => html`<${Notice} tone="warn">${doubt}<//>`)}
    <${Part} title="Model" onEdit=${() => onEdit("model")}>
      <dt>Model</dt>
      <dd>
        ${model.name || "Without a name"}
        ${(trainingOf(model, trainings) || model.round > 0) &&
        html`<span class="quiet">, as a copy of its present weights</span>`}
      </dd>
      <dt>Parameters</dt>
      <dd>${number(model.num_parameters)}</dd>
    <//>
    <${Part} title="Methods" onEdit=${() => onEdit("methods")}>
      ${trained && html`<dt>Aggregation</dt><dd>${aggregation}</dd>`}
      <dt>Uncertainty</dt>
      <dd>${uncertainty}</dd>
      <${Options} draft=${draft} step="methods" />
    <//>
    ${trained &&
    html`<${Part} title="Rounds" onEdit=${() => onEdit("rounds")}>
        <dt>${draft.aggregation === "FedDC" ? "Aggregations" : "Rounds"}</dt>
        <dd>${number(order.target_num_updates)}</dd>
        <dt>Metrics</dt>
        <dd>${order.metric_names.join(", ") || html`<span class="quiet">none named</span>`}</dd>
        <${Options} draft=${draft} step="rounds" />
        ${draft.keepUpdatesForEver && html`<dt>Updates</dt><dd>kept for ever</dd>`}
      <//>
      <${Part} title="Participants" onEdit=${() => onEdit("people")}>
        <dt>${count(people, "person", "people")}</dt>
        <dd>${namesOf(order.clients, users.data ?? [])}</dd>
      <//>`}
    <details class="more">
      <summary>The same as a request</summary>
      <div class="more-body">
        <${Code} label="curl command" text=${curl(order)} />
      </div>
    </details>
  </div>`;
}

function Part({ title, onEdit, children }) {
  return html`<section class="summary-part">
    <div class="spread">
      <h3>${title}</h3>
      <${Button} size="small" tone="plain" icon="pencil" onClick=${onEdit} aria-label=${`Edit: ${title}`}>
        Edit
      <//>
    </div>
    <dl class="facts">${children}</dl>
  </section>`;
}

/** The options that differ from what the server does by itself. */
function Options({ draft, step }) {
  const set = applicable(draft).filter(
    (name) =>
      OPTIONS[name].step === step && readOption(name, draft.options[name]).value !== undefined,
  );
  return set.map(
    (name) => html`<dt>${OPTIONS[name].label}</dt>
      <dd>${shown(name, draft.options[name])}</dd>`,
  );
}

function shown(name, given) {
  const { kind, choices } = OPTIONS[name];
  if (kind === "check") return "yes";
  if (kind === "choice") return choices.find(([value]) => value === given)[1];
  if (kind === "duration") return `${given.amount} ${UNITS.find(([unit]) => unit === given.unit)[1]}`;
  if (kind === "share") {
    return given.unit === "percent" ? `${given.amount} %` : count(Number(given.amount), "participant");
  }
  return given;
}

function namesOf(ids, users) {
  if (ids.length === 0) return html`<span class="quiet">nobody yet</span>`;
  const byId = new Map(users.map((user) => [user.id, user]));
  const names = ids.slice(0, NAMES_SHOWN).map((id) => {
    const user = byId.get(id);
    return user ? personName(user) : "somebody who is no longer there";
  });
  const rest = ids.length - names.length;
  return names.join(", ") + (rest > 0 ? ` and ${number(rest)} more` : "");
}

function curl(order) {
  const json = JSON.stringify(order, null, 2).replaceAll("'", "'\\''");
  return `curl --fail-with-body -H "Authorization: Token $STARLING_TOKEN" \\
  -H "Content-Type: application/json" \\
  ${location.origin}/api/trainings/ -d '${json}'`;
}
