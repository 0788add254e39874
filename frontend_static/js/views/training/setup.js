/** How a training was set up. */
import { dateTime, duration, percent } from "../../format.js";
import { html } from "../../html.js";
import { Link } from "../../router.js";
import { AGGREGATION, UNCERTAINTY } from "../../words.js";

const part = (value, of) => (value >= 1 ? String(value) : `${percent(value, 0)} of ${of}`);

/** What people read for each option: label, and its value in words. */
const OPTIONS = {
  quorum: ["Quorum", (value) => `${part(value, "those asked")} are enough at the deadline`],
  round_deadline_seconds: ["Deadline of a round", duration],
  test_deadline_seconds: ["Deadline of a test", duration],
  cohort: ["Drawn for each round", (value) => part(value, "all participants")],
  on_missed: [
    "Who misses a deadline",
    (value) => (value === "remove" ? "is removed from the training" : "is left out of that round"),
  ],
  mu: ["Pull to the global model (μ)", String],
  daisy_chain_period: ["Models are handed on", (value) => `${value} rounds of local training behind one aggregation`],
  keep_versions: ["Model versions kept", String],
  keep_updates_rounds: ["Updates kept for", (value) => `${value} rounds after their aggregation`],
  delete_local_models_after_aggregation: ["Files of updates", (value) => (value ? "deleted once aggregated" : "kept")],
  accumulate: ["Sums are made in", String],
  seed: ["Seed", String],
  skip_model_tests: ["Tests by participants", (value) => (value ? "none" : "yes")],
  model_test_after_each_round: ["Tested", (value) => (value ? "after each round" : "after the last round only")],
};

export function Setup({ training, people, isActor }) {
  const { options } = training;
  const aggregation = AGGREGATION[training.aggregation_method];
  const uncertainty = UNCERTAINTY[training.uncertainty_method];
  const { uncertainty: forUncertainty, ...others } = options;
  return html`<div class="setup">
    <dl class="facts">
      <dt>Model</dt>
      <dd><${Link} to=${`/models/${training.model}`}>${training.name}<//></dd>
      <dt>Run by</dt>
      <dd>${isActor ? "you" : people.name(training.actor)}</dd>
      <dt>Created</dt>
      <dd>${dateTime(training.created_at)}</dd>
      <dt>Last change</dt>
      <dd>${dateTime(training.last_update)}</dd>
      <dt>Rounds</dt>
      <dd>${training.target_num_updates}</dd>
      <dt>Aggregation</dt>
      <dd>${aggregation?.label ?? training.aggregation_method}<p class="quiet">${aggregation?.when}</p></dd>
      <dt>Uncertainty</dt>
      <dd>
        ${uncertainty?.label ?? training.uncertainty_method}
        <p class="quiet">${uncertainty?.when}</p>
        ${forUncertainty &&
        html`<p>
          ${forUncertainty.N && `${forUncertainty.N} passes for each prediction. `}
          ${forUncertainty.softmax && "Softmax is applied to the outputs."}
        </p>`}
      </dd>
      <dt>Metrics</dt>
      <dd>${training.metric_names.join(", ") || "none named"}</dd>
      ${Object.entries(others).map(([name, value]) => {
        const [label, words] = OPTIONS[name] ?? [name, JSON.stringify];
        return html`<dt>${label}</dt><dd>${words(value)}</dd>`;
      })}
      <dt>Id</dt>
      <dd class="mono">${training.id}</dd>
    </dl>
  </div>`;
}
