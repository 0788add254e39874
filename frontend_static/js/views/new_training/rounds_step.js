/** Step 3: how many rounds, how long they wait, and what is kept. */
import { CheckField, SelectField, TextField } from "../../components/field.js";
import { html, useEffect, useState } from "../../html.js";
import { applicable } from "./draft.js";
import { OptionField } from "./option_field.js";
import { OPTIONS } from "./options.js";

export function RoundsStep({ form }) {
  const { draft } = form;
  const here = applicable(draft).filter((name) => OPTIONS[name].step === "rounds");
  const basic = here.filter((name) => !OPTIONS[name].more);
  const more = here.filter((name) => OPTIONS[name].more);
  const chains = draft.aggregation === "FedDC";
  const [open, setOpen] = useState(false);
  const faulty = more.some((name) => form.fault(name));
  useEffect(() => {
    if (faulty) setOpen(true);
  }, [faulty]);

  return html`<div class="stack">
    <div class="form-grid">
      <${TextField}
        label=${chains ? "Aggregations" : "Rounds"}
        hint=${chains
          ? "Each takes as many rounds of training as you chose for FedDC."
          : "In each, participants train and send an update."}
        fault=${form.fault("target_num_updates")}
        value=${draft.rounds}
        onInput=${(rounds) => form.set({ rounds }, "target_num_updates")}
        inputmode="numeric"
        autocomplete="off"
        class="input input-short"
      />
      <${TextField}
        label="Metrics (optional)"
        hint="Names that participants report, separated by commas. The first is the main one."
        fault=${form.fault("metric_names")}
        value=${draft.metrics}
        onInput=${(metrics) => form.set({ metrics }, "metric_names")}
        placeholder="accuracy, loss"
        autocomplete="off"
      />
      <${SelectField}
        label="Participants test the model"
        hint="With their own data, after it was aggregated: that is where the metrics come from."
        value=${draft.tests}
        onInput=${(tests) => form.set({ tests })}
        options=${[
          ["each", "after each aggregation"],
          ["last", "after the last one only"],
          ["none", "never"],
        ]}
      />
    </div>
    <h3>When somebody does not answer</h3>
    <div class="form-grid">
      ${basic.map((name) => html`<${OptionField} key=${name} form=${form} name=${name} />`)}
    </div>
    <details
      class="more"
      open=${open}
      onToggle=${(event) => setOpen(event.currentTarget.open)}
    >
      <summary>More options</summary>
      <div class="more-body form-grid">
        ${more.map((name) => html`<${OptionField} key=${name} form=${form} name=${name} />`)}
        <${CheckField}
          label="Keep all updates for ever"
          hint="To look at them later, or to verify the training from its updates. Takes much space."
          checked=${draft.keepUpdatesForEver}
          onInput=${(keepUpdatesForEver) => form.set({ keepUpdatesForEver })}
        />
      </div>
    </details>
  </div>`;
}
