/** Inviting people, for superusers. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { TextField } from "../../components/field.js";
import { SecretOnce } from "../../components/secret.js";
import { Notice } from "../../components/states.js";
import { useForm } from "../../form.js";
import { dateTime } from "../../format.js";
import { html, useState } from "../../html.js";
import { session } from "../../session.js";

const RULES = {
  open: "Registration is open: whoever reaches this server can register without an invitation.",
  invitation: "Registration is by invitation: each link below registers one person, once.",
  closed: "Registration is closed, so that an invitation would be refused.",
};
const TO_CHANGE_IT = html`The setting is <code>STARLING_REGISTRATION</code>: <code>open</code>,
  <code> invitation</code> or <code>closed</code>.`;

export function Invitations() {
  const { registration } = session.value;
  const [made, setMade] = useState([]);
  const form = useForm({ valid_days: "7" }, async ({ valid_days: days }) => {
    const invitation = await api.post("/api/invitations/", { valid_days: Number(days) });
    setMade((before) => [invitation, ...before]);
  });
  return html`<div class="stack">
    <${Notice} tone=${registration === "closed" ? "warn" : "active"}>
      ${RULES[registration]} ${TO_CHANGE_IT}
    <//>
    <section class="panel">
      <header><h2>Invite somebody</h2></header>
      <div class="panel-body stack">
        <form class="form narrow" onSubmit=${form.submit} novalidate>
          ${form.error && html`<${Notice} tone="bad">${form.error}<//>`}
          <${TextField}
            label="Valid for days"
            type="number"
            min="1"
            max="365"
            inputmode="numeric"
            ...${form.text("valid_days")}
          />
          <div class="row">
            <${Button}
              type="submit"
              tone="primary"
              icon="user-plus"
              busy=${form.sending}
              reason=${registration === "closed" ? RULES.closed : null}
              >Create invitation<//
            >
          </div>
        </form>
        ${made.length > 0 &&
        html`<div class="stack">
          <p>Send a link to one person each. Links are not kept: they are gone when you leave.</p>
          ${made.map(
            (one) => html`<div key=${one.invitation} class="stack-small">
              <${SecretOnce} label="invitation link" text=${one.url} />
              <p class="quiet">Until ${dateTime(one.expires_at)}</p>
            </div>`,
          )}
        </div>`}
      </div>
    </section>
  </div>`;
}
