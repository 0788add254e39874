/** A file of the server, to download. */
import { html } from "../html.js";
import { Icon } from "./icon.js";

/** `label` says of what; shown is "Download". */
export function DownloadLink({ href, label }) {
  return html`<a class="button button-small" href=${href} download aria-label=${label} title=${label}>
    <${Icon} name="download" />Download
  </a>`;
}
