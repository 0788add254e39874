/** No such page. */
import { LinkButton } from "../components/button.js";
import { Empty } from "../components/states.js";
import { html } from "../html.js";

export default function NotFound() {
  return html`<h1 class="sr-only" tabindex="-1">Page not found</h1>
    <${Empty}
      icon="search"
      title="There is no such page"
      action=${html`<${LinkButton} to="/" tone="primary">Go to the overview<//>`}
    >
      The address may be mistyped, or what was here is gone.
    <//>`;
}
