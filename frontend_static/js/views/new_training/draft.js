/** A training as it is being set up: what is wrong with it, and what the server is sent. Pure. */
import { count, number } from "../../format.js";
import { shareOf } from "../../shares.js";
import { AGGREGATION, UNCERTAINTY } from "../../words.js";
import { initialOptions, OPTIONS, readOption, UNITS } from "./options.js";

const MAX_ROUNDS = 1_000_000;
const MAX_METRICS = 1_000;
const MAX_METRIC_LENGTH = 32;
/** How many people one request may name. */
const MAX_CLIENTS = 5_000;

const STEPS = [
  ["model", "Model"],
  ["methods", "Methods"],
  ["rounds", "Rounds"],
  ["people", "Participants"],
  ["summary", "Summary"],
];
const FIELD_STEP = {
  model_id: "model",
  aggregation_method: "methods",
  uncertainty_method: "methods",
  target_num_updates: "rounds",
  metric_names: "rounds",
  clients: "people",
};

export function newDraft() {
  return {
    modelId: null,
    aggregation: "FedAvg",
    uncertainty: "NONE",
    rounds: "10",
    metrics: "",
    tests: "each",
    keepUpdatesForEver: false,
    options: initialOptions(),
    clients: [],
  };
}

/** A mean model is never trained: its "training" says how it predicts. */
export const onlyPredicts = (model) => model?.kind === "MEAN";

/** `[key, label]` of the steps that this model needs. */
export function stepsFor(model) {
  return onlyPredicts(model)
    ? STEPS.filter(([key]) => key !== "rounds" && key !== "people")
    : STEPS;
}

/** The draft for another model: an uncertainty method that it cannot do gives way. */
export function withModel(draft, model) {
  const wanted = { MEAN: "ENSEMBLE", SWAG: "SWAG" }[model.kind] ?? "NONE";
  const fits = whyNotUncertainty(draft.uncertainty, model) === null;
  const keep = fits && (draft.uncertainty !== "NONE" || wanted === "NONE");
  return { ...draft, modelId: model.id, uncertainty: keep ? draft.uncertainty : wanted };
}

/** Why the model cannot predict with this method; null when it can. */
export function whyNotUncertainty(method, model) {
  if (model === null) return null;
  if (onlyPredicts(model) && method !== "ENSEMBLE") {
    return "A mean model predicts as an ensemble only.";
  }
  if (method === "SWAG" && model.kind !== "SWAG") {
    return "This model was not uploaded as a SWAG model. Upload it again as one.";
  }
  if (method === "ENSEMBLE" && !onlyPredicts(model)) {
    return "This is one model. Make a mean model of several to predict as an ensemble.";
  }
  if (method === "MC_DROPOUT" && model.format === "exported_program") {
    return "Dropout is gone from torch.export archives. Upload it as TorchScript or pickled.";
  }
  return null;
}

const DROPOUT = /dropout|lstm|gru|rnn|multiheadattention|transformer/i;

/** Whether the layer table of the model has no dropout in it; null when that cannot be said. */
export function lacksDropout(metadata) {
  // In a TorchScript program dropout need not be a layer.
  if (metadata?.stats == null || metadata.format !== "pickled_module") return null;
  return !metadata.stats.summary_list.some((layer) => DROPOUT.test(layer.class_name));
}

/** Names of the metrics, without repetitions. */
function metricNames(text) {
  return [...new Set(text.split(",").map((name) => name.trim()).filter(Boolean))];
}

/** What is wrong, by field: names of the API, and of options. */
export function faultsOf(draft, model) {
  const faults = {};
  if (model === null) faults.model_id = "Choose a model, or upload one.";
  const unfit = whyNotUncertainty(draft.uncertainty, model);
  if (unfit !== null) faults.uncertainty_method = unfit;
  for (const name of applicable(draft)) {
    const { fault } = readOption(name, draft.options[name]);
    if (fault) faults[name] = fault;
  }
  if (onlyPredicts(model)) return faults;
  const rounds = Number(draft.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > MAX_ROUNDS) {
    faults.target_num_updates = `Give a whole number from 1 to ${number(MAX_ROUNDS)}.`;
  }
  const names = metricNames(draft.metrics);
  const long = names.find((name) => name.length > MAX_METRIC_LENGTH);
  if (long) {
    faults.metric_names = `“${long}” is too long: participants can report names of up to ${MAX_METRIC_LENGTH} characters.`;
  } else if (names.length > MAX_METRICS) {
    faults.metric_names = `At most ${number(MAX_METRICS)} names.`;
  }
  if (draft.clients.length > MAX_CLIENTS) {
    faults.clients = `At most ${number(MAX_CLIENTS)} now. Add the others on the training's page.`;
  }
  return faults;
}

/** The step that has this field. */
export const stepOf = (field) => FIELD_STEP[field] ?? OPTIONS[field]?.step ?? "summary";

/** The server's messages by field of this form: of "options" it names one in the text. */
export function placed(errors) {
  const { options, ...others } = errors;
  if (options === undefined) return others;
  const named = Object.keys(OPTIONS).find((name) => new RegExp(`\\b${name}\\b`).test(options));
  return { ...others, [named ?? "options"]: options };
}

/** What `POST /api/trainings/` is sent. The draft has no faults. */
export function orderOf(draft, model) {
  const trained = !onlyPredicts(model);
  return {
    model_id: model.id,
    target_num_updates: trained ? Number(draft.rounds) : 1,
    metric_names: trained ? metricNames(draft.metrics) : [],
    aggregation_method: trained ? draft.aggregation : "FedAvg",
    uncertainty_method: draft.uncertainty,
    options: optionsOf(draft, trained),
    clients: trained ? draft.clients : [],
  };
}

function optionsOf(draft, trained) {
  const options = {};
  for (const name of applicable(draft)) {
    const { value } = readOption(name, draft.options[name]);
    if (value === undefined) continue;
    const { within } = OPTIONS[name];
    if (within) options[within] = { ...options[within], [name]: value };
    else options[name] = value;
  }
  if (!trained) return options;
  if (draft.tests === "last") options.model_test_after_each_round = false;
  if (draft.tests === "none") options.skip_model_tests = true;
  if (draft.keepUpdatesForEver) options.delete_local_models_after_aggregation = false;
  return options;
}

/** Names of the options that mean something for this draft. */
export const applicable = (draft) =>
  Object.keys(OPTIONS).filter((name) => OPTIONS[name].applies(draft));

/** What will happen, in sentences. The draft has no faults. */
export function courseOf(order, people) {
  const { options } = order;
  const period = options.daisy_chain_period ?? 1;
  const sentences = [];
  const total = order.target_num_updates * period;
  const asked = options.cohort === undefined ? null : shareOf(options.cohort, people);
  sentences.push(
    asked === null
      ? `${people > 1 ? `Each of ${number(people)} participants` : "The participant"} trains in ${total === 1 ? "one round" : `each of ${number(total)} rounds`}.`
      : `In each of ${count(total, "round")}, ${asked} of ${count(people, "participant")} are drawn to train.`,
  );
  if (period > 1) {
    sentences.push(
      `Models are handed on ${count(period - 1, "time")} between two of the ${count(order.target_num_updates, "aggregation")}.`,
    );
  }
  sentences.push(waitOf(options, asked ?? people));
  if (options.skip_model_tests) sentences.push("The model is not tested by participants.");
  else if (options.model_test_after_each_round === false) {
    sentences.push("Participants test the model once, after the last round.");
  } else sentences.push("Participants test the model after each aggregation.");
  return sentences;
}

function waitOf({ round_deadline_seconds: deadline, quorum, on_missed: missed }, asked) {
  if (deadline === undefined) {
    return "A round waits until everybody asked has delivered, however long that takes.";
  }
  const all = quorum === undefined;
  const enough = all ? "everybody asked has" : `at least ${shareOf(quorum, asked)} have`;
  const others =
    missed === "remove" ? "Who has not is removed from the training." : "Who has not is left out of it.";
  return `A round waits ${spelled(deadline)}, and if it has to, as long once more. Then the training goes on if ${enough} delivered, and ends if not.${all ? "" : ` ${others}`}`;
}

/** 5400 → "90 minutes". */
function spelled(seconds) {
  const [, , size] = UNITS.findLast(([, , each]) => seconds % each === 0) ?? UNITS[0];
  const [unit] = UNITS.find(([, , each]) => each === size);
  return count(seconds / size, unit.slice(0, -1));
}

/** What deserves a second look, though the server would take it. */
export function doubtsAbout(order, people) {
  const { cohort, quorum, round_deadline_seconds: deadline } = order.options;
  const doubts = [];
  if (people === 0) doubts.push("There are no participants yet: it can be created, but not started.");
  const asked = cohort === undefined ? people : Math.min(shareOf(cohort, people), people);
  if (Number.isInteger(cohort) && people > 0 && cohort > people) {
    doubts.push(`A cohort of ${number(cohort)} is more than the ${count(people, "participant")}: everybody takes part.`);
  }
  if (Number.isInteger(quorum) && people > 0 && quorum > asked) {
    doubts.push(`A quorum of ${number(quorum)} is more than the ${number(asked)} who are asked: a deadline that passes would end the training.`);
  }
  if (deadline !== undefined && quorum === undefined && people > 1) {
    doubts.push("There is a deadline, but no quorum: one participant who does not answer ends the training.");
  }
  if (quorum !== undefined && deadline === undefined) {
    doubts.push("A quorum counts at the deadline, and a round has none: it only sets how many you need to close a round by hand.");
  }
  return doubts;
}

export const methodLabels = (order) => [
  AGGREGATION[order.aggregation_method].label,
  UNCERTAINTY[order.uncertainty_method].label,
];
