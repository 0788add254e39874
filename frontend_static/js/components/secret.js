/** A secret that is fetched and seen only when it is asked for. */
import { html, useState } from "../html.js";
import { Button } from "./button.js";
import { CopyButton } from "./code.js";
import { Notice } from "./states.js";

/** `label`: what it is, for screen readers; `load()`: resolves to its text. */
export function Secret({ label, load }) {
  const [text, setText] = useState(null);
  const [error, setError] = useState(null);

  async function show() {
    setError(null);
    try {
      setText(await load());
    } catch (refusal) {
      setError(refusal);
    }
  }

  return html`<div class="secret">
    ${text === null
      ? html`<code aria-hidden="true">••••••••••••••••••••</code>
          <${Button} size="small" icon="eye" onClick=${show} aria-label=${`Show ${label}`}>Show<//>`
      : html`<code>${text}</code>
          <${Button}
            size="small"
            icon="eye-off"
            onClick=${() => setText(null)}
            aria-label=${`Hide ${label}`}
            >Hide<//
          >
          <${CopyButton} text=${text} aria-label=${`Copy ${label}`} />`}
  </div>
  ${error && html`<${Notice} tone="bad">${error.message}<//>`}`;
}

/** A secret that is here now and never again. */
export function SecretOnce({ label, text }) {
  return html`<div class="secret">
    <code>${text}</code>
    <${CopyButton} text=${text} aria-label=${`Copy ${label}`} />
  </div>`;
}
