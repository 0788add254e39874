/** Line charts on uPlot, with a read-out for mouse and keyboard. */
import uPlot from "../../vendor/uplot/uplot.js";
import { number } from "../format.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../html.js";
import { themeVersion, token } from "../theme.js";

const WHOLE_STEPS = [1, 2, 5].flatMap((n) => [n, n * 10, n * 100, n * 1000, n * 10_000]).sort((a, b) => a - b);
const READ_OUT_LINES = 9;

/**
 * Lines over whole numbers.
 *
 * @param {object} props
 *   label: what it shows; xLabel; xs: whole numbers, ascending;
 *   lines: `{key, label, values, colour, width, dash?, faint?}`: `colour` names a design token, a
 *   faint line is background and not read out; band: `{low, high, colour}` or null; log: logarithmic;
 *   group: charts of one group show the same place; onAt(index | null): where the reader points;
 *   chart: a ref, which is given the uPlot.
 */
export function Chart({ label, xLabel, xs, lines, band = null, log = false, height = 220, group, onAt, chart }) {
  const host = useRef(null);
  const listener = useRef(onAt);
  listener.current = onAt;
  const [at, setAt] = useState(null);
  const [byKeys, setByKeys] = useState(false);
  const columns = useMemo(
    () => [xs, ...lines.map(({ values }) => values), ...(band ? [band.high, band.low] : [])],
    [xs, lines, band],
  );
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
      <strong>${xLabel} ${xs[at.index]}</strong>
      <dl>
        ${read.map(
          (line) => html`<div key=${line.key}>
            <dt><${Swatch} ...${line} />${line.label}</dt>
            <dd>${number(line.values[at.index])}</dd>
          </div>`,
        )}
      </dl>
    </div>`}
    <span class="sr-only" role="status">
      ${byKeys &&
      at !== null &&
      `${xLabel} ${xs[at.index]}: ${read.map((line) => `${line.label} ${number(line.values[at.index])}`).join(", ")}`}
    </span>
  </div>`;
}

/** A short piece of a line, as the chart draws it. */
export function Swatch({ colour, width = 1.5, dash = null }) {
  return html`<svg class="swatch" width="18" height="8" aria-hidden="true" focusable="false">
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

/** A picture of charts below each other, with a title and their legend: a PNG, as a Blob. */
export function toPng(plots, title, lines) {
  const ratio = devicePixelRatio;
  const margin = 16 * ratio;
  const row = 20 * ratio;
  const width = Math.max(...plots.map(({ plot }) => plot.ctx.canvas.width)) + 2 * margin;
  const canvas = document.createElement("canvas");
  canvas.width = width;
  const font = (weight) => `${weight} ${13 * ratio}px ${bodyFont()}`;
  const pen = canvas.getContext("2d");
  pen.font = font(400);
  const places = legendPlaces(pen, lines, width - 2 * margin, ratio);
  const legendHeight = lines.length === 0 ? 0 : (places.at(-1).line + 1) * row;
  const charts = plots.reduce((sum, { plot }) => sum + plot.ctx.canvas.height + 1.5 * row, 0);
  canvas.height = 2 * margin + 1.5 * row + legendHeight + charts;

  pen.fillStyle = token("--surface");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.textBaseline = "top";
  pen.fillStyle = token("--text");
  pen.font = font(600);
  pen.fillText(title, margin, margin);
  let top = margin + 1.5 * row;
  pen.font = font(400);
  for (const [index, { colour, label, width: thick = 1.5, dash = [] }] of lines.entries()) {
    const { left, line } = places[index];
    const y = top + line * row;
    pen.strokeStyle = token(colour);
    pen.lineWidth = thick * ratio;
    pen.setLineDash((dash ?? []).map((length) => length * ratio));
    pen.beginPath();
    pen.moveTo(margin + left, y + 8 * ratio);
    pen.lineTo(margin + left + 18 * ratio, y + 8 * ratio);
    pen.stroke();
    pen.fillText(label, margin + left + 24 * ratio, y);
  }
  top += legendHeight;
  for (const { plot, name } of plots) {
    pen.font = font(600);
    pen.fillText(name, margin, top + 0.4 * row);
    pen.drawImage(plot.ctx.canvas, margin, top + 1.5 * row);
    top += plot.ctx.canvas.height + 1.5 * row;
  }
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function legendPlaces(pen, lines, width, ratio) {
  let left = 0;
  let line = 0;
  return lines.map(({ label }) => {
    const needed = pen.measureText(label).width + 42 * ratio;
    if (left > 0 && left + needed > width) {
      left = 0;
      line += 1;
    }
    const place = { left, line };
    left += needed;
    return place;
  });
}

function options({ xLabel, lines, band, log, height, group, width, onCursor }) {
  const text = token("--text-3");
  const font = `12px ${bodyFont()}`;
  const axis = {
    stroke: text,
    font,
    grid: { stroke: token("--grid"), width: 1 },
    ticks: { show: false },
    border: { show: false },
  };
  const highest = lines.length + 1;
  return {
    width,
    height,
    legend: { show: false },
    padding: [8, 12, 0, 0],
    cursor: {
      y: false,
      drag: { x: false, y: false },
      points: { size: 7 },
      ...(group ? { sync: { key: group, setSeries: false } } : {}),
    },
    scales: {
      x: { time: false, range: (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) },
      y: log ? { distr: 3 } : {},
    },
    axes: [
      {
        ...axis,
        label: xLabel,
        labelFont: font,
        labelSize: 18,
        size: 30,
        gap: 6,
        incrs: WHOLE_STEPS,
        values: (_, splits) => splits.map((value) => (Number.isInteger(value) ? String(value) : "")),
      },
      {
        ...axis,
        size: (_, shown) => 14 + 7 * Math.max(3, ...(shown ?? []).map((one) => String(one ?? "").length)),
        gap: 6,
        values: (_, splits) => splits.map((value) => (value === null ? "" : number(value))),
      },
    ],
    series: [
      {},
      ...lines.map(({ colour, width: thick, dash, faint }) => ({
        stroke: token(colour),
        width: thick,
        dash,
        alpha: faint ? 0.25 : 1,
        points: { size: thick > 2 ? 6 : 4, fill: token(colour), ...(faint ? { show: false } : {}) },
        spanGaps: true,
      })),
      ...(band
        ? [0, 1].map(() => ({ stroke: token(band.colour), width: 0.5, alpha: 0.6, points: { show: false } }))
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

const bodyFont = () => getComputedStyle(document.body).fontFamily;
