/** Where one is in a form of several steps. */
import { html } from "../html.js";
import { Icon } from "./icon.js";

/**
 * @param {object} props
 *   steps: `{key, label, done}`; current: key; onSelect(key).
 */
export function Steps({ label, steps, current, onSelect }) {
  const index = steps.findIndex((step) => step.key === current);
  return html`<nav class="steps" aria-label=${label}>
    <p class="steps-short">${`Step ${index + 1} of ${steps.length}: ${steps[index].label}`}</p>
    <ol>
      ${steps.map(
        (step, number) => html`<li key=${step.key}>
          <button
            type="button"
            class="step"
            aria-current=${step.key === current ? "step" : undefined}
            onClick=${() => onSelect(step.key)}
          >
            <span class=${`step-mark ${step.done ? "is-done" : ""}`} aria-hidden="true">
              ${step.done && step.key !== current
                ? html`<${Icon} name="check" size=${14} />`
                : number + 1}
            </span>
            <span class="step-label">${step.label}</span>
            ${step.done && html`<span class="sr-only">, complete</span>`}
          </button>
        </li>`,
      )}
    </ol>
  </nav>`;
}
