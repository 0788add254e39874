/** How far something is. */
import { html } from "../html.js";

/** `value` of `total`; `label` says of what. */
export function Progress({ value, total, label, tone = "" }) {
  const share = total > 0 ? Math.min(1, value / total) : 0;
  return html`<span
    class=${`progress progress-${tone}`}
    role="progressbar"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax=${total}
    aria-valuenow=${value}
  >
    <span style=${{ width: `${share * 100}%` }} />
  </span>`;
}
