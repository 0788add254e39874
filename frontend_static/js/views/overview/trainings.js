/** The list of trainings: what runs first, then what waits to begin, then what is over. */
import { Badge, TrainingBadge } from "../../components/badge.js";
import { Button } from "../../components/button.js";
import { SelectField, TextField } from "../../components/field.js";
import { Progress } from "../../components/progress.js";
import { Sparkline } from "../../components/sparkline.js";
import { Empty } from "../../components/states.js";
import { ago, count, dateTime, number } from "../../format.js";
import { html } from "../../html.js";
import { Link, setQuery } from "../../router.js";
import { hasWords } from "../../search.js";
import { serverNow } from "../../api.js";
import { isOver, isRunning } from "../../words.js";
import { roundsDone, roundTitle, standing } from "./standing.js";

const GROUPS = [
  ["running", "Running", isRunning],
  ["unstarted", "Not started", (training) => training.state === "I"],
  ["over", "Finished", isOver],
];
// Fewer are seen at a glance.
const FILTER_FROM = 6;
const NO_FILTER = { state: undefined, role: undefined, search: undefined };

/**
 * `trainings`: of `GET /api/overview/`; `total`: how many there are in all; `query` has the filters;
 * `onMore` brings more of them, null when there is no more to bring.
 */
export function Trainings({ trainings, total, query, onMore }) {
  const shown = trainings.filter((training) => matches(training, query));
  const groups = GROUPS.map(([key, title, belongs]) => [key, title, shown.filter(belongs)]);
  return html`
    ${trainings.length >= FILTER_FROM && html`<${Filters} query=${query} trainings=${trainings} />`}
    ${groups.map(([key, title, rows]) => html`<${Group} key=${key} title=${title} rows=${rows} />`)}
    ${shown.length === 0 &&
    html`<div class="panel">
      <${Empty}
        icon="search"
        title="No training is like that"
        action=${html`<${Button} onClick=${() => setQuery(NO_FILTER)}>Show all<//>`}
      >
        None of your ${count(trainings.length, "training")} matches the search and filters.
      <//>
    </div>`}
    ${total > trainings.length &&
    html`<p class="quiet row">
      ${number(trainings.length)} of ${number(total)} trainings: those that run, and the most recently active.
      ${onMore !== null && html`<${Button} size="small" onClick=${onMore}>Show more<//>`}
    </p>`}
  `;
}

/** Whether a training is among those asked for. Pure. */
export function matches(training, { state, role, search }) {
  const belongs = GROUPS.find(([key]) => key === state)?.[2] ?? (() => true);
  // Short words are in nearly every id.
  const isId = (word) => word.length >= 4 && training.id.startsWith(word);
  return (
    belongs(training) &&
    (!role || training.role === role) &&
    hasWords(`${training.name} ${training.actor_name}`, search ?? "", isId)
  );
}

function Filters({ query, trainings }) {
  const both = new Set(trainings.map((training) => training.role)).size > 1;
  const field = (name) => ({
    value: query[name] ?? "",
    onInput: (value) => setQuery({ [name]: value }),
  });
  return html`<div class="filters" role="search" aria-label="Trainings">
    <${TextField} label="Search" type="search" placeholder="Name, actor or id" ...${field("search")} />
    <${SelectField}
      label="State"
      options=${[["", "All"], ...GROUPS.map(([key, title]) => [key, title])]}
      ...${field("state")}
    />
    ${both &&
    html`<${SelectField}
      label="My part"
      options=${[
        ["", "Any"],
        ["actor", "I run it"],
        ["participant", "I take part"],
      ]}
      ...${field("role")}
    />`}
  </div>`;
}

function Group({ title, rows }) {
  if (rows.length === 0) return null;
  return html`<section>
    <h2 class="group-title">${title} <span class="quiet">${number(rows.length)}</span></h2>
    <ul class="panel trainings">
      ${rows.map((training) => html`<${Row} key=${training.id} training=${training} />`)}
    </ul>
  </section>`;
}

function Row({ training }) {
  const { sentence, tone } = standing(training, serverNow());
  const over = isOver(training);
  return html`<li class="training">
    <div class="training-name">
      <h3><${Link} to=${`/trainings/${training.id}`}>${training.name}<//></h3>
      <p class="quiet">
        ${training.role === "actor" ? "You run it" : `Run by ${training.actor_name}`} ·
        <span title=${dateTime(training.last_update)}> ${ago(training.last_update, serverNow())}</span>
      </p>
    </div>
    <div class="training-state"><${TrainingBadge} training=${training} /></div>
    <div class="training-progress">
      <p>${roundTitle(training)}</p>
      <${Progress}
        value=${roundsDone(training)}
        total=${training.target_num_updates}
        label=${`Rounds of ${training.name}`}
        tone=${{ C: "good", E: "bad" }[training.state] ?? ""}
      />
      ${sentence && html`<p class=${tone === "bad" ? "bad" : "quiet"}>${sentence}</p>`}
      ${!over &&
      training.missing.length > 0 &&
      training.role === "actor" &&
      html`<${Missing} training=${training} />`}
    </div>
    <${MainMetric} training=${training} />
  </li>`;
}

const NAMED = 3;

/** The first names of who is waited for, and how many more. */
function Missing({ training: { missing, missing_count: missingCount } }) {
  const named = missing.slice(0, NAMED);
  const others = missingCount - named.length;
  return html`<p class="row missing" aria-label="Missing">
    ${named.map((name) => html`<${Badge} key=${name} icon="clock">${name}<//>`)}
    ${others > 0 && html`<span class="quiet">and ${number(others)} more</span>`}
  </p>`;
}

function MainMetric({ training: { main_metric: metric, state } }) {
  const known = metric?.points.filter(([, value]) => value !== null) ?? [];
  if (known.length === 0) {
    return html`<div class="training-metric quiet">${state === "I" ? "" : "No figures yet"}</div>`;
  }
  const last = number(known.at(-1)[1]);
  return html`<div class="training-metric">
    ${known.length > 1 && html`<${Sparkline} points=${metric.points} label=${`Course of ${metric.key}, now ${last}`} />`}
    <span><strong>${last}</strong> <span class="quiet">${metric.key}</span></span>
  </div>`;
}
