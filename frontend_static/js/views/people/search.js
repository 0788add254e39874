/** Finding people by name. */
import { TextField } from "../../components/field.js";
import { personName } from "../../format.js";
import { html } from "../../html.js";
import { hasWords } from "../../search.js";

/** Whether every word of `search` is in a name or the e-mail address. Pure. */
export const isFound = (user, search) =>
  hasWords(`${user.username} ${personName(user)} ${user.email}`, search);

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
