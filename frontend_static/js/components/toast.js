/** Short messages about what was just done; read out, and gone after a while. */
import { html, signal } from "../html.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

const ICONS = { bad: "circle-alert", good: "circle-check" };
const SHOWN_MILLISECONDS = 6000;
const toasts = signal([]);
let lastKey = 0;

/** `tone`: "good", "bad" or none. What went wrong stays until it is closed. */
export function toast(text, tone = "good") {
  lastKey += 1;
  const key = lastKey;
  toasts.value = [...toasts.value, { key, text, tone }];
  if (tone !== "bad") setTimeout(() => dismiss(key), SHOWN_MILLISECONDS);
}

function dismiss(key) {
  toasts.value = toasts.value.filter((shown) => shown.key !== key);
}

/** Where toasts are shown; once, in the shell. */
export function ToastHost() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map(
      ({ key, text, tone }) => html`<div key=${key} class=${`toast toast-${tone}`}>
        <${Icon} name=${ICONS[tone] ?? "info"} />
        <span>${text}</span>
        <${Button} tone="plain" size="small" icon="x" label="Close message" onClick=${() => dismiss(key)} />
      </div>`,
    )}
  </div>`;
}
