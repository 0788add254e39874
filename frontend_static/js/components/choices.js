/** One of a few, each with a sentence on when to take it. */
import { html, useId } from "../html.js";
import { Icon } from "./icon.js";

/**
 * @param {object} props
 *   choices: `{value, label, text, reason?}`: a `reason` says why it cannot be chosen; columns: at
 *   most so many side by side; fault: what is wrong with the choice.
 */
export function Choices({ legend, value, onInput, choices, fault = null }) {
  const id = useId();
  return html`<fieldset class="choices" aria-describedby=${fault ? `${id}-fault` : undefined}>
    <legend>${legend}</legend>
    ${fault &&
    html`<p class="fault" id=${`${id}-fault`}><${Icon} name="circle-alert" />${fault}</p>`}
    <div class="choices-cards">
      ${choices.map((choice) => {
        const own = `${id}-${choice.value}`;
        return html`<label
          key=${choice.value}
          class=${`choice ${choice.reason ? "is-off" : ""}`}
        >
          <input
            type="radio"
            name=${id}
            value=${choice.value}
            checked=${choice.value === value}
            disabled=${Boolean(choice.reason)}
            aria-labelledby=${`${own}-label`}
            aria-describedby=${`${own}-text`}
            onChange=${() => onInput(choice.value)}
          />
          <span class="choice-words">
            <span class="choice-label" id=${`${own}-label`}>${choice.label}</span>
            <span id=${`${own}-text`}>
              <span class="choice-text">${choice.text}</span>
              ${choice.reason && html`<span class="choice-reason">${choice.reason}</span>`}
            </span>
          </span>
        </label>`;
      })}
    </div>
  </fieldset>`;
}
