/**
 * Which updates of a round stand out from the others. Pure.
 *
 * The rule is the modified z-score (Iglewicz and Hoaglin, 1993): an update stands out when its figure
 * is more than 3.5 scaled median absolute deviations (MAD × 1.4826) from the round's median. Medians
 * do not move when a few updates are wild, as means do. A norm counts in both directions, a cosine
 * only below the median: to agree with the others more than most is no fault.
 *
 * Where updates are much alike, or few, the scaled MAD can be tiny by chance and would mark trifles, so
 * it has a floor: 15 % of the median for norms, which then have to be half as much again to stand out;
 * 0.1 for cosines, for data that differ between participants pull in different directions without any
 * fault. Below four updates nobody can be told apart.
 */

const LIMIT = 3.5;
export const FEWEST = 4;
const MAD_TO_DEVIATION = 1.4826;
const NORM_FLOOR = 0.15;
const COSINE_FLOOR = 0.1;

/** The rule in words. */
export const RULE =
  "An update is marked when its figure lies more than 3.5 scaled median absolute deviations from the " +
  "median of its round (the modified z-score of Iglewicz and Hoaglin): norms in both directions, " +
  "cosines only downwards. A deviation counts as at least 15 % of the median norm, and 0.1 for cosines, " +
  "so that the usual differences between participants are not marked. It takes at least four updates in the round. Cosines are " +
  "computed from a sample of up to 4,096 weights, which leaves an error of about 0.016.";

/** What it can mean, by the kind of finding. */
export const MEANING = {
  "norm-high":
    "Much more local training than the others (more passes, a higher learning rate), inputs that are not " +
    "preprocessed like theirs, or bad data.",
  "norm-low":
    "Next to no local training: too few passes or samples, too low a learning rate, or a client that sends " +
    "the model back as it came.",
  "cosine-low":
    "Training pulls the model in another direction: other kinds of data, mixed-up labels, different " +
    "preprocessing, or an update meant to do harm.",
};

/**
 * Findings by id of the update; updates that do not stand out are not in it.
 *
 * @param {Object<string, {norm: number, cosine_to_mean: number | null}>} figures of one round
 * @returns {Map<string, {kind: string, value: number, median: number, score: number}[]>}
 *   `score`: how many scaled deviations away, positive
 */
export function outliers(figures) {
  const found = new Map();
  const add = (id, finding) => found.set(id, [...(found.get(id) ?? []), finding]);

  for (const { id, value, score, middle } of scores(pick(figures, "norm"), NORM_FLOOR, true)) {
    if (Math.abs(score) > LIMIT) {
      const kind = score > 0 ? "norm-high" : "norm-low";
      add(id, { kind, value, median: middle, score: Math.abs(score) });
    }
  }
  for (const { id, value, score, middle } of scores(pick(figures, "cosine_to_mean"), COSINE_FLOOR)) {
    if (score < -LIMIT) add(id, { kind: "cosine-low", value, median: middle, score: -score });
  }
  return found;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return sorted.length % 2 ? sorted[Math.floor(half)] : (sorted[half - 1] + sorted[half]) / 2;
}

function pick(figures, name) {
  return Object.entries(figures)
    .map(([id, figure]) => ({ id, value: figure[name] }))
    .filter(({ value }) => Number.isFinite(value));
}

function scores(given, floor, relative = false) {
  if (given.length < FEWEST) return [];
  const middle = median(given.map(({ value }) => value));
  const deviation = MAD_TO_DEVIATION * median(given.map(({ value }) => Math.abs(value - middle)));
  const scale = Math.max(deviation, relative ? floor * Math.abs(middle) : floor);
  // All norms are 0: there is nothing to compare.
  if (scale === 0) return [];
  return given.map(({ id, value }) => ({ id, value, middle, score: (value - middle) / scale }));
}
