/** Groups of people: those one is in, or for a superuser all. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { confirm } from "../../components/dialog.js";
import { SelectField, TextField } from "../../components/field.js";
import { Empty, Loaded, Loading, Notice } from "../../components/states.js";
import { toast } from "../../components/toast.js";
import { useForm } from "../../form.js";
import { count, personName } from "../../format.js";
import { html, useState } from "../../html.js";
import { useResource } from "../../resource.js";
import { session } from "../../session.js";

/** `every`: all groups of the server, which only superusers may see. */
export function Groups({ every = false }) {
  const groups = useResource(
    (signal) => api.get(every ? "/api/groups/" : "/api/users/groups/", { signal }),
    [every],
  );
  const users = useResource((signal) => api.get("/api/users/", { signal }), []);
  return html`<div class="stack">
    <${NewGroup} onMade=${groups.reload} />
    <${Loaded} resource=${groups}>
      ${(all) =>
        all.length === 0
          ? html`<div class="panel">
              <${Empty} icon="users" title=${every ? "No groups yet" : "You are in no group"}>
                A group is a list of people, for example the hospitals of one project. Make one, and
                add its members.
              <//>
            </div>`
          : all.map(
              (group) =>
                html`<${Group}
                  key=${group.id}
                  group=${group}
                  users=${users.data}
                  onGone=${() => groups.set(groups.data.filter(({ id }) => id !== group.id))}
                />`,
            )}
    <//>
  </div>`;
}

function NewGroup({ onMade }) {
  const form = useForm({ name: "" }, async ({ name }) => {
    onMade(await api.post("/api/groups/", { name }));
    form.set("name", "");
  });
  return html`<form class="form" onSubmit=${form.submit} novalidate>
    ${form.error && html`<${Notice} tone="bad">${form.error}<//>`}
    <div class="add-member">
      <${TextField} label="Name of a new group" autocomplete="off" ...${form.text("name")} />
      <${Button} type="submit" icon="plus" busy=${form.sending}>Create group<//>
    </div>
  </form>`;
}

function Group({ group, users, onGone }) {
  const path = `/api/groups/${group.id}/members/`;
  const members = useResource((signal) => api.get(path, { signal }), [group.id]);
  const [chosen, setChosen] = useState("");
  const known = new Map((users ?? []).map((user) => [user.id, user]));
  const nameOf = (id) => (known.has(id) ? personName(known.get(id)) : "Somebody");

  async function add() {
    try {
      members.set(await api.put(path, { users: [chosen] }));
      setChosen("");
    } catch (refusal) {
      toast(refusal.message, "bad");
    }
  }
  const remove = (id) => {
    const isMe = id === session.value.user.id;
    return confirm({
      title: isMe ? `Leave ${group.name}?` : `Remove ${nameOf(id)} from ${group.name}?`,
      text: isMe ? "You will not see it any more." : "Their account and trainings stay as they are.",
      verb: isMe ? "Leave" : "Remove",
      act: async () => {
        members.set(await api.del(path, { users: [id] }));
        if (isMe && !session.value.superuser) onGone();
      },
    });
  };
  const dissolve = () =>
    confirm({
      title: `Delete the group ${group.name}?`,
      text: "Its members keep their accounts.",
      verb: "Delete",
      danger: true,
      act: async () => {
        await api.del(`/api/groups/${group.id}/`);
        onGone();
      },
    });

  return html`<section class="panel">
    <header>
      <h2>${group.name}</h2>
      <div class="row">
        <span class="quiet">${members.data && count(members.data.users.length, "member")}</span>
        <${Button}
          tone="danger"
          size="small"
          icon="trash-2"
          label=${`Delete group ${group.name}`}
          onClick=${dissolve}
        />
      </div>
    </header>
    <${Loaded} resource=${members} lines=${2}>
      ${({ users: ids }) => html`<div class="panel-body stack">
        ${users === undefined
          ? html`<${Loading} lines=${1} />`
          : html`<ul class="members">
              ${ids.map(
                (id) => html`<li key=${id}>
                  ${nameOf(id)}
                  <${Button}
                    tone="plain"
                    size="small"
                    icon="x"
                    label=${`Remove ${nameOf(id)} from ${group.name}`}
                    onClick=${() => remove(id)}
                  />
                </li>`,
              )}
            </ul>`}
        <div class="add-member">
          <${SelectField}
            label=${`Add to ${group.name}`}
            value=${chosen}
            onInput=${setChosen}
            options=${[["", "Choose a person"], ...outsiders(users ?? [], ids)]}
          />
          <${Button}
            icon="user-plus"
            onClick=${add}
            reason=${chosen === "" ? "Choose a person first." : null}
            >Add<//
          >
        </div>
      </div>`}
    <//>
  </section>`;
}

/** `[id, name]` of everybody who is not in the group, by name. Pure. */
function outsiders(users, ids) {
  return users
    .filter((user) => !ids.includes(user.id))
    .map((user) => [user.id, `${personName(user)} (${user.username})`])
    .sort(([, one], [, other]) => one.localeCompare(other));
}
