/** Editor of an input shape: one size per dimension, empty for any. */
import { html, useId, useRef } from "../html.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

const MAX_DIMENSIONS = 16;
const LARGEST = 2 ** 31 - 1;

/** Shape of the texts in the fields, or `{fault}`; no field at all is no shape. */
export function readShape(texts) {
  const shape = [];
  for (const [index, text] of texts.entries()) {
    const plain = text.trim().toLowerCase();
    const size = Number(plain);
    if (["", "any", "none", "null"].includes(plain)) shape.push(null);
    else if (Number.isInteger(size) && size >= 1 && size <= LARGEST) shape.push(size);
    else return { fault: `Dimension ${index + 1}: a whole number of at least 1, or empty for any.` };
  }
  return { shape: shape.length === 0 ? null : shape };
}

export const shapeTexts = (shape) => (shape ?? []).map((size) => (size === null ? "" : String(size)));

const EXAMPLES = [
  ["Grey images", ["", "1", "28", "28"]],
  ["Colour images", ["", "3", "224", "224"]],
  ["Rows of numbers", ["", "30"]],
];

/** `value`: texts, one per dimension; `onInput` is given the new texts. */
export function ShapeField({ label, hint, fault, value, onInput }) {
  const id = useId();
  const group = useRef(null);
  const change = (index, text) => onInput(value.map((old, i) => (i === index ? text : old)));
  const focusLast = () =>
    // The new field is there after the next render.
    requestAnimationFrame(() => [...group.current.querySelectorAll("input")].at(-1)?.focus());

  return html`<div
    class="field"
    role="group"
    aria-labelledby=${`${id}-label`}
    aria-describedby=${[`${id}-hint`, fault && `${id}-fault`].filter(Boolean).join(" ")}
  >
    <span class="label" id=${`${id}-label`}>${label}</span>
    <div class="row shape" ref=${group}>
      ${value.map(
        (text, index) => html`<span class="shape-size" key=${index}>
          ${index > 0 && html`<span aria-hidden="true" class="quiet">×</span>`}
          <input
            class="input"
            inputmode="numeric"
            placeholder="any"
            aria-label=${`Dimension ${index + 1}${index === 0 ? ", the batch" : ""}; empty for any`}
            aria-invalid=${fault && fault.startsWith(`Dimension ${index + 1}:`) ? "true" : undefined}
            value=${text}
            onInput=${(event) => change(index, event.currentTarget.value)}
          />
        </span>`,
      )}
      ${value.length < MAX_DIMENSIONS &&
      html`<${Button}
        size="small"
        icon="plus"
        onClick=${() => {
          onInput([...value, ""]);
          focusLast();
        }}
      >
        Dimension
      <//>`}
      ${value.length > 0 &&
      html`<${Button}
        size="small"
        tone="plain"
        icon="x"
        label="Remove the last dimension"
        onClick=${() => onInput(value.slice(0, -1))}
      />`}
    </div>
    <div class="row">
      <span class="hint">For example:</span>
      ${EXAMPLES.map(
        ([name, texts]) =>
          html`<${Button} size="small" tone="plain" onClick=${() => onInput(texts)}>${name}<//>`,
      )}
    </div>
    <p class="hint" id=${`${id}-hint`}>${hint}</p>
    ${fault &&
    html`<p class="fault" id=${`${id}-fault`}><${Icon} name="circle-alert" />${fault}</p>`}
  </div>`;
}
