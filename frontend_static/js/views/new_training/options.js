/**
 * The options of a training, with the server's bounds. Pure.
 *
 * `kind` of a value as it is edited:
 *   "number", "whole": a text, from `min` to `max`;
 *   "share": {amount, unit}: unit "count" (from `min` to `max`) or "percent" (between 0 and 100);
 *   "duration": {amount, unit}: above 0, at most `max` seconds;
 *   "choice": one of `choices`, `[value, label]`; the first is the server's default.
 * An empty value leaves the option to the server.
 */

export const UNITS = [
  ["seconds", "seconds", 1],
  ["minutes", "minutes", 60],
  ["hours", "hours", 3600],
  ["days", "days", 86_400],
];

const MANY = 1_000_000;
const YEAR_SECONDS = 366 * 86_400;

const isPlain = (draft) => draft.uncertainty !== "ENSEMBLE";
const draws = (draft) => draft.uncertainty === "MC_DROPOUT" || draft.uncertainty === "SWAG";
const hasDeadline = (draft) => draft.options.round_deadline_seconds.amount.trim() !== "";

export const OPTIONS = {
  mu: {
    step: "methods",
    label: "Strength of the pull (μ)",
    hint: "Sent to participants with each round. 0 is FedAvg; values from 0.001 to 1 are common.",
    kind: "number",
    min: 0,
    max: 1e6,
    initial: "0.01",
    applies: (draft) => draft.aggregation === "FedProx",
  },
  daisy_chain_period: {
    step: "methods",
    label: "Rounds of training behind one aggregation",
    hint: "In all but the last of them, each participant goes on with the model of another.",
    kind: "whole",
    min: 1,
    max: 1000,
    initial: "10",
    applies: (draft) => draft.aggregation === "FedDC",
  },
  N: {
    within: "uncertainty",
    step: "methods",
    label: "Passes for each prediction",
    hint: "More passes give a steadier estimate and take longer. 10 by default.",
    kind: "whole",
    min: 1,
    max: 10_000,
    initial: "10",
    applies: draws,
  },
  softmax: {
    within: "uncertainty",
    step: "methods",
    label: "Turn outputs into probabilities (softmax)",
    hint: "Yes where the model gives logits; no where it ends in a softmax, or is no classifier. Only probabilities have an entropy.",
    kind: "check",
    applies: (draft) => draft.uncertainty !== "NONE",
  },
  round_deadline_seconds: {
    step: "rounds",
    label: "A round waits for updates",
    hint: "Empty: for ever, until everybody asked has delivered.",
    kind: "duration",
    max: YEAR_SECONDS,
    unit: "minutes",
    applies: isPlain,
  },
  quorum: {
    step: "rounds",
    label: "Enough updates at the deadline",
    hint: "With fewer the round waits as long once more; then the training ends. Empty: all of them.",
    kind: "share",
    min: 1,
    max: MANY,
    unit: "percent",
    applies: isPlain,
  },
  on_missed: {
    step: "rounds",
    label: "Who misses a deadline",
    hint: "Left out may deliver again in the next round; removed is out of the training.",
    kind: "choice",
    choices: [
      ["skip", "is left out of that round"],
      ["remove", "is removed from the training"],
    ],
    more: true,
    applies: (draft) => isPlain(draft) && hasDeadline(draft),
  },
  test_deadline_seconds: {
    step: "rounds",
    label: "A test waits for figures",
    hint: "What has arrived by then is enough. Empty: for ever.",
    kind: "duration",
    max: YEAR_SECONDS,
    unit: "minutes",
    more: true,
    applies: (draft) => isPlain(draft) && draft.tests !== "none",
  },
  cohort: {
    step: "rounds",
    label: "Participants drawn for each round",
    hint: "At random, for trainings with very many participants. Empty: everybody, in every round.",
    kind: "share",
    min: 1,
    max: MANY,
    unit: "percent",
    more: true,
    // Where models are handed on, everybody has to take part.
    applies: (draft) => isPlain(draft) && draft.aggregation !== "FedDC",
  },
  seed: {
    step: "rounds",
    label: "Seed",
    hint: "Of what is drawn at random: cohorts, and who goes on with whose model.",
    kind: "whole",
    min: -Number.MAX_SAFE_INTEGER,
    max: Number.MAX_SAFE_INTEGER,
    placeholder: "0",
    more: true,
    applies: (draft) =>
      isPlain(draft) &&
      (draft.aggregation === "FedDC" || draft.options.cohort.amount.trim() !== ""),
  },
  keep_versions: {
    step: "rounds",
    label: "Versions of the model to keep",
    hint: "The newest ones. Empty: all of them.",
    kind: "whole",
    min: 1,
    max: MANY,
    placeholder: "all",
    more: true,
    applies: isPlain,
  },
  keep_updates_rounds: {
    step: "rounds",
    label: "Keep updates for so many rounds",
    hint: "After their aggregation. 0 or empty: they are deleted at once.",
    kind: "whole",
    min: 0,
    max: MANY,
    placeholder: "0",
    more: true,
    applies: (draft) => isPlain(draft) && !draft.keepUpdatesForEver,
  },
  accumulate: {
    step: "rounds",
    label: "Precision of the sum",
    hint: "float32 halves the memory for huge models; float64 gives the exact result.",
    kind: "choice",
    choices: [
      ["float64", "float64"],
      ["float32", "float32"],
    ],
    more: true,
    applies: isPlain,
  },
};

/** Values of all options as a new draft has them. */
export function initialOptions() {
  return Object.fromEntries(
    Object.entries(OPTIONS).map(([name, option]) => {
      if (option.kind === "choice") return [name, option.choices[0][0]];
      if (option.kind === "check") return [name, false];
      if (option.unit) return [name, { amount: "", unit: option.unit }];
      return [name, option.initial ?? ""];
    }),
  );
}

/**
 * What `given` means to the server: `{value}`, `{}` when it is left to the server, or `{fault}`.
 */
export function readOption(name, given) {
  const option = OPTIONS[name];
  switch (option.kind) {
    case "choice":
      return given === option.choices[0][0] ? {} : { value: given };
    case "check":
      return given ? { value: true } : {};
    case "share":
      return readShare(given, option);
    case "duration":
      return readDuration(given, option);
    default:
      return readNumber(given, option);
  }
}

function readNumber(text, { kind, min, max }) {
  if (text.trim() === "") return {};
  const value = Number(text);
  const whole = kind === "whole";
  if (Number.isNaN(value) || (whole && !Number.isInteger(value)) || value < min || value > max) {
    const noun = whole ? "whole number" : "number";
    // The bounds of what JavaScript counts exactly would help nobody.
    return max === Number.MAX_SAFE_INTEGER
      ? { fault: `Give a ${noun}.` }
      : { fault: `Give a ${noun} from ${shown(min)} to ${shown(max)}.` };
  }
  return { value };
}

function readShare({ amount, unit }, option) {
  if (amount.trim() === "") return {};
  if (unit === "count") return readNumber(amount, { ...option, kind: "whole" });
  const percent = Number(amount);
  if (Number.isNaN(percent) || percent <= 0 || percent > 100) {
    return { fault: "Give more than 0 and at most 100 per cent." };
  }
  // All of them is what the server does by itself.
  return percent === 100 ? {} : { value: Number((percent / 100).toPrecision(12)) };
}

function readDuration({ amount, unit }, { max }) {
  if (amount.trim() === "") return {};
  const [, , seconds] = UNITS.find(([name]) => name === unit);
  const value = Number(amount) * seconds;
  if (Number.isNaN(value) || value <= 0 || value > max) {
    return { fault: "Give more than 0 and at most 366 days." };
  }
  return { value };
}

const shown = (bound) => bound.toLocaleString("en");
