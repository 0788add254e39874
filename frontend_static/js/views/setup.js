/** First run: the superuser. */
import { PasswordField, TextField } from "../components/field.js";
import { Notice } from "../components/states.js";
import { useForm } from "../form.js";
import { html } from "../html.js";
import { Link } from "../router.js";
import { session, setUp } from "../session.js";
import { Door, DoorForm } from "./doors.js";

export default function Setup({ query }) {
  // A form of its own for each link: an old one may be followed by the right one in the same tab.
  return html`<${FirstSuperuser} key=${query.code} linked=${query.code ?? ""} />`;
}

function FirstSuperuser({ linked }) {
  const form = useForm(
    { code: linked, username: "", password: "", email: "" },
    ({ code, username, password, email }) => setUp({ code, username, password, email }),
  );
  if (!session.value.setup_needed) {
    return html`<${Door} title="This server is set up">
      <${Notice}>It has a superuser already. <${Link} to="/sign-in">Sign in<//>.<//>
    <//>`;
  }
  return html`<${Door}
    title="Welcome to Starling"
    lead="Create the first superuser: the account that manages people and sees the whole server."
  >
    <${DoorForm} form=${form} verb="Create and sign in">
      <${TextField}
        label="Setup code"
        hint="The server prints it when it starts, so that nobody else on the network can claim it."
        autocomplete="off"
        required
        ...${form.text("code")}
      />
      <${TextField} label="User name" autocomplete="username" required ...${form.text("username")} />
      <${PasswordField} label="Password" autocomplete="new-password" required ...${form.text("password")} />
      <${TextField} label="E-mail (optional)" type="email" autocomplete="email" ...${form.text("email")} />
    <//>
  <//>`;
}
