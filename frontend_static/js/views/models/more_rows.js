/** Below a table that shows a part of its rows. */
import { Button } from "../../components/button.js";
import { number } from "../../format.js";
import { html } from "../../html.js";

export function MoreRows({ shown, of, onMore }) {
  if (shown >= of) return null;
  return html`<div class="panel-body row">
    <${Button} onClick=${onMore}>Show more<//>
    <span class="quiet">${`${number(shown)} of ${number(of)} shown`}</span>
  </div>`;
}
