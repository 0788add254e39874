/** Charts of the metrics: global against each participant. */
import { Button } from "../../components/button.js";
import { Chart, Swatch, toPng } from "../../components/chart.js";
import { SelectField } from "../../components/field.js";
import { Icon } from "../../components/icon.js";
import { Empty, Loaded } from "../../components/states.js";
import { Table } from "../../components/table.js";
import { count, number } from "../../format.js";
import { html, memo, useId, useMemo, useState } from "../../html.js";
import { fileName, save } from "../../save.js";
import { aligned, keysOf, KINDS, positive, quantile, quantiles, smoothed, toCsv } from "./series.js";

// With more participants than that, each line for itself cannot be told apart.
const MOST_LINES = 8;
const CHARTS_AT_FIRST = 6;
const GLOBAL = { key: "global", label: "Global", colour: "--chart-1", width: 3 };
const BAND_COLOUR = "--chart-3";

export const Metrics = memo(({ metrics, training, people, isActor, chosen, onChoose }) => {
  return html`<section class="panel" aria-labelledby="metrics-title">
    <${Loaded} resource=${metrics} lines=${8}>
      ${(data) =>
        data.series.length === 0
          ? html`<header><h2 id="metrics-title">Metrics</h2></header>
              <${NoMetrics} training=${training} />`
          : html`<${Charts} ...${{ data, training, people, isActor, chosen, onChoose }} />`}
    <//>
  </section>`;
});

function NoMetrics({ training }) {
  const names = training.metric_names;
  return html`<${Empty} icon="chart-line" title="No figures yet">
    ${training.state === "I"
      ? "Once the training runs, participants report metrics, and they are drawn here round by round."
      : "Participants report metrics with their updates and when they test the global model."}${" "}
    ${names.length > 0 && `Expected: ${names.join(", ")}.`}
  <//>`;
}

function Charts({ data, training, people, isActor, chosen, onChoose }) {
  const kinds = Object.keys(KINDS).filter((kind) => data.series.some((one) => one.kind === kind));
  const [pickedKind, setKind] = useState(null);
  // Tests say most, and come after what was measured in local training.
  const kind = kinds.includes(pickedKind) ? pickedKind : kinds[0];
  const [picked, setPicked] = useState("");
  const [wanted, setWanted] = useState("chart");
  const [log, setLog] = useState(false);
  const [smoothing, setSmoothing] = useState(0);
  const [all, setAll] = useState(false);
  const [hidden, setHidden] = useState(new Set());
  const smoothingId = useId();

  const keys = useMemo(() => keysOf(data, kind), [data, kind]);
  const shownKeys = keys.includes(picked) ? [picked] : all ? keys : keys.slice(0, CHARTS_AT_FIRST);
  const sets = useMemo(
    () => shownKeys.map((key) => aligned(data.series, kind, key)),
    [data, kind, shownKeys.join("\n")],
  );
  const reporters = useMemo(() => {
    const ids = [...new Set(sets.flatMap((set) => [...set.others.keys()]))];
    return ids.sort((a, b) => people.name(a).localeCompare(people.name(b)));
  }, [sets, people]);
  // Participants are not told the mean of what came with the updates of all.
  const hasGlobal = sets.some(({ global }) => global.some((value) => value !== null));
  const many = reporters.length > MOST_LINES;
  const drawn = many ? reporters.filter((id) => chosen.has(id)) : reporters;
  const styles = useMemo(
    () => drawn.map((id, index) => styleOf(id, many ? index : reporters.indexOf(id), people)),
    [drawn.join(), many, people],
  );
  const legend = [...(hasGlobal ? [GLOBAL] : []), ...styles].filter(({ key }) => !hidden.has(key));
  const canLog = sets.some(({ global, others }) =>
    [global, ...others.values()].some((row) => row.some((value) => value > 0)),
  );

  const toggle = (key) =>
    setHidden((was) => {
      const now = new Set(was);
      if (!now.delete(key)) now.add(key);
      return now;
    });

  function exportCsv() {
    const csv = toCsv(data.series, people.name);
    save(new Blob([csv], { type: "text/csv" }), fileName(training.name, "metrics.csv"));
  }

  async function exportPng() {
    const blob = await toPng({
      title: `${training.name}: ${KINDS[kind].label.toLowerCase()}`,
      legend,
      charts: sets.map((set) => ({
        name: set.key,
        xLabel: KINDS[kind].x,
        xs: set.rounds,
        log,
        ...linesOf({ set, styles, hidden, many, log, smoothing }),
      })),
    });
    save(blob, fileName(training.name, keys.includes(picked) ? picked : "metrics", "chart.png"));
  }

  return html`
    <header>
      <h2 id="metrics-title">Metrics</h2>
      <div class="row">
        <${Segmented}
          label="Show as"
          options=${[
            ["chart", "Charts"],
            ["table", "Table"],
          ]}
          value=${wanted}
          onPick=${setWanted}
        />
        <${Button} size="small" icon="download" onClick=${exportCsv}>CSV<//>
        <${Button} size="small" icon="image" onClick=${exportPng}>PNG<//>
      </div>
    </header>
    <div class="panel-body stack">
      <div class="metrics-controls">
        ${kinds.length > 1 &&
        html`<${Segmented}
          label="Which figures"
          options=${kinds.map((name) => [name, KINDS[name].label])}
          value=${kind}
          onPick=${setKind}
        />`}
        ${keys.length > 1 &&
        html`<${SelectField}
          label="Metric"
          value=${picked}
          onInput=${setPicked}
          options=${[["", `All (${keys.length})`], ...keys.map((key) => [key, key])]}
        />`}
        <div class="field smoothing">
          <label for=${smoothingId}>Smoothing <output>${smoothing.toFixed(2)}</output></label>
          <input
            type="range"
            id=${smoothingId}
            min="0"
            max="0.95"
            step="0.05"
            value=${smoothing}
            onInput=${(event) => setSmoothing(Number(event.currentTarget.value))}
          />
        </div>
        <${Button}
          size="small"
          aria-pressed=${log}
          class=${log ? "is-on" : ""}
          onClick=${() => setLog(!log)}
          reason=${canLog || log ? null : "There is no value above 0 to show on a logarithmic scale."}
        >
          Log scale
        <//>
      </div>
      <p class="quiet">
        ${KINDS[kind].about} ${hasGlobal &&
        ` Global is the mean over participants${isActor ? ", weighted by their samples" : ""}.`}
        ${data.complete === false && " There are so many values that lines of participants begin later."}
        ${log && " Values of 0 and below have no place on a logarithmic scale."}
      </p>
      <${Legend}
        ...${{ hasGlobal, styles, hidden, toggle, many, reporters, chosen, onChoose, people }}
      />
      ${wanted === "chart"
        ? html`<div class=${shownKeys.length > 1 ? "charts charts-many" : "charts"}>
            ${sets.map(
              (set) => html`<${MetricChart}
                key=${`${kind} ${set.key}`}
                ...${{ set, styles, hidden, many, log, smoothing, kind }}
                height=${shownKeys.length > 1 ? 200 : 300}
              />`,
            )}
          </div>`
        : sets.map(
            (set) =>
              html`<${MetricTable} key=${set.key} ...${{ set, styles, kind, hidden }} />`,
          )}
      ${!keys.includes(picked) &&
      keys.length > CHARTS_AT_FIRST &&
      html`<div>
        <${Button} size="small" onClick=${() => setAll(!all)}>
          ${all ? "Show fewer" : `Show all ${keys.length} metrics`}
        <//>
      </div>`}
    </div>
  `;
}

const MetricChart = memo(({ set, styles, hidden, many, log, smoothing, kind, height }) => {
  const [at, setAt] = useState(null);
  const { lines, band } = useMemo(
    () => linesOf({ set, styles, hidden, many, log, smoothing }),
    [set, styles, hidden, many, log, smoothing],
  );
  const place = at ?? set.rounds.length - 1;
  const value = set.global[place] ?? null;
  return html`<div class="chart-card">
    <div class="spread">
      <h3>${set.key}</h3>
      <span class="chart-value">
        ${value !== null && html`<strong>${number(value)}</strong>`}
        <span class="quiet">${KINDS[kind].at(set.rounds[place])}</span>
      </span>
    </div>
    <${Chart}
      label=${`${set.key} by ${KINDS[kind].x.toLowerCase()}: ${summary(set)}`}
      xLabel=${KINDS[kind].x}
      xs=${set.rounds}
      group="metrics"
      onAt=${setAt}
      placed=${KINDS[kind].at}
      ...${{ lines, band, log, height }}
    />
  </div>`;
});

/** What a chart of `set` shows: lines, those with the raw figures faint behind, and the band. */
function linesOf({ set, styles, hidden, many, log, smoothing }) {
  const scaled = log ? positive : (values) => values;
  const smooth = (values) => scaled(smoothing > 0 ? smoothed(values, smoothing) : values);
  const length = set.rounds.length;
  const all = [
    ...styles.map((style) => ({ ...style, values: set.others.get(style.key) })),
    { ...GLOBAL, values: set.global },
  ].filter(({ key, values }) => values?.some((value) => value !== null) && !hidden.has(key));
  const raw = all.map((line) => ({
    ...line,
    key: `${line.key} raw`,
    values: scaled(line.values),
    width: 1,
    faint: true,
  }));
  return {
    // The last is drawn on top.
    lines: [
      ...(smoothing > 0 ? raw : []),
      ...all.map((line) => ({ ...line, values: smooth(line.values) })),
    ],
    band:
      many && !hidden.has("band")
        ? {
            low: smooth(quantiles(set.others, length, 0.1)),
            high: smooth(quantiles(set.others, length, 0.9)),
            colour: BAND_COLOUR,
          }
        : null,
  };
}

/** The course of the global series, for who does not see the chart. */
function summary({ rounds, global, others }) {
  const known = rounds.map((round, index) => [round, global[index]]).filter(([, value]) => value !== null);
  const participants = count(others.size, "participant");
  if (known.length === 0) return participants;
  const [first, last] = [known[0], known.at(-1)];
  return `global from ${number(first[1])} at ${first[0]} to ${number(last[1])} at ${last[0]}, ${participants}`;
}

function Legend({ hasGlobal, styles, hidden, toggle, many, reporters, chosen, onChoose, people }) {
  const others = reporters.filter((id) => !chosen.has(id));
  const byName = useMemo(
    () => others.map((id) => [id, people.name(id)]).sort(([, a], [, b]) => a.localeCompare(b)),
    [others.join(), people],
  );
  return html`<div class="legend" role="group" aria-label="Lines in the charts">
    ${hasGlobal && html`<${LegendEntry} style=${GLOBAL} hidden=${hidden} toggle=${toggle} />`}
    ${many &&
    html`<${LegendEntry}
      style=${{
        key: "band",
        label: `Middle 80 % of ${count(reporters.length, "participant")}`,
        colour: BAND_COLOUR,
        width: 6,
      }}
      hidden=${hidden}
      toggle=${toggle}
    />`}
    ${styles.map(
      (style) => html`<span class="legend-pair" key=${style.key}>
        <${LegendEntry} style=${style} hidden=${hidden} toggle=${toggle} />
        ${many &&
        html`<${Button}
          tone="plain"
          size="small"
          icon="x"
          label=${`Remove ${style.label} from the charts`}
          onClick=${() => onChoose(style.key, false)}
        />`}
      </span>`,
    )}
    ${many &&
    html`<select
      class="input legend-add"
      aria-label="Add a participant to the charts"
      value=""
      onChange=${(event) => {
        onChoose(event.currentTarget.value, true);
        event.currentTarget.value = "";
      }}
    >
      <option value="">Add a participant…</option>
      ${byName.map(([id, name]) => html`<option value=${id} key=${id}>${name}</option>`)}
    </select>`}
  </div>`;
}

function LegendEntry({ style, hidden, toggle }) {
  const shown = !hidden.has(style.key);
  return html`<button
    type="button"
    class="legend-entry"
    aria-pressed=${shown}
    title=${shown ? `Hide ${style.label}` : `Show ${style.label}`}
    onClick=${() => toggle(style.key)}
  >
    <${Swatch} ...${style} />${style.label}
    ${!shown && html`<${Icon} name="eye-off" size=${12} />`}
  </button>`;
}

function MetricTable({ set, styles, kind, hidden }) {
  const rows = set.rounds.map((round, index) => {
    const values = [...set.others.values()].map((row) => row[index]).filter((value) => value !== null);
    return { round, index, values };
  });
  const spread = (label, share) => ({
    key: label,
    label,
    num: true,
    cell: ({ values }) => (values.length ? number(quantile(values, share)) : "–"),
  });
  const columns = [
    {
      key: "round",
      label: KINDS[kind].x,
      head: true,
      cell: ({ round }) => round,
      sort: ({ round }) => round,
    },
    ...(set.global.some((value) => value !== null)
      ? [{ key: "global", label: "Global", num: true, cell: ({ index }) => number(set.global[index]) }]
      : []),
    ...(set.others.size > 2 ? [spread("Lowest", 0), spread("Median", 0.5), spread("Highest", 1)] : []),
    ...styles
      .filter(({ key }) => !hidden.has(key))
      .map(({ key, label }) => ({
        key,
        label,
        num: true,
        cell: ({ index }) => number(set.others.get(key)?.[index]),
      })),
  ];
  return html`<div class="metric-table">
    <h3>${set.key}</h3>
    <${Table}
      columns=${columns}
      rows=${rows}
      rowKey=${({ round }) => round}
      caption=${`${set.key} by round`}
      initial=${["round", "descending"]}
      cards=${false}
    />
  </div>`;
}

/** A few options of which one is on, side by side. */
function Segmented({ label, options, value, onPick }) {
  return html`<div class="segmented" role="group" aria-label=${label}>
    ${options.map(
      ([name, shown]) => html`<button
        type="button"
        key=${name}
        aria-pressed=${name === value}
        onClick=${() => onPick(name)}
      >
        ${shown}
      </button>`,
    )}
  </div>`;
}

/** Colours repeat after seven participants; the dashes then tell them apart. */
function styleOf(id, index, people) {
  const dashes = [null, [6, 4], [2, 3], [10, 4, 2, 4]];
  return {
    key: id,
    label: people.isMe(id) ? `${people.name(id)} (you)` : people.name(id),
    colour: `--chart-${2 + (index % 7)}`,
    width: 1.5,
    dash: dashes[Math.floor(index / 7) % dashes.length],
  };
}
