/** Step 2: how updates are aggregated, and how the model says what it does not know. */
import { Choices } from "../../components/choices.js";
import { Notice } from "../../components/states.js";
import { html } from "../../html.js";
import { AGGREGATION, UNCERTAINTY } from "../../words.js";
import { applicable, lacksDropout, onlyPredicts, whyNotUncertainty } from "./draft.js";
import { OptionField } from "./option_field.js";
import { OPTIONS } from "./options.js";

export function MethodsStep({ form, model, metadata }) {
  const { draft } = form;
  const here = applicable(draft).filter((name) => OPTIONS[name].step === "methods");
  const ofUncertainty = here.filter((name) => OPTIONS[name].within === "uncertainty");
  const ofAggregation = here.filter((name) => !OPTIONS[name].within);
  const noDropout = draft.uncertainty === "MC_DROPOUT" && lacksDropout(metadata.data) === true;
  return html`<div class="stack">
    ${!onlyPredicts(model) &&
    html`<${Choices}
        legend="Aggregation: how updates become the next model"
        value=${draft.aggregation}
        onInput=${(aggregation) => form.set({ aggregation }, "aggregation_method")}
        fault=${form.fault("aggregation_method")}
        choices=${Object.entries(AGGREGATION).map(([value, { label, when }]) => ({
          value,
          label,
          text: when,
        }))}
      />
      ${ofAggregation.map((name) => html`<${OptionField} key=${name} form=${form} name=${name} />`)}`}
    <${Choices}
      legend="Uncertainty: how a prediction says how sure it is"
      value=${draft.uncertainty}
      onInput=${(uncertainty) => form.set({ uncertainty }, "uncertainty_method")}
      fault=${form.fault("uncertainty_method")}
      choices=${Object.entries(UNCERTAINTY).map(([value, { label, when }]) => ({
        value,
        label,
        text: when,
        reason: whyNotUncertainty(value, model),
      }))}
    />
    ${noDropout &&
    html`<${Notice} tone="warn">
      The layer table of this model shows no dropout. Without any, MC dropout has nothing to draw, and
      predictions are refused.
    <//>`}
    ${ofUncertainty.map((name) => html`<${OptionField} key=${name} form=${form} name=${name} />`)}
  </div>`;
}
