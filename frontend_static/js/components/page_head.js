/** Title of a page, a sentence about it, and what can be done there. */
import { html } from "../html.js";

export function PageHead({ title, lead = null, actions = null, children = null }) {
  return html`<div class="page-head">
    <div>
      <h1 tabindex="-1">${title}</h1>
      ${lead && html`<p class="lead">${lead}</p>`}${children}
    </div>
    ${actions && html`<div class="actions">${actions}</div>`}
  </div>`;
}
