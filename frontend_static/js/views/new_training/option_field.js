/** One option of a training as a field. */
import { CheckField, Field, SelectField, TextField } from "../../components/field.js";
import { html } from "../../html.js";
import { OPTIONS, UNITS } from "./options.js";

/** `form`: see the page; `name`: of an option. */
export function OptionField({ form, name }) {
  const option = OPTIONS[name];
  const value = form.draft.options[name];
  const { label, hint } = option;
  const set = (next) => form.setOption(name, next);
  const fault = form.fault(name);
  switch (option.kind) {
    case "check":
      return html`<${CheckField} label=${label} hint=${hint} checked=${value} onInput=${set} />`;
    case "choice":
      return html`<${SelectField}
        ...${{ label, hint, fault, value }}
        onInput=${set}
        options=${option.choices}
      />`;
    case "share":
      return html`<${AmountField}
        ...${{ label, hint, fault, value }}
        onInput=${set}
        units=${[
          ["percent", "per cent"],
          ["count", "participants"],
        ]}
      />`;
    case "duration":
      return html`<${AmountField} ...${{ label, hint, fault, value }} onInput=${set} units=${UNITS} />`;
    default:
      return html`<${TextField}
        ...${{ label, hint, fault, value }}
        onInput=${set}
        inputmode=${option.kind === "whole" ? "numeric" : "decimal"}
        placeholder=${option.placeholder}
        autocomplete="off"
        class="input input-short"
      />`;
  }
}

/** A number with its unit. */
function AmountField({ label, hint, fault, value, onInput, units }) {
  return html`<${Field} label=${label} hint=${hint} fault=${fault}>
    ${(attributes) => html`<div class="input-row">
      <input
        class="input input-short"
        inputmode="decimal"
        autocomplete="off"
        value=${value.amount}
        onInput=${(event) => onInput({ ...value, amount: event.currentTarget.value })}
        ...${attributes}
      />
      <select
        class="input input-unit"
        aria-label=${`${label}: unit`}
        onChange=${(event) => onInput({ ...value, unit: event.currentTarget.value })}
      >
        ${units.map(
          ([unit, shown]) =>
            html`<option value=${unit} selected=${unit === value.unit}>${shown}</option>`,
        )}
      </select>
    </div>`}
  <//>`;
}
