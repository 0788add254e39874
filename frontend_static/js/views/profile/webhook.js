/** Where one's notifications are sent. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { TextField } from "../../components/field.js";
import { Secret } from "../../components/secret.js";
import { Notice } from "../../components/states.js";
import { toast } from "../../components/toast.js";
import { useForm } from "../../form.js";
import { html } from "../../html.js";
import { session } from "../../session.js";
import { saveProfile } from "./names.js";

export function Webhook() {
  const form = useForm(
    { message_endpoint: session.value.user.message_endpoint },
    async (fields) => {
      await saveProfile(fields);
      toast(fields.message_endpoint ? "Notifications go to your webhook." : "No webhook any more.");
    },
  );
  return html`<section class="panel">
    <header><h2>Notifications</h2></header>
    <div class="panel-body stack">
      <p>
        Your programs are told of rounds and tests in a feed that they ask for. With a webhook, the
        server also POSTs each notification to an address of yours.
      </p>
      <form class="form" onSubmit=${form.submit} novalidate>
        ${form.error && html`<${Notice} tone="bad">${form.error}<//>`}
        <${TextField}
          label="Webhook address"
          type="url"
          placeholder="https://"
          autocomplete="off"
          hint="Leave it empty to use the feed only: then nothing of yours has to be reachable from here."
          ...${form.text("message_endpoint")}
        />
        <div class="row"><${Button} type="submit" tone="primary" busy=${form.sending}>Save<//></div>
      </form>
      <div class="stack-small">
        <h3>Webhook secret</h3>
        <p class="quiet">
          Each webhook is signed with it (Standard Webhooks), so that your program can tell that it
          comes from here.
        </p>
        <${Secret}
          label="webhook secret"
          load=${async () => (await api.get("/api/users/myself/webhook-secret/")).webhook_secret}
        />
      </div>
    </div>
  </section>`;
}
