/** Names and e-mail address. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { TextField } from "../../components/field.js";
import { Notice } from "../../components/states.js";
import { toast } from "../../components/toast.js";
import { useForm } from "../../form.js";
import { html } from "../../html.js";
import { session } from "../../session.js";

/** Save fields of one's profile, and show them wherever they are seen. */
export async function saveProfile(fields) {
  const user = await api.patch("/api/users/myself/profile/", fields);
  session.value = { ...session.value, user };
}

export function Names() {
  const { first_name, last_name, email } = session.value.user;
  const form = useForm({ first_name, last_name, email }, async (fields) => {
    await saveProfile(fields);
    toast("Saved.");
  });
  return html`<section class="panel">
    <header><h2>Who you are</h2></header>
    <form class="form panel-body" onSubmit=${form.submit} novalidate>
      ${form.error && html`<${Notice} tone="bad">${form.error}<//>`}
      <${TextField} label="First name" autocomplete="given-name" ...${form.text("first_name")} />
      <${TextField} label="Last name" autocomplete="family-name" ...${form.text("last_name")} />
      <${TextField}
        label="E-mail"
        type="email"
        autocomplete="email"
        hint="Seen by you, superusers, and who runs a training that you take part in."
        ...${form.text("email")}
      />
      <div class="row"><${Button} type="submit" tone="primary" busy=${form.sending}>Save<//></div>
    </form>
  </section>`;
}
