/** The way to Ray's own dashboard. */
import { Code } from "../../components/code.js";
import { Icon } from "../../components/icon.js";
import { html } from "../../html.js";

export function Dashboard({ dashboard }) {
  const { url, token_command: command, how } = dashboard;
  return html`<section class="panel" aria-label="Ray dashboard">
    <header>
      <h2>Ray dashboard</h2>
      ${url !== null &&
      html`<a class="button button-small" href=${url} target="_blank" rel="noreferrer">
        <${Icon} name="external-link" />Open<span class="sr-only"> the Ray dashboard in a new tab</span>
      </a>`}
    </header>
    <div class="panel-body stack-small">
      ${url !== null && html`<p>Its address is <span class="mono">${url}</span></p>`}
      <p>${how}</p>
      ${command !== null && html`<${Code} text=${command} label="Command that prints the token" />`}
    </div>
  </section>`;
}
