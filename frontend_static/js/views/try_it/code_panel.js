/** The request that was or would be made, to copy. */
import { Button, LinkButton } from "../../components/button.js";
import { Code } from "../../components/code.js";
import { Tabs } from "../../components/tabs.js";
import { html, useState } from "../../html.js";
import { save } from "../../save.js";
import { curlOf, isLong, jsonOf, pythonOf, QUESTION_FILE } from "./snippets.js";

const LANGUAGES = [
  ["curl", "curl", curlOf, "curl command"],
  ["python", "Python", pythonOf, "Python program"],
];

/** `requests`: what would be sent now; empty when there is no input yet. */
export function CodePanel({ requests }) {
  const [language, setLanguage] = useState("curl");
  return html`<section class="panel" aria-label="The same from your code">
    <header><h2>The same from your code</h2></header>
    <div class="panel-body">
      ${requests.length === 0
        ? html`<p class="quiet">As soon as there is an input, the request for it is here to copy.</p>`
        : html`<${Tabs}
            label="Language"
            selected=${language}
            onSelect=${setLanguage}
            tabs=${LANGUAGES.map(([key, name, write, label]) => [
              key,
              name,
              () => html`<${Snippet} requests=${requests} write=${write} label=${label} />`,
            ])}
          />`}
    </div>
  </section>`;
}

function Snippet({ requests, write, label }) {
  const [request] = requests;
  return html`<div class="stack-small">
    <p class="hint">${whatText(requests)}</p>
    <${Code} text=${write(request, location.origin)} label=${label} />
    <div class="row">
      ${request.file !== undefined &&
      html`<${Button} size="small" icon="download" onClick=${() => save(request.file, request.fileName)}>
        Download ${request.fileName}
      <//>`}
      ${isLong(request) &&
      html`<${Button} size="small" icon="download" onClick=${() => save(jsonFile(request), QUESTION_FILE)}>
        Download ${QUESTION_FILE}
      <//>`}
      <${LinkButton} to="/profile" size="small" icon="key">Your token<//>
    </div>
  </div>`;
}

function whatText(requests) {
  const token = "Put your API token into the environment variable STARLING_TOKEN.";
  if (requests[0].spans.length > 1) {
    return `One request with two samples: your input and its noisy copy. ${token}`;
  }
  return requests.length > 1
    ? `For your input; its noisy copy is a second request like this one. ${token}`
    : `For your input. ${token}`;
}

const jsonFile = (request) => new Blob([jsonOf(request)], { type: "application/json" });
