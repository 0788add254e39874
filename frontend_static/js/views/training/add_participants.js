/** Add participants, found by search. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { Dialog } from "../../components/dialog.js";
import { TextField } from "../../components/field.js";
import { Icon } from "../../components/icon.js";
import { Notice } from "../../components/states.js";
import { toast } from "../../components/toast.js";
import { count, personName } from "../../format.js";
import { html, useMemo, useState } from "../../html.js";
import { isRunning } from "../../words.js";

const MOST_SHOWN = 50;

export function AddParticipants({ training, people, onClose, onDone }) {
  const [query, setQuery] = useState("");
  const [picked, setPicked] = useState(new Map());
  const [error, setError] = useState(null);
  const others = useMemo(() => {
    const present = new Set(training.participants);
    return people.all
      .filter(({ id }) => !present.has(id))
      .map((user) => ({ ...user, name: personName(user) }))
      .sort((a, b) => b.client - a.client || a.name.localeCompare(b.name));
  }, [people, training.participants]);
  const words = query.trim().toLowerCase();
  const found = others.filter(({ name, username }) => `${name} ${username}`.toLowerCase().includes(words));

  const toggle = (user) =>
    setPicked((was) => {
      const now = new Map(was);
      if (!now.delete(user.id)) now.set(user.id, user);
      return now;
    });

  async function add(event) {
    event.preventDefault();
    setError(null);
    try {
      await api.put(`/api/trainings/${training.id}/clients/`, { clients: [...picked.keys()] });
      toast(`${count(picked.size, "participant")} added.`);
      onDone();
      onClose();
    } catch (refusal) {
      setError(refusal);
    }
  }

  return html`<${Dialog} title="Add participants" onClose=${onClose}>
    <form onSubmit=${(event) => event.preventDefault()}>
      <h2>Add participants</h2>
      ${isRunning(training) &&
      html`<p class="quiet">
        They are told at once what is expected${training.options.cohort && ", and can be drawn from the next round on"}.
      </p>`}
      <${TextField}
        label="Search by name"
        type="search"
        autocomplete="off"
        autofocus
        value=${query}
        onInput=${setQuery}
        hint=${found.length > MOST_SHOWN
          ? `The first ${MOST_SHOWN} of ${found.length}; type to narrow it down.`
          : `${count(found.length, "person", "people")}${words && " found"}`}
      />
      ${picked.size > 0 &&
      html`<ul class="chips" aria-label="Chosen">
        ${[...picked.values()].map(
          (user) => html`<li key=${user.id} class="chip">
            ${user.name}
            <button type="button" aria-label=${`Do not add ${user.name}`} onClick=${() => toggle(user)}>
              <${Icon} name="x" size=${14} />
            </button>
          </li>`,
        )}
      </ul>`}
      ${found.length > 0
        ? html`<ul class="candidates" aria-label="People" tabindex="0">
            ${found.slice(0, MOST_SHOWN).map(
              (user) => html`<li key=${user.id}>
                <label>
                  <input type="checkbox" checked=${picked.has(user.id)} onChange=${() => toggle(user)} />
                  <span class="truncate">${user.name}</span>
                  <span class="quiet truncate">
                    ${user.name !== user.username && user.username}${!user.client && " · no participant's account"}
                  </span>
                </label>
              </li>`,
            )}
          </ul>`
        : html`<p class="quiet">
            ${words ? "Nobody of that name who does not take part already." : "Everybody takes part already."}
          </p>`}
      ${error && html`<${Notice} tone="bad">${error.message}<//>`}
      <div class="dialog-actions">
        <${Button} onClick=${onClose}>Cancel<//>
        <${Button}
          tone="primary"
          onClick=${add}
          reason=${picked.size === 0 ? "Choose somebody first." : null}
        >
          ${picked.size > 0 ? `Add ${count(picked.size, "participant")}` : "Add"}
        <//>
      </div>
    </form>
  <//>`;
}
