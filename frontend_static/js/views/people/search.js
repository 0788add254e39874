/** Finding people by name. */
import { TextField } from "../../components/field.js";
import { personName } from "../../format.js";
import { html } from "../../html.js";

/** Whether every word of `search` is in a name or the e-mail address. Pure. */
export function isFound(user, search) {
  const text = `${user.username} ${personName(user)} ${user.email}`.toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

export function SearchPeople({ value, onInput }) {
  return html`<div class="people-search">
    <${TextField}
      label="Search"
      type="search"
      placeholder="Name or e-mail"
      autocomplete="off"
      value=${value}
      onInput=${onInput}
    />
  </div>`;
}

/** "Ada Lovelace" above "ada". */
export function PersonCell({ user }) {
  const name = personName(user);
  return html`<div class="person">
    <span>${name}</span>
    ${name !== user.username && html`<span class="quiet mono">${user.username}</span>`}
  </div>`;
}

/** What somebody said at registration that they do here. Pure. */
export function partOf(user) {
  const parts = [user.actor && "Runs trainings", user.client && "Takes part"].filter(Boolean);
  return parts.join(", ") || "–";
}
