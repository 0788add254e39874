/** Small labels for states. */
import { html } from "../html.js";
import { trainingState } from "../words.js";
import { Icon } from "./icon.js";

const ICONS = { good: "circle-check", warn: "pause", bad: "circle-x", active: "activity" };

export function Badge({ tone = "", icon = null, children, ...rest }) {
  return html`<span class=${`badge badge-${tone}`} ...${rest}>
    ${icon && html`<${Icon} name=${icon} size=${12} />`}${children}
  </span>`;
}

export function TrainingBadge({ training }) {
  const { label, tone } = trainingState(training);
  return html`<${Badge} tone=${tone} icon=${ICONS[tone] ?? "circle"}>${label}<//>`;
}
