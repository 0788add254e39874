/** Line charts on uPlot, with a read-out for mouse and keyboard. */
import uPlot from "../../vendor/uplot/uplot.js";
import { number } from "../format.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { themeVersion, token } from "../theme.js";

// Of what is shown, uPlot measures nothing before its styles are there. An @import would do as well,
// were it not that tools which look through stylesheets (axe) stumble over it.
await new Promise((resolve, reject) => {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("../../vendor/uplot/uplot.css", import.meta.url).href;
  link.addEventListener("load", resolve);
  link.addEventListener("error", () => reject(new Error("The styles of the charts are missing.")));
  document.head.append(link);
});

const WHOLE_STEPS = [1, 2, 5].flatMap((n) => [n, n * 10, n * 100, n * 1000, n * 10_000]).sort((a, b) => a - b);
const READ_OUT_LINES = 9;

/**
 * Lines over whole numbers.
 *
 * @param {object} props
 *   label: what it shows; xLabel; xs: whole numbers, ascending;
 *   lines: `{key, label, values, colour, width, dash?, faint?}`: `colour` names a design token, a
 *   faint line is background and not read out; band: `{low, high, colour}` or null; log: logarithmic;
 *   placed(x): a place in words; group: charts of one group show the same place;
 *   onAt(index | null): where the reader points.
 */
export function Chart({
  label,
  xLabel,
  xs,
  lines,
  band = null,
  log = false,
  height = 220,
  group,
  placed = String,
  onAt,
}) {
  const host = useRef(null);
  const chart = useRef(null);
  const listener = useRef(onAt);
  listener.current = onAt;
  const [at, setAt] = useState(null);
  const [byKeys, setByKeys] = useState(false);
  const columns = useMemo(() => columnsOf({ xs, lines, band }), [xs, lines, band]);
  // What a chart is made of; only other figures need no new one.
  const shape = JSON.stringify([
    lines.map(({ key, colour, width, dash, faint }) => [key, colour, width, dash, faint]),
    band?.colour,
    log,
    xLabel,
    height,
    group,
  ]);

  useLayoutEffect(() => {
    const element = host.current;
    const plot = new uPlot(
      options({ xLabel, lines, band, log, height, group, width: element.clientWidth, onCursor }),
      columns,
      element,
    );
    chart.current = plot;
    const watch = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height }));
    watch.observe(element);
    return () => {
      watch.disconnect();
      plot.destroy();
      chart.current = null;
    };
  }, [shape, themeVersion.value]);

  const drawn = useRef(columns);
  useEffect(() => {
    if (drawn.current !== columns) chart.current.setData(columns);
    drawn.current = columns;
  }, [columns, shape]);

  function onCursor(plot) {
    const { idx, left, event } = plot.cursor;
    // Of the other charts of a group only the line moves.
    const here = event != null && idx != null && left >= 0;
    setAt(here ? { index: idx, left, width: plot.over.clientWidth, inset: plot.over.offsetLeft } : null);
    setByKeys(false);
    listener.current?.(idx != null && left >= 0 ? idx : null);
  }

  function move(event) {
    const last = xs.length - 1;
    const index = at?.index ?? last;
    const next = {
      ArrowLeft: Math.max(0, index - 1),
      ArrowRight: Math.min(last, at === null ? last : index + 1),
      Home: 0,
      End: last,
    }[event.key];
    if (next === undefined || last < 0) return;
    event.preventDefault();
    const plot = chart.current;
    const left = plot.valToPos(xs[next], "x");
    plot.setCursor({ left, top: 0 }, false);
    setAt({ index: next, left, width: plot.over.clientWidth, inset: plot.over.offsetLeft });
    setByKeys(true);
    listener.current?.(next);
  }

  function leave() {
    chart.current?.setCursor({ left: -10, top: -10 }, false);
    setAt(null);
    listener.current?.(null);
  }

  const read = at === null ? [] : readOut(lines, at.index);
  return html`<div
    class="chart"
    role="group"
    aria-roledescription="chart"
    aria-label=${`${label}. Arrow keys read it out.`}
    tabindex="0"
    onKeyDown=${move}
    onBlur=${leave}
  >
    <div ref=${host} class="chart-host" aria-hidden="true" />
    ${at !== null &&
    read.length > 0 &&
    html`<div class="chart-read" aria-hidden="true" style=${besides(at)}>
      <strong>${capital(placed(xs[at.index]))}</strong>
      <dl>
        ${read.map(
          (line) => html`<div key=${line.key}>
            <dt><${Swatch} ...${line} /><span class="truncate">${line.label}</span></dt>
            <dd>${number(line.values[at.index])}</dd>
          </div>`,
        )}
      </dl>
    </div>`}
    <span class="sr-only" role="status">
      ${byKeys &&
      at !== null &&
      `${capital(placed(xs[at.index]))}: ${read.map((line) => `${line.label} ${number(line.values[at.index])}`).join(", ")}`}
    </span>
  </div>`;
}

/** A short piece of a line, as the chart draws it. */
export function Swatch({ colour, width = 1.5, dash = null }) {
  return html`<svg class="line-swatch" width="18" height="8" aria-hidden="true" focusable="false">
    <line
      x1="1"
      x2="17"
      y1="4"
      y2="4"
      style=${{ stroke: `var(${colour})` }}
      stroke-width=${width + 0.5}
      stroke-dasharray=${dash?.join(" ")}
    />
  </svg>`;
}

const PICTURE_WIDTH = 960;
const PICTURE_HEIGHT = 320;
const PICTURE_MARGIN = 24;
const PICTURE_ROW = 22;
const PICTURE_CELL = PICTURE_HEIGHT + 1.6 * PICTURE_ROW;
// Sharp on paper and on dense screens, whatever the screen it is made on.
const PICTURE_RATIO = 2;
const CHARTS_IN_COLUMN = 20;
// Browsers make no picture at all beyond 16,384 to 65,535 pixels a side, nor beyond some area.
const MOST_PICTURE_PIXELS = 2 ** 26;

/**
 * A picture of charts below each other, many of them in columns, with a title and their legend: a
 * PNG, as a Blob.
 *
 * @throws {Error} a sentence: the browser makes no picture of this size
 * @param {{title: string, legend: object[], charts: object[]}} picture
 *   legend: lines as charts have them; charts: `{name, xLabel, xs, lines, band, log}`
 */
export async function toPng({ title, legend, charts }) {
  const [margin, row] = [PICTURE_MARGIN, PICTURE_ROW];
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d");
  const columns = Math.max(1, Math.ceil(charts.length / CHARTS_IN_COLUMN));
  const inColumn = Math.ceil(charts.length / columns);
  const width = columns * (PICTURE_WIDTH + margin) + margin;
  pen.font = `13px ${bodyFont()}`;
  const places = legendPlaces(pen, legend, width - 2 * margin);
  const legendHeight = legend.length === 0 ? 0 : (places.at(-1).line + 1) * row;
  const head = margin + 1.6 * row + legendHeight;
  const height = head + inColumn * PICTURE_CELL + margin;
  const ratio = Math.min(PICTURE_RATIO, Math.sqrt(MOST_PICTURE_PIXELS / (width * height)));
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  pen.scale(ratio, ratio);

  pen.fillStyle = token("--surface");
  pen.fillRect(0, 0, width, height);
  pen.textBaseline = "top";
  pen.fillStyle = token("--text");
  pen.font = `600 16px ${bodyFont()}`;
  pen.fillText(title, margin, margin, PICTURE_WIDTH);
  pen.font = `13px ${bodyFont()}`;
  for (const [index, { colour, label, width: thick, dash }] of legend.entries()) {
    const left = margin + places[index].left;
    const y = margin + 1.6 * row + places[index].line * row;
    pen.strokeStyle = token(colour);
    pen.lineWidth = thick;
    pen.setLineDash(dash ?? []);
    pen.beginPath();
    pen.moveTo(left, y + 8);
    pen.lineTo(left + 20, y + 8);
    pen.stroke();
    pen.fillText(label, left + 26, y);
  }
  pen.font = `600 13px ${bodyFont()}`;
  for (const [index, chart] of charts.entries()) {
    const left = margin + Math.floor(index / inColumn) * (PICTURE_WIDTH + margin);
    const top = head + (index % inColumn) * PICTURE_CELL;
    pen.fillText(chart.name, left, top + 0.4 * row, PICTURE_WIDTH);
    // One after the other: each takes megabytes while it is there.
    const plot = await drawn(chart, ratio);
    pen.drawImage(plot.ctx.canvas, left, top + 1.6 * row, PICTURE_WIDTH, PICTURE_HEIGHT);
    plot.destroy();
  }
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob === null) throw new Error("The browser makes no picture of so many charts. Choose one metric.");
  return blob;
}

/** A plot that is on no page, once it is drawn. */
function drawn({ xLabel, xs, lines, band, log }, ratio) {
  return new Promise((resolve) => {
    const scale = ratio / devicePixelRatio;
    const size = { width: PICTURE_WIDTH * scale, height: PICTURE_HEIGHT * scale };
    const made = options({ xLabel, lines, band, log, scale, ...size, onCursor: () => {} });
    made.hooks.draw = [resolve];
    new uPlot(made, columnsOf({ xs, lines, band }), (_, begin) => begin());
  });
}

function legendPlaces(pen, lines, width) {
  let left = 0;
  let line = 0;
  return lines.map(({ label }) => {
    const needed = pen.measureText(label).width + 46;
    if (left > 0 && left + needed > width) {
      left = 0;
      line += 1;
    }
    const place = { left, line };
    left += needed;
    return place;
  });
}

const columnsOf = ({ xs, lines, band }) => [
  xs,
  ...lines.map(({ values }) => values),
  ...(band ? [band.high, band.low] : []),
];

function options({ xLabel, lines, band, log, height, group, width, onCursor, scale = 1 }) {
  const text = token("--text-3");
  const font = `${Math.round(12 * scale)}px ${bodyFont()}`;
  const axis = {
    stroke: text,
    font,
    grid: { stroke: token("--grid"), width: scale },
    ticks: { show: false },
    border: { show: false },
  };
  const highest = lines.length + 1;
  return {
    width,
    height,
    legend: { show: false },
    padding: [8 * scale, 12 * scale, 0, 0],
    cursor: {
      y: false,
      drag: { x: false, y: false },
      points: { size: 7 },
      ...(group ? { sync: { key: group, setSeries: false } } : {}),
    },
    scales: {
      x: {
        time: false,
        range: ({ data: [xs] }, low, high) => (xs.length === 1 ? around(xs[0]) : [low, high]),
      },
      y: log ? { distr: 3 } : {},
    },
    axes: [
      {
        ...axis,
        label: xLabel,
        labelFont: font,
        labelSize: 18 * scale,
        size: 30 * scale,
        space: 40 * scale,
        gap: 6 * scale,
        incrs: WHOLE_STEPS,
        values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? String(value) : "")),
      },
      {
        ...axis,
        size: (_, shown) =>
          scale * (14 + 7 * Math.max(3, ...(shown ?? []).map((one) => String(one ?? "").length))),
        space: 30 * scale,
        gap: 6 * scale,
        values: (_, splits) => splits.map((value) => (value === null ? "" : number(value))),
      },
    ],
    series: [
      {},
      ...lines.map(({ colour, width: thick, dash, faint }) => ({
        stroke: token(colour),
        width: thick * scale,
        dash: dash?.map((length) => length * scale),
        alpha: faint ? 0.25 : 1,
        points: { size: (thick > 2 ? 6 : 4) * scale, fill: token(colour), ...(faint ? { show: false } : {}) },
        spanGaps: true,
      })),
      ...(band
        ? [0, 1].map(() => ({ stroke: token(band.colour), width: 0.5 * scale, alpha: 0.6, points: { show: false } }))
        : []),
    ],
    bands: band ? [{ series: [highest, highest + 1], fill: `${token(band.colour)}26` }] : [],
    hooks: { setCursor: [onCursor] },
  };
}

/** The lines to read out at a place, the thick ones first. */
function readOut(lines, index) {
  return lines
    .filter(({ faint, values }) => !faint && values[index] != null)
    .sort((a, b) => b.width - a.width)
    .slice(0, READ_OUT_LINES);
}

/** Beside the line of the cursor, on the side where there is room. */
function besides({ left, width, inset }) {
  return left > width / 2
    ? { right: `calc(100% - ${inset + left - 12}px)` }
    : { left: `${inset + left + 12}px` };
}

// Of a single place the chart's own range would go on to a hundred.
const around = (x) => [x - 0.5, x + 0.5];
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const bodyFont = () => getComputedStyle(document.body).fontFamily;
