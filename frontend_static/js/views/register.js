/** A new account: for anybody where registration is open, else by invitation. */
import * as api from "../api.js";
import { CheckField, PasswordField, TextField } from "../components/field.js";
import { Notice } from "../components/states.js";
import { useForm } from "../form.js";
import { html } from "../html.js";
import { Link } from "../router.js";
import { session, signIn } from "../session.js";
import { Door, DoorForm } from "./doors.js";

export default function Register({ query }) {
  const { registration } = session.value;
  const form = useForm(
    {
      username: "",
      password: "",
      first_name: "",
      last_name: "",
      email: "",
      actor: true,
      client: true,
      invitation: query.invitation ?? "",
    },
    async (order) => {
      await api.post("/api/users/", order);
      await signIn(order.username, order.password);
    },
  );
  const back = html`<${Link} to="/sign-in">Sign in<//>`;
  if (registration === "closed") {
    return html`<${Door} title="Registration is closed">
      <${Notice}>Ask the operator of this server for an account. ${back}<//>
    <//>`;
  }
  return html`<${Door} title="Create an account" foot=${html`<span>Have one? ${back}</span>`}>
    <${DoorForm} form=${form} verb="Create account">
      ${registration === "invitation" &&
      html`<${TextField}
        label="Invitation"
        hint="From the operator of this server."
        autocomplete="off"
        required
        ...${form.text("invitation")}
      />`}
      <${TextField} label="User name" autocomplete="username" required ...${form.text("username")} />
      <${PasswordField} label="Password" autocomplete="new-password" required ...${form.text("password")} />
      <div class="door-pair">
        <${TextField} label="First name (optional)" autocomplete="given-name" ...${form.text("first_name")} />
        <${TextField} label="Last name (optional)" autocomplete="family-name" ...${form.text("last_name")} />
      </div>
      <${TextField} label="E-mail (optional)" type="email" autocomplete="email" ...${form.text("email")} />
      <${CheckField}
        label="I run trainings"
        checked=${form.values.actor}
        onInput=${(yes) => form.set("actor", yes)}
      />
      <${CheckField}
        label="I take part in trainings with my own data"
        checked=${form.values.client}
        onInput=${(yes) => form.set("client", yes)}
      />
    <//>
  <//>`;
}
