/** A new password. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { PasswordField } from "../../components/field.js";
import { Notice } from "../../components/states.js";
import { toast } from "../../components/toast.js";
import { useForm } from "../../form.js";
import { html } from "../../html.js";
import { session } from "../../session.js";

const EMPTY = { current_password: "", new_password: "" };

export function Password() {
  const form = useForm(EMPTY, async (fields) => {
    await api.post("/api/users/myself/password/", fields);
    for (const name of Object.keys(EMPTY)) form.set(name, "");
    toast("Your password is changed.");
  });
  return html`<section class="panel">
    <header><h2>Password</h2></header>
    <form class="form panel-body" onSubmit=${form.submit} novalidate>
      ${form.error && html`<${Notice} tone="bad">${form.error}<//>`}
      <input type="hidden" autocomplete="username" value=${session.value.user.username} />
      <${PasswordField}
        label="Present password"
        autocomplete="current-password"
        required
        ...${form.text("current_password")}
      />
      <${PasswordField}
        label="New password"
        autocomplete="new-password"
        hint="You stay signed in here; everywhere else you are signed out. API tokens stay valid."
        required
        ...${form.text("new_password")}
      />
      <div class="row">
        <${Button} type="submit" tone="primary" busy=${form.sending}>Change password<//>
      </div>
    </form>
  </section>`;
}
