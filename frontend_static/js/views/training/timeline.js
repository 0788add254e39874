/** What happened, from the audit log: newest first, in sentences. */
import { Button } from "../../components/button.js";
import { SelectField } from "../../components/field.js";
import { Icon } from "../../components/icon.js";
import { Empty, Loading, Notice } from "../../components/states.js";
import { clockTime, count, dateTime, dayOf } from "../../format.js";
import { html, memo, useState } from "../../html.js";
import { GROUPS, groupOf, sentence } from "./sentences.js";

export function Timeline({ id, log, people }) {
  const [group, setGroup] = useState("");
  const { events, error, hasOlder, loadOlder, retry } = log;
  const [failure, setFailure] = useState(null);
  if (error !== null) {
    return html`<${Notice}
      tone="bad"
      action=${html`<${Button} size="small" icon="refresh-cw" onClick=${retry}>Try again<//>`}
    >
      ${error.message}
    <//>`;
  }
  if (events === undefined) return html`<${Loading} />`;
  const shown = group === "" ? events : events.filter(({ kind }) => groupOf(kind) === group);

  async function older() {
    setFailure(null);
    try {
      await loadOlder();
    } catch (refusal) {
      setFailure(refusal);
    }
  }

  return html`<div class="stack">
    <div class="spread timeline-head">
      <${SelectField}
        label="Show"
        value=${group}
        onInput=${setGroup}
        options=${[["", "Everything"], ...Object.entries(GROUPS).map(([name, { label }]) => [name, label])]}
      />
      <a class="button button-small" href=${`/api/trainings/${id}/audit/?format=jsonl`} download=${`audit-${id}.jsonl`}>
        <${Icon} name="download" />Whole log (JSON Lines)
      </a>
    </div>
    ${shown.length === 0
      ? html`<${Empty} icon="history" title="Nothing of that kind">
          ${hasOlder
            ? `Not among the newest ${count(events.length, "event")}; older ones can be loaded.`
            : "Nothing like it has happened in this training."}
        <//>`
      : html`<ol class="timeline">
          ${byDay(shown).map(
            ([day, its]) => html`<li key=${day}>
              <h3>${day}</h3>
              <ol>
                ${its.map((event) => html`<${Event} key=${event.id} event=${event} people=${people} />`)}
              </ol>
            </li>`,
          )}
        </ol>`}
    ${failure && html`<${Notice} tone="bad">${failure.message}<//>`}
    ${hasOlder
      ? html`<div><${Button} icon="history" onClick=${older}>Load older<//></div>`
      : html`<p class="quiet">That is everything since the beginning.</p>`}
  </div>`;
}

const Event = memo(({ event, people }) => {
  const [open, setOpen] = useState(false);
  return html`<li class="event">
    <details onToggle=${(toggled) => setOpen(toggled.currentTarget.open)}>
      <summary>
        <${Icon} name=${GROUPS[groupOf(event.kind)].icon} size=${15} />
        <span>${sentence(event, people)}</span>
        <time datetime=${event.at} title=${dateTime(event.at)}>${clockTime(event.at)}</time>
        <${Icon} name="chevron-down" size=${14} class="event-more" />
      </summary>
      ${open && html`<${Details} event=${event} />`}
    </details>
  </li>`;
});

function Details({ event }) {
  return html`<dl class="facts event-facts">
    <dt>Event</dt>
    <dd>${event.id}, ${event.kind}</dd>
    ${Object.entries(event.details).map(
      ([name, value]) => html`<dt>${name}</dt>
        <dd class="mono">${typeof value === "string" ? value : JSON.stringify(value)}</dd>`,
    )}
    <dt>Digest</dt>
    <dd class="mono">${event.digest}</dd>
    ${event.redacted && html`<dt>Left out</dt><dd>What it says about other participants.</dd>`}
  </dl>`;
}

function byDay(events) {
  const days = new Map();
  for (const event of events) {
    const day = dayOf(event.at);
    if (!days.has(day)) days.set(day, []);
    days.get(day).push(event);
  }
  return [...days];
}
