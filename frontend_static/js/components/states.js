/** What a page shows while it loads, when there is nothing, and when something went wrong. */
import { html } from "../html.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

const ICONS = { bad: "circle-alert", warn: "triangle-alert", good: "circle-check", active: "info" };

/** A sentence in a coloured box. Errors are read out at once. */
export function Notice({ tone = "", children, action = null }) {
  return html`<div class=${`notice notice-${tone}`} role=${tone === "bad" ? "alert" : undefined}>
    <${Icon} name=${ICONS[tone] ?? "info"} />
    <div>${children}</div>
    ${action}
  </div>`;
}

/** Grey lines where something will be. */
export function Loading({ lines = 4, label = "Loading" }) {
  const widths = ["w-60", "w-90", "w-75", "w-50"];
  return html`<div class="stack-small panel-body" role="status" aria-label=${label}>
    ${Array.from({ length: lines }, (_, index) => html`<span class="skeleton ${widths[index % 4]}" />`)}
  </div>`;
}

/** Nothing here yet: what belongs here, and how it comes. */
export function Empty({ icon = "info", title, children, action = null }) {
  return html`<div class="empty">
    <${Icon} name=${icon} size=${28} />
    <h2>${title}</h2>
    <p>${children}</p>
    ${action}
  </div>`;
}

/**
 * What of a resource is to be seen: `children(data)`, or its loading or error state.
 * With data at hand, a failed reload is a notice above it.
 */
export function Loaded({ resource, lines, children }) {
  const { data, error, reload } = resource;
  const retry = html`<${Button} size="small" icon="refresh-cw" onClick=${reload}>Try again<//>`;
  if (data === undefined) {
    return error === null
      ? html`<${Loading} lines=${lines} />`
      : html`<div class="panel-body"><${Notice} tone="bad" action=${retry}>${error.message}<//></div>`;
  }
  return html`${error && html`<${Notice} tone="warn" action=${retry}>Not up to date: ${error.message}<//>`}
  ${children(data)}`;
}
