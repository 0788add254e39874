/** What a superuser can do with one account. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { confirm, Dialog } from "../../components/dialog.js";
import { PasswordField } from "../../components/field.js";
import { SecretOnce } from "../../components/secret.js";
import { Notice } from "../../components/states.js";
import { toast } from "../../components/toast.js";
import { useForm } from "../../form.js";
import { ago, dateTime, personName } from "../../format.js";
import { html, useState } from "../../html.js";
import { session } from "../../session.js";
import { Rights } from "./accounts.js";

/** `onChange` is given the account's new row. */
export function AccountDialog({ account, onChange, onClose }) {
  const name = personName(account);
  const change = async (fields) => {
    onChange(await api.patch(`/api/accounts/${account.id}/`, fields));
  };
  const part = { account, name, change };
  return html`<${Dialog} title=${`Account of ${name}`} onClose=${onClose} wide>
    <div class="dialog-body">
      <div class="spread">
        <h2>${name}</h2>
        <${Rights} account=${account} />
      </div>
      <dl class="facts">
        <dt>User name</dt>
        <dd class="mono">${account.username}</dd>
        <dt>E-mail</dt>
        <dd>${account.email || "–"}</dd>
        <dt>Since</dt>
        <dd>${dateTime(account.created_at)}</dd>
        <dt>Last seen</dt>
        <dd>${ago(account.last_seen_at, api.serverNow())}</dd>
      </dl>
      <${Access} ...${part} />
      <${Superuser} ...${part} />
      <${NewPassword} ...${part} />
      <${NewToken} ...${part} />
      <div class="dialog-actions"><${Button} onClick=${onClose}>Close<//></div>
    </div>
  <//>`;
}

function Access({ account, name, change }) {
  const isMe = account.id === session.value.user.id;
  const disable = () =>
    confirm({
      title: `Disable ${name}?`,
      text: `Their sessions end at once, and their token and password are refused until the account is enabled again. Trainings of theirs go on.`,
      verb: "Disable",
      danger: true,
      act: () => change({ active: false }),
    });
  const enable = async () => {
    try {
      await change({ active: true });
      toast(`${name} may sign in again.`);
    } catch (refusal) {
      toast(refusal.message, "bad");
    }
  };
  return html`<${Choice}
    title="Access"
    text=${account.active ? "May sign in and use the API." : "Is refused everywhere."}
  >
    ${account.active
      ? html`<${Button}
          tone="danger"
          onClick=${disable}
          reason=${isMe ? "You would lock yourself out. Another superuser can do it." : null}
          >Disable<//
        >`
      : html`<${Button} onClick=${enable}>Enable<//>`}
  <//>`;
}

function Superuser({ account, name, change }) {
  const isMe = account.id === session.value.user.id;
  const turn = () =>
    confirm({
      title: account.superuser ? `Take superuser rights from ${name}?` : `Make ${name} a superuser?`,
      text: account.superuser
        ? "They keep their account, trainings and models."
        : "They will manage people, read every audit log, and see the machines.",
      verb: account.superuser ? "Take rights" : "Make superuser",
      danger: account.superuser,
      act: () => change({ superuser: !account.superuser }),
    });
  return html`<${Choice}
    title="Superuser"
    text=${account.superuser
      ? "Manages people, and sees the whole server."
      : "Has no rights beyond their own trainings and models."}
  >
    <${Button}
      onClick=${turn}
      reason=${isMe ? "You would lose the right to change it back. Another superuser can do it." : null}
    >
      ${account.superuser ? "Take rights" : "Make superuser"}
    <//>
  <//>`;
}

function NewPassword({ account, name, change }) {
  const isMe = account.id === session.value.user.id;
  const [open, setOpen] = useState(false);
  const form = useForm({ password: "" }, async ({ password }) => {
    await change({ password });
    setOpen(false);
    form.set("password", "");
    toast(`${name} has a new password.`);
  });
  return html`<${Choice} title="Password" text="For who has forgotten theirs; their sessions end.">
      <${Button}
        onClick=${() => setOpen(!open)}
        aria-expanded=${open}
        reason=${isMe ? "You change your own in your profile, where the present one is asked for." : null}
        >Set password<//
      >
    <//>
    ${open &&
    html`<form class="form inset" onSubmit=${form.submit} novalidate>
      ${form.error && html`<${Notice} tone="bad">${form.error}<//>`}
      <${PasswordField}
        label=${`New password of ${account.username}`}
        hint="Tell them by a way that nobody else reads."
        autocomplete="new-password"
        required
        ...${form.text("password")}
      />
      <div class="row"><${Button} type="submit" tone="primary" busy=${form.sending}>Save<//></div>
    </form>`}`;
}

function NewToken({ account, name }) {
  const [token, setToken] = useState(null);
  const make = () =>
    confirm({
      title: `Give ${name} a new API token?`,
      text: "Programs that use the present one are refused from then on, and webhooks to them are signed with a new secret.",
      verb: "Make a new token",
      danger: true,
      act: async () => setToken((await api.post(`/api/accounts/${account.id}/token/`)).token),
    });
  return html`<${Choice} title="API token" text="What their programs sign in with.">
      <${Button} onClick=${make}>New token<//>
    <//>
    ${token &&
    html`<div class="stack-small inset">
      <p>Copy it now: it is not shown again here.</p>
      <${SecretOnce} label=${`new token of ${account.username}`} text=${token} />
    </div>`}`;
}

function Choice({ title, text, children }) {
  return html`<div class="choice">
    <div>
      <h3>${title}</h3>
      <p class="quiet">${text}</p>
    </div>
    ${children}
  </div>`;
}
