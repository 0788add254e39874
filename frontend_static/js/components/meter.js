/** How much of something is in use. */
import { html } from "../html.js";
import { Icon } from "./icon.js";

/** `used` of `total`; `text` says it for people. More than `warnAt` of it (a share) is marked. */
export function Meter({ label, used, total, text, warnAt = Infinity }) {
  const share = total > 0 ? Math.min(1, used / total) : 0;
  const high = share > warnAt;
  return html`<div class="meter">
    <div class="spread">
      <span class="meter-label">${label}</span>
      <span>${high && html`<${Icon} name="triangle-alert" label="Nearly full" /> `}${text}</span>
    </div>
    <span
      class=${high ? "progress progress-bad" : "progress"}
      role="meter"
      aria-label=${label}
      aria-valuemin="0"
      aria-valuemax=${total}
      aria-valuenow=${Math.min(used, total)}
      aria-valuetext=${text}
    >
      <span style=${{ width: `${share * 100}%` }} />
    </span>
  </div>`;
}
