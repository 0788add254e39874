/** The API token of one's programs. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { Code } from "../../components/code.js";
import { confirm } from "../../components/dialog.js";
import { Secret, SecretOnce } from "../../components/secret.js";
import { html, useState } from "../../html.js";
import { session } from "../../session.js";

export function Token() {
  const { id } = session.value.user;
  const [fresh, setFresh] = useState(null);
  const replace = () =>
    confirm({
      title: "Replace your API token?",
      text: "Every program that uses the present one is refused from then on, until it has the new one. Webhooks to you are signed with a new secret. You stay signed in here.",
      verb: "Replace",
      danger: true,
      act: async () => setFresh((await api.post("/api/users/myself/token/")).token),
    });
  return html`<section class="panel">
    <header>
      <h2>API token</h2>
      <${Button} size="small" tone="danger" icon="refresh-cw" onClick=${replace}>Replace<//>
    </header>
    <div class="panel-body stack">
      <p>Your programs sign in with it. It may do all that you may: keep it as you keep a password.</p>
      ${fresh === null
        ? html`<${Secret}
            label="API token"
            load=${async () => (await api.get(`/api/users/${id}/`)).token}
          />`
        : html`<${SecretOnce} label="API token" text=${fresh} />`}
      <${Code} label="How to use the token" text=${usage()} />
    </div>
  </section>`;
}

function usage() {
  return `export STARLING_TOKEN=…
curl -H "Authorization: Token $STARLING_TOKEN" ${location.origin}/api/users/myself/`;
}
