/** Who takes part, and how they stand in the open round. */
import { serverNow } from "../../api.js";
import { Badge } from "../../components/badge.js";
import { Button } from "../../components/button.js";
import { Icon } from "../../components/icon.js";
import { Empty, Loaded } from "../../components/states.js";
import { ago, count, dateTime } from "../../format.js";
import { html, memo, useMemo, useRef, useState } from "../../html.js";
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
  const deliveries = useMemo(
    () => (isRunning(training) ? null : deliveriesByOwner(rounds)),
    [isRunning(training), rounds],
  );
  const latest = useRef(null);
  latest.current = { onRemove, onShowRound };
  // Always the same functions, so that a row that stays as it is need not be made again.
  const act = useMemo(
    () => ({
      remove: (id) => latest.current.onRemove(id),
      showRound: (round) => latest.current.onShowRound(round),
    }),
    [],
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
          ...${rowOf(one, now)}
          ...${{ isActor, act }}
          record=${deliveries && record(deliveries, one.id)}
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

/** What a row shows of a participant, all of it plain: most rows are as they were. */
function rowOf({ id, name, username, state, delivered_at: delivered, last_seen_at: seen, unreachable }, now) {
  return {
    id,
    name,
    username,
    ...state,
    seenAt: seen,
    times: [delivered && `delivered ${ago(delivered, now)}`, seen ? `seen ${ago(seen, now)}` : "never seen"]
      .filter(Boolean)
      .join(", "),
    trouble:
      unreachable &&
      `Webhook refused since ${ago(unreachable.since, now)} (${count(unreachable.attempts, "attempt")}): ${unreachable.last_error || "no answer"}. It is tried again by itself.`,
  };
}

/** How many rounds were aggregated, and in how many of them each participant delivered. */
function deliveriesByOwner(rounds) {
  const aggregated = rounds.filter((round) => round.aggregated_at !== null);
  const times = new Map();
  for (const { updates } of aggregated) {
    for (const owner of new Set(updates.map((update) => update.owner))) {
      times.set(owner, (times.get(owner) ?? 0) + 1);
    }
  }
  return { all: aggregated.length, times };
}

const record = ({ all, times }, id) =>
  all === 0 ? null : `in ${times.get(id) ?? 0} of ${count(all, "round")}`;

/** The last round in which somebody stood out, unless that is long ago. */
function recent(marked, rounds) {
  const last = marked?.at(-1);
  return last !== undefined && rounds.at(-1).index - last <= RECENT_ROUNDS ? last : undefined;
}

const Person = memo((row) => {
  const { id, name, username, label, tone, icon, seenAt, times, trouble, record, outlier, isActor, act } = row;
  return html`<li class="member">
    <div class="member-name">
      <strong class="truncate" title=${username}>${name}</strong>
      <span class="quiet" title=${seenAt ? dateTime(seenAt) : undefined}>
        ${[record, times].filter(Boolean).join(", ")}
      </span>
    </div>
    <div class="member-state">
      ${label !== "Registered" && html`<${Badge} tone=${tone} icon=${icon}>${label}<//>`}
      ${isActor &&
      html`<${Button}
        tone="plain"
        size="small"
        icon="user-minus"
        label=${`Remove ${name}`}
        onClick=${() => act.remove(id)}
      />`}
    </div>
    ${trouble && html`<p class="member-note is-bad"><${Icon} name="wifi-off" size=${14} /> ${trouble}</p>`}
    ${outlier !== undefined &&
    html`<p class="member-note">
      <${Icon} name="triangle-alert" size=${14} class="is-warn" />
      <button type="button" class="text-button" onClick=${() => act.showRound(outlier)}>
        Stood out in round ${outlier}
      </button>
    </p>`}
  </li>`;
});
