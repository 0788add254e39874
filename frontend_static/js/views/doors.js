/** The frame of the pages for who is not signed in. */
import { Button } from "../components/button.js";
import { Notice } from "../components/states.js";
import { html } from "../html.js";
import { nextTheme, theme } from "../theme.js";

export function Door({ title, lead = null, children, foot = null }) {
  return html`<main class="door">
    <div class="door-panel panel">
      <img src="/static/img/starling.svg" alt="" width="40" height="40" />
      <h1 tabindex="-1">${title}</h1>
      ${lead && html`<p class="door-lead">${lead}</p>`} ${children}
    </div>
    <div class="door-foot">
      ${foot}
      <${Button} tone="plain" size="small" onClick=${nextTheme}>Theme: ${theme.value}<//>
    </div>
  </main>`;
}

/** A form with one button, as all the doors have it. */
export function DoorForm({ form, verb, children }) {
  return html`<form class="form" onSubmit=${form.submit} novalidate>
    ${form.error && html`<${Notice} tone="bad">${form.error}<//>`} ${children}
    <${Button} type="submit" tone="primary" busy=${form.sending}>${verb}<//>
  </form>`;
}
