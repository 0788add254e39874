/** Who takes part, and how they stand in the open round. */
import { serverNow } from "../../api.js";
import { Badge } from "../../components/badge.js";
import { Button } from "../../components/button.js";
import { Icon } from "../../components/icon.js";
import { Empty, Loaded } from "../../components/states.js";
import { ago, count, dateTime } from "../../format.js";
import { html, useMemo, useState } from "../../html.js";
import { useClock } from "../../resource.js";
import { hasWords } from "../../search.js";
import { isRunning } from "../../words.js";
import { standing } from "./standing.js";

const SEARCH_FROM = 8;
const RECENT_ROUNDS = 3;
const ORDER = ["Unreachable", "Waiting", "Missed", "Delivered", "Not drawn", "Registered"];

/** `rounds` so far; `marks`: those in which an update stood out, by participant. */
export function Board(props) {
  const { training, participants, isActor, onAdd } = props;
  return html`<section class="panel board" aria-labelledby="board-title">
    <header>
      <h2 id="board-title">
        ${isActor ? "Participants" : "You in this training"}
        ${isActor && participants.data && html`<span class="quiet"> ${participants.data.length}</span>`}
      </h2>
      ${isActor && html`<${Button} size="small" icon="user-plus" onClick=${onAdd}>Add<//>`}
    </header>
    <${Loaded} resource=${participants} lines=${5}>
      ${(rows) =>
        rows.length === 0
          ? html`<${Empty} icon="users" title="Nobody takes part yet">
              ${isRunning(training)
                ? "Add participants; they are told at once what is expected of them."
                : "Add the people whose data the model shall learn from. They keep their data at home."}
            <//>`
          : html`<${People} rows=${rows} ...${props} />`}
    <//>
  </section>`;
}

function People({ rows, training, people, isActor, rounds, marks, onRemove, onShowRound }) {
  const now = useClock(serverNow, 10_000);
  const [query, setQuery] = useState("");
  const [only, setOnly] = useState(null);
  const listed = useMemo(
    () =>
      rows
        .map((one) => ({ ...one, name: people.name(one.id), state: standing(training, one) }))
        .sort(
          (a, b) =>
            ORDER.indexOf(a.state.label) - ORDER.indexOf(b.state.label) || a.name.localeCompare(b.name),
        ),
    [rows, training, people],
  );
  const labels = ORDER.filter((label) => listed.some(({ state }) => state.label === label));
  const picked = labels.includes(only) ? only : null;
  const shown = listed.filter(
    ({ name, username, state }) =>
      (picked === null || state.label === picked) &&
      hasWords(`${name} ${username}`, query),
  );

  function showAll() {
    setQuery("");
    setOnly(null);
  }

  return html`${listed.length > SEARCH_FROM &&
    html`<div class="board-filter">
      <input
        class="input"
        type="search"
        placeholder="Search"
        aria-label="Search participants"
        value=${query}
        onInput=${(event) => setQuery(event.currentTarget.value)}
      />
      ${labels.length > 1 &&
      html`<div class="row" role="group" aria-label="Show only">
        ${labels.map(
          (label) => html`<button
            type="button"
            class="filter"
            aria-pressed=${picked === label}
            onClick=${() => setOnly(picked === label ? null : label)}
          >
            ${label} ${listed.filter(({ state }) => state.label === label).length}
          </button>`,
        )}
      </div>`}
    </div>`}
    <ul class="people" tabindex="0" aria-label="Participants and how they stand">
      ${shown.map(
        (one) => html`<${Person}
          key=${one.id}
          ...${{ one, now, isActor, onRemove, onShowRound }}
          record=${isRunning(training) ? null : record(one.id, rounds)}
          outlier=${recent(marks.get(one.id), rounds)}
        />`,
      )}
    </ul>
    ${shown.length === 0 &&
    html`<div class="panel-body row">
      <span class="quiet">Nobody matches.</span>
      <${Button} size="small" onClick=${showAll}>Show all<//>
    </div>`}`;
}

const seen = ({ last_seen_at: at }, now) => (at ? `seen ${ago(at, now)}` : "never seen");

/** In how many of the aggregated rounds somebody delivered. */
function record(id, rounds) {
  const aggregated = rounds.filter((round) => round.aggregated_at !== null);
  if (aggregated.length === 0) return null;
  const times = aggregated.filter(({ updates }) => updates.some(({ owner }) => owner === id)).length;
  return `in ${times} of ${count(aggregated.length, "round")}`;
}

/** The last round in which somebody stood out, unless that is long ago. */
function recent(marked, rounds) {
  const last = marked?.at(-1);
  return last !== undefined && rounds.at(-1).index - last <= RECENT_ROUNDS ? last : undefined;
}

function Person({ one, now, isActor, onRemove, onShowRound, record, outlier }) {
  const { name, state, unreachable } = one;
  return html`<li class="member">
    <div class="member-name">
      <strong class="truncate" title=${one.username}>${name}</strong>
      <span class="quiet" title=${one.last_seen_at ? dateTime(one.last_seen_at) : undefined}>
        ${[record, one.delivered_at && `delivered ${ago(one.delivered_at, now)}`, seen(one, now)]
          .filter(Boolean)
          .join(", ")}
      </span>
    </div>
    <div class="member-state">
      ${state.label !== "Registered" &&
      html`<${Badge} tone=${state.tone} icon=${state.icon}>${state.label}<//>`}
      ${isActor &&
      html`<${Button}
        tone="plain"
        size="small"
        icon="user-minus"
        label=${`Remove ${name}`}
        onClick=${() => onRemove(one)}
      />`}
    </div>
    ${unreachable &&
    html`<p class="member-note is-bad">
      <${Icon} name="wifi-off" size=${14} /> Webhook refused since ${ago(unreachable.since, now)}
      (${count(unreachable.attempts, "attempt")}): ${unreachable.last_error || "no answer"}. It is tried again by itself.
    </p>`}
    ${outlier !== undefined &&
    html`<p class="member-note">
      <${Icon} name="triangle-alert" size=${14} class="is-warn" />
      <button type="button" class="text-button" onClick=${() => onShowRound(outlier)}>
        Stood out in round ${outlier}
      </button>
    </p>`}
  </li>`;
}
