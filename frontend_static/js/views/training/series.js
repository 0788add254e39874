/** Metric series: put side by side, smoothed, summed up, exported. Pure. */

import { count } from "../../format.js";

/** What the kinds of series are about. */
export const KINDS = {
  test: {
    label: "Tests of the global model",
    x: "Rounds done",
    at: (round) => (round === 0 ? "at the start" : `after ${count(round, "round")}`),
    about: "The global model after each aggregation, tested by every participant on their own data.",
  },
  update: {
    label: "Local training",
    x: "Round",
    at: (round) => `in round ${round}`,
    about: "What participants report of their own models when they send an update, before it is aggregated.",
  },
};

/**
 * The series of one metric over the same rounds: `{key, rounds, global, others}`.
 *
 * @param {{key, kind, reporter: string | null, points: [number, number | null][]}[]} series
 * @returns `global` and each of `others` (by reporter) are values by position in `rounds`, null where
 *   there is none
 */
export function aligned(series, kind, key) {
  const ours = series.filter((one) => one.kind === kind && one.key === key);
  const rounds = [...new Set(ours.flatMap(({ points }) => points.map(([round]) => round)))].sort(
    (a, b) => a - b,
  );
  const place = new Map(rounds.map((round, index) => [round, index]));
  const values = ({ points }) => {
    const row = Array(rounds.length).fill(null);
    for (const [round, value] of points) row[place.get(round)] = value;
    return row;
  };
  const global = ours.find(({ reporter }) => reporter === null);
  return {
    key,
    rounds,
    global: global ? values(global) : Array(rounds.length).fill(null),
    others: new Map(
      ours.filter(({ reporter }) => reporter !== null).map((one) => [one.reporter, values(one)]),
    ),
  };
}

/** Names of the metrics of a kind, the main one first. */
export function keysOf(metrics, kind) {
  const keys = [...new Set(metrics.series.filter((one) => one.kind === kind).map(({ key }) => key))];
  return keys.sort((a, b) => (b === metrics.main) - (a === metrics.main) || a.localeCompare(b));
}

/**
 * Exponential moving average with weight `weight` on the past, 0 to below 1; corrected for its start,
 * so that the first value is not over-weighted. Gaps stay gaps.
 */
export function smoothed(values, weight) {
  let sum = 0;
  let mass = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return sum / mass;
  });
}

/** For a logarithmic axis: what is not above 0 has no place there. */
export const positive = (values) => values.map((value) => (value !== null && value > 0 ? value : null));

/** Of each round the value below which the share `share` of the participants' values lie. */
export function quantiles(others, length, share) {
  return Array.from({ length }, (_, index) => {
    const known = [...others.values()].map((row) => row[index]).filter((value) => value !== null);
    return known.length === 0 ? null : quantile(known, share);
  });
}

export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return low + (high - low) * (at - Math.floor(at));
}

/** Every point as CSV (RFC 4180), the global series with an empty reporter. */
export function toCsv(series, nameOf) {
  const rows = series.flatMap(({ key, kind, reporter, points }) =>
    points.map(([round, value]) => [
      text(key),
      kind,
      reporter ?? "",
      text(reporter === null ? "global" : nameOf(reporter)),
      round,
      value ?? "",
    ]),
  );
  return [["metric", "kind", "reporter", "name", "round", "value"], ...rows]
    .map((row) => `${row.join(",")}\r\n`)
    .join("");
}

function text(value) {
  // A spreadsheet would run a name that begins like a formula.
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return `"${safe.replaceAll('"', '""')}"`;
}
