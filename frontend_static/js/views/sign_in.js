/** Sign in with name and password. */
import { PasswordField, TextField } from "../components/field.js";
import { Notice } from "../components/states.js";
import { useForm } from "../form.js";
import { html } from "../html.js";
import { Link } from "../router.js";
import { session, signedOutBecause, signIn } from "../session.js";
import { Door, DoorForm } from "./doors.js";

export default function SignIn() {
  const form = useForm({ username: "", password: "" }, ({ username, password }) =>
    signIn(username, password),
  );
  const { setup_needed: setupNeeded, registration } = session.value;
  return html`<${Door}
    title="Sign in to Starling"
    foot=${registration === "open" &&
    html`<span>New here? <${Link} to="/register">Create an account<//></span>`}
  >
    ${signedOutBecause.value && html`<${Notice} tone="active">${signedOutBecause.value}<//>`}
    ${setupNeeded &&
    html`<${Notice} tone="warn">
      This server has no superuser yet. <${Link} to="/setup">Set it up<//>.
    <//>`}
    <${DoorForm} form=${form} verb="Sign in">
      <${TextField} label="User name" autocomplete="username" required autofocus ...${form.text("username")} />
      <${PasswordField} label="Password" autocomplete="current-password" required ...${form.text("password")} />
    <//>
  <//>`;
}
