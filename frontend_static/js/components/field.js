/** Form fields: label, hint and what is wrong, tied to the input for screen readers. */
import { html, useId, useState } from "../html.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

/**
 * `children` is a function of the attributes that the input needs.
 * `fault`: what is wrong with the value; null or "" when nothing is.
 */
export function Field({ label, hint = null, fault = null, children }) {
  const id = useId();
  const described = [hint && `${id}-hint`, fault && `${id}-fault`].filter(Boolean).join(" ");
  return html`<div class="field">
    <label for=${id}>${label}</label>
    ${children({
      id,
      "aria-invalid": fault ? "true" : undefined,
      "aria-describedby": described || undefined,
    })}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${fault &&
    html`<p class="fault" id=${`${id}-fault`}><${Icon} name="circle-alert" />${fault}</p>`}
  </div>`;
}

/** One line of text (or `type` number, email, url…); `onInput` is given the value. */
export function TextField({ label, hint, fault, value, onInput, type = "text", ...rest }) {
  return html`<${Field} label=${label} hint=${hint} fault=${fault}>
    ${(attributes) =>
      html`<input
        class="input"
        type=${type}
        value=${value}
        onInput=${(event) => onInput(event.currentTarget.value)}
        ...${attributes}
        ...${rest}
      />`}
  <//>`;
}

/** A password, with a button that shows it. */
export function PasswordField({ label, hint, fault, value, onInput, ...rest }) {
  const [shown, setShown] = useState(false);
  return html`<${Field} label=${label} hint=${hint} fault=${fault}>
    ${(attributes) =>
      html`<div class="input-row">
        <input
          class="input"
          type=${shown ? "text" : "password"}
          value=${value}
          onInput=${(event) => onInput(event.currentTarget.value)}
          ...${attributes}
          ...${rest}
        />
        <${Button}
          icon=${shown ? "eye-off" : "eye"}
          label=${shown ? "Hide password" : "Show password"}
          aria-pressed=${shown}
          onClick=${() => setShown(!shown)}
        />
      </div>`}
  <//>`;
}

/** Several lines of text. */
export function TextArea({ label, hint, fault, value, onInput, ...rest }) {
  return html`<${Field} label=${label} hint=${hint} fault=${fault}>
    ${(attributes) =>
      html`<textarea
        class="input"
        value=${value}
        onInput=${(event) => onInput(event.currentTarget.value)}
        ...${attributes}
        ...${rest}
      ></textarea>`}
  <//>`;
}

/** One of `options`: `[value, label]` pairs. */
export function SelectField({ label, hint, fault, value, onInput, options, ...rest }) {
  return html`<${Field} label=${label} hint=${hint} fault=${fault}>
    ${(attributes) =>
      html`<select
        class="input"
        value=${value}
        onChange=${(event) => onInput(event.currentTarget.value)}
        ...${attributes}
        ...${rest}
      >
        ${options.map(
          ([name, shown]) => html`<option value=${name} selected=${name === value}>${shown}</option>`,
        )}
      </select>`}
  <//>`;
}

/** Yes or no. */
export function CheckField({ label, hint = null, checked, onInput, ...rest }) {
  const id = useId();
  return html`<div class="field">
    <div class="check">
      <input
        type="checkbox"
        id=${id}
        checked=${checked}
        aria-describedby=${hint ? `${id}-hint` : undefined}
        onChange=${(event) => onInput(event.currentTarget.checked)}
        ...${rest}
      />
      <label for=${id}>${label}</label>
    </div>
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
  </div>`;
}

/** A file; `onInput` is given the File, or null. */
export function FileField({ label, hint, fault, onInput, ...rest }) {
  return html`<${Field} label=${label} hint=${hint} fault=${fault}>
    ${(attributes) =>
      html`<input
        class="input"
        type="file"
        onChange=${(event) => onInput(event.currentTarget.files[0] ?? null)}
        ...${attributes}
        ...${rest}
      />`}
  <//>`;
}

/** A number on a scale; `shown` is its value as people read it. */
export function RangeField({ label, hint, value, shown = value, min, max, step, onInput, ...rest }) {
  return html`<${Field} label=${label} hint=${hint}>
    ${(attributes) =>
      html`<div class="range">
        <input
          type="range"
          value=${value}
          min=${min}
          max=${max}
          step=${step}
          aria-valuetext=${shown}
          onInput=${(event) => onInput(Number(event.currentTarget.value))}
          ...${attributes}
          ...${rest}
        />
        <output for=${attributes.id}>${shown}</output>
      </div>`}
  <//>`;
}
