/** For who has no training yet: what one is, and how to begin. */
import { LinkButton } from "../../components/button.js";
import { Code } from "../../components/code.js";
import { html } from "../../html.js";
import { Link } from "../../router.js";
import { session } from "../../session.js";

const STEPS = [
  [
    "Upload a model",
    "An untrained network, or one to train on: TorchScript, torch.export, or a pickled torch.nn module.",
  ],
  [
    "Choose participants",
    "They register here. Each keeps its data at home, and needs nothing but an HTTP client.",
  ],
  [
    "Start the training",
    "In each round they train the model at home and send it back; the server averages what came.",
  ],
];

export function Welcome() {
  const { user } = session.value;
  const parts = [html`<${ForActors} key="actor" />`, html`<${ForParticipants} key="participant" />`];
  if (user.client && !user.actor) parts.reverse();
  return html`<div class="welcome">${parts}</div>`;
}

function ForActors() {
  return html`<section class="panel">
    <header><h2>Run a training</h2></header>
    <div class="panel-body stack">
      <p>
        In a training, several organisations improve one model together, and nobody hands over data:
        only what the model has learned leaves the house.
      </p>
      <ol class="steps">
        ${STEPS.map(
          ([title, text]) => html`<li key=${title}>
            <h3>${title}</h3>
            <p>${text}</p>
          </li>`,
        )}
      </ol>
      <div class="row">
        <${LinkButton} to="/models/new" tone="primary" icon="upload">Upload a model<//>
        <${LinkButton} to="/trainings/new" icon="plus">New training<//>
      </div>
    </div>
  </section>`;
}

function ForParticipants() {
  const { username } = session.value.user;
  return html`<section class="panel">
    <header><h2>Take part in one</h2></header>
    <div class="panel-body stack">
      <p>
        Tell whoever runs the training your user name: <strong class="mono">${username}</strong>. Once
        they have added you, it appears here, and your program is told what to do.
      </p>
      <p>
        No port has to be open for that: a program asks for its notifications, with the API token
        from your <${Link} to="/profile">profile<//>, and each answer waits until there is one.
      </p>
      <${Code} label="How a participant asks for notifications" text=${askForNotifications()} />
      <p>
        An <code>UPDATE_ROUND_START</code> names the model to download, to train, and to send back. The${" "}
        <a href="/api/schema/redoc/">API reference</a> has every request.
      </p>
    </div>
  </section>`;
}

function askForNotifications() {
  return `curl -H "Authorization: Token $STARLING_TOKEN" \\
  "${location.origin}/api/users/myself/notifications/?after=0&wait=60"`;
}
