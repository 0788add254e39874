/** Oneself: names, how one is told of things, password, API token. */
import { PageHead } from "../components/page_head.js";
import { html } from "../html.js";
import { session } from "../session.js";
import { Names } from "./profile/names.js";
import { Password } from "./profile/password.js";
import { Token } from "./profile/token.js";
import { Webhook } from "./profile/webhook.js";

export default function Profile() {
  const { user, superuser } = session.value;
  const rights = [
    superuser && "superuser",
    user.actor && "runs trainings",
    user.client && "takes part in trainings",
  ].filter(Boolean);
  return html`
    <${PageHead} title="Profile">
      <p class="lead">
        Signed in as <strong class="mono">${user.username}</strong>${rights.length > 0 &&
        `: ${rights.join(", ")}`}.
      </p>
    <//>
    <div class="profile">
      <${Names} />
      <${Password} />
      <${Webhook} />
      <${Token} />
    </div>
  `;
}
