/** Rounds, and how the updates of one compare: the aggregator's figures, and who stands out. */
import { Badge } from "../../components/badge.js";
import { Button } from "../../components/button.js";
import { Icon } from "../../components/icon.js";
import { Empty, Loaded, Notice } from "../../components/states.js";
import { Table } from "../../components/table.js";
import { clockTime, dateTime, duration, number, percent } from "../../format.js";
import { html, memo, useEffect, useRef, useState } from "../../html.js";
import { FEWEST, MEANING, RULE } from "./outliers.js";
import { listed } from "./standing.js";

const SHOWN_AT_FIRST = 10;
const PHASE_WORDS = {
  collecting: ["Local training", "active"],
  aggregating: ["Aggregating", "active"],
  collecting_moments: ["SWAG moments", "active"],
  aggregating_moments: ["SWAG aggregation", "active"],
  testing: ["Testing", "active"],
  closed: ["Done", "good"],
};

/**
 * `findings`: outliers by round (see outliers.js); `selected`: index of the round that is looked at,
 * null for the last one with figures; `arriving`: a ref that says that the reader just chose it.
 */
export function Rounds({ training, rounds, findings, people, isActor, selected, arriving, onSelect }) {
  return html`<${Loaded} resource=${rounds}>
    ${(rows) => {
      if (rows.length === 0) {
        return html`<${Empty} icon="layers" title="No round yet">
          Each round has its times, its updates and the aggregator's figures here.
        <//>`;
      }
      const latest = rows.findLast(({ figures }) => figures !== null) ?? rows.at(-1);
      const round = rows.find(({ index }) => index === selected) ?? latest;
      return html`<div class="rounds">
        <${RoundTable} ...${{ rows, findings, isActor, training, onSelect }} current=${round.index} />
        <${RoundDetail}
          key=${round.index}
          ...${{ round, people, isActor, findings, arriving }}
        />
      </div>`;
    }}
  <//>`;
}

function RoundTable({ rows, findings, isActor, training, current, onSelect }) {
  const [all, setAll] = useState(false);
  const newestFirst = rows.toReversed();
  const shown = all ? newestFirst : newestFirst.slice(0, SHOWN_AT_FIRST);
  const columns = [
    {
      key: "index",
      label: "Round",
      head: true,
      sort: ({ index }) => index,
      cell: ({ index }) => html`<button
        type="button"
        class="text-button"
        aria-label=${`Round ${index}`}
        aria-pressed=${index === current}
        onClick=${() => onSelect(index)}
      >
        ${index}
      </button>`,
    },
    { key: "state", label: "State", cell: (round) => html`<${RoundState} ...${{ round, training }} />` },
    {
      key: "delivered",
      label: "Updates",
      num: true,
      sort: ({ delivered }) => delivered,
      cell: ({ delivered, cohort }) => (cohort ? `${delivered} of ${cohort.length}` : number(delivered)),
    },
    ...(isActor
      ? [
          {
            key: "outliers",
            label: "Outliers",
            sort: ({ index }) => findings.get(index)?.size ?? 0,
            cell: ({ index, figures }) => {
              const found = findings.get(index)?.size ?? 0;
              if (figures === null) return "–";
              return found === 0
                ? html`<span class="quiet">none</span>`
                : html`<${Badge} tone="warn" icon="triangle-alert">${found}<//>`;
            },
          },
        ]
      : []),
  ];
  return html`<div class="round-list">
    <${Table}
      columns=${columns}
      rows=${shown}
      rowKey=${({ index }) => index}
      caption="Rounds, newest first"
      cards=${false}
    />
    ${rows.length > SHOWN_AT_FIRST &&
    html`<div class="panel-foot">
      <${Button} size="small" onClick=${() => setAll(!all)}>
        ${all ? "Show fewer" : `Show all ${rows.length} rounds`}
      <//>
    </div>`}
  </div>`;
}

function RoundState({ round, training }) {
  const ended = round.phase === "closed" && round.aggregated_at === null;
  if (ended) {
    const last = round.index === training.round;
    return training.aggregation_method === "FedDC" && !last
      ? html`<${Badge} tone="good" icon="circle-check">Handed on<//>`
      : html`<${Badge} tone="bad" icon="circle-x">Given up<//>`;
  }
  const [label, tone] = PHASE_WORDS[round.phase] ?? [round.phase, ""];
  return html`<${Badge} tone=${tone} icon=${tone === "good" ? "circle-check" : "activity"}>${label}<//>`;
}

const RoundDetail = memo(({ round, people, isActor, findings, arriving }) => {
  const heading = useRef(null);
  useEffect(() => {
    if (arriving.current) heading.current.focus();
    arriving.current = false;
  }, []);
  const { figures } = round;
  return html`<section class="round-detail" aria-labelledby="round-title">
    <div class="stack-small">
      <h2 id="round-title" tabindex="-1" ref=${heading}>Round ${round.index}</h2>
      <p class="quiet">
        Opened ${dateTime(round.opened_at)}${round.closed_at &&
        `, closed ${clockTime(round.closed_at)} after ${duration(collectionSeconds(round))}`}${round.aggregated_at &&
        `, aggregated ${clockTime(round.aggregated_at)}`}.
        ${round.extended && " Its deadline was extended."}
      </p>
      ${figures !== null && html`<${Figures} figures=${figures} />`}
    </div>
    ${figures !== null && html`<${Verdict} ...${{ round, people, findings }} />`}
    ${round.updates.length > 0
      ? html`<${Updates} ...${{ round, people }} found=${findings.get(round.index) ?? new Map()} />`
      : html`<p class="quiet">
          ${round.delivered === 0 ? "Nobody has delivered yet." : "You have not delivered in this round."}
        </p>`}
    ${!isActor && html`<p class="quiet">How updates compare is shown to the actor only.</p>`}
    ${isActor &&
    figures === null &&
    round.phase !== "closed" &&
    html`<p class="quiet">Norms and cosines are there once the round is aggregated.</p>`}
    ${figures !== null &&
    html`<details class="rule">
      <summary>How is this decided?</summary>
      <p>${RULE}</p>
      <p>
        The <strong>update norm</strong> is how far local training moved the weights (Euclidean). The${" "}
        <strong>cosine to the mean</strong> says whether it moved them where the others did: 1 is the same
        direction, 0 has nothing to do with it, −1 is the opposite.
      </p>
    </details>`}
  </section>`;
});

function Figures({ figures }) {
  return html`<dl class="round-figures">
    <div><dt>Samples</dt><dd>${number(figures.total_samples)}</dd></div>
    <div><dt>Summing</dt><dd>${duration(figures.fold_seconds)}</dd></div>
    <div><dt>Writing</dt><dd>${duration(figures.write_seconds)}</dd></div>
    <div><dt>Computed on</dt><dd>${figures.device === "cpu" ? "CPU" : figures.device}</dd></div>
  </dl>`;
}

/** Who stands out and what that can mean. */
function Verdict({ round, people, findings }) {
  const found = findings.get(round.index) ?? new Map();
  if (Object.keys(round.figures.updates).length < FEWEST) {
    return html`<p class="quiet">With fewer than four updates nobody can be told apart from the others.</p>`;
  }
  if (found.size === 0) {
    return html`<${Notice} tone="good">No update stands out from the others.<//>`;
  }
  const owners = new Map(round.updates.map(({ id, owner }) => [id, owner]));
  return html`<${Notice} tone="warn">
    <div class="stack-small">
      ${[...found].map(([id, all]) => {
        const owner = owners.get(id);
        const before = othersOf(owner, round.index, findings);
        return html`<div class="stack-small" key=${id}>
          <p>
            <strong>${owner ? people.name(owner) : "A deleted update"} stands out:</strong>
            ${" "}${all.map(inWords).join("; ")}.
          </p>
          ${all.map(({ kind }) => html`<p>This can mean: ${lowered(MEANING[kind])}</p>`)}
          ${before.length > 0 &&
          html`<p>Also in ${before.length === 1 ? "round" : "rounds"} ${listed(before, 6)}.</p>`}
        </div>`;
      })}
      <p class="quiet">It is a hint, not a proof: the update counts like every other.</p>
    </div>
  <//>`;
}

function othersOf(owner, index, findings) {
  const before = [];
  for (const [other, found] of findings) {
    if (other !== index && found.owners.has(owner)) before.push(String(other));
  }
  return before;
}

function inWords({ kind, value, median, score }) {
  const figure = kind === "cosine-low" ? "cosine to the mean" : "update norm";
  const side = kind === "norm-high" ? "above" : "below";
  return `${figure} ${number(value, 3)}, ${number(score, 2)} deviations ${side} the median of ${number(median, 3)}`;
}

const lowered = (text) => text.charAt(0).toLowerCase() + text.slice(1);

function Updates({ round, people, found }) {
  const figures = round.figures?.updates ?? null;
  const total = round.figures?.total_samples;
  const largest = figures === null ? 0 : Math.max(...Object.values(figures).map(({ norm }) => norm));
  const of = (update) => figures?.[update.id];
  const columns = [
    {
      key: "owner",
      label: "Participant",
      head: true,
      sort: ({ owner }) => people.name(owner),
      cell: ({ id, owner }) => html`<span class="marked">
        ${people.name(owner)}
        ${found.has(id) && html`<${Icon} name="triangle-alert" size=${14} class="is-warn" label="stands out" />`}
      </span>`,
    },
    {
      key: "samples",
      label: "Samples",
      num: true,
      sort: ({ sample_size: size }) => size,
      cell: ({ sample_size: size }) => html`${number(size)}${total > 0 &&
      html`<span class="quiet"> ${percent(size / total, 0)}</span>`}`,
    },
    {
      key: "arrived",
      label: "Arrived",
      num: true,
      sort: ({ received_at: at }) => Date.parse(at),
      cell: ({ received_at: at }) => html`<span title=${dateTime(at)}>${clockTime(at)}</span>`,
    },
    ...(figures === null
      ? []
      : [
          {
            key: "norm",
            label: "Update norm",
            num: true,
            sort: (update) => of(update)?.norm,
            cell: (update) => html`<${Bar} value=${of(update)?.norm} low=${0} high=${largest} />`,
          },
          {
            key: "cosine",
            label: "Cosine to the mean",
            num: true,
            sort: (update) => of(update)?.cosine_to_mean,
            cell: (update) => html`<${Bar} value=${of(update)?.cosine_to_mean} low=${-1} high=${1} />`,
          },
        ]),
  ];
  return html`<${Table}
    columns=${columns}
    rows=${round.updates}
    rowKey=${({ id }) => id}
    caption=${`Updates of round ${round.index}`}
    initial=${figures === null ? ["arrived", "ascending"] : ["norm", "descending"]}
  />`;
}

/** A number with a bar from `low` to `high`, from 0 where that lies between. */
function Bar({ value, low, high }) {
  if (value === null || value === undefined) return "–";
  const share = (x) => (high === low ? 0 : Math.min(1, Math.max(0, (x - low) / (high - low))) * 100);
  const [from, to] = [share(Math.min(0, value)), share(Math.max(0, value))];
  return html`<span class="figure-bar">
    ${number(value, 3, true)}
    <span aria-hidden="true">
      <span style=${{ left: `${from}%`, width: `${Math.max(1, to - from)}%` }} />
    </span>
  </span>`;
}

function collectionSeconds({ opened_at: opened, closed_at: closed }) {
  return closed === null ? null : (Date.parse(closed) - Date.parse(opened)) / 1000;
}
