/** The models that the caller may ask, and what is to be known before asking them. */
import * as api from "../../api.js";
import { short } from "../../format.js";
import { trainingState, UNCERTAINTY } from "../../words.js";
import { readShape } from "./shapes.js";

const DEFAULT_PASSES = 10;

/**
 * Every model that may be asked, the most useful first.
 *
 * @param {?string} wanted also this one, which need not be in the caller's list: the actor of a
 *   training may ask the local models of its participants
 */
export async function loadSubjects(wanted, signal) {
  const [models, trainings] = await Promise.all([
    api.get("/api/models/", { signal }),
    api.get("/api/users/trainings/", { signal }),
  ]);
  if (wanted && !models.some((model) => model.id === wanted)) {
    try {
      models.push(await api.get(`/api/models/${encodeURIComponent(wanted)}/metadata/`, { signal }));
    } catch (refusal) {
      if (refusal.name === "AbortError") throw refusal;
      return { subjects: subjectsOf(models, trainings), refusal: refusal.message };
    }
  }
  return { subjects: subjectsOf(models, trainings), refusal: null };
}

/** `{id, name, label, kind, takes, preprocessed, training, method, passes, softmax, lack}`. Pure. */
function subjectsOf(models, trainings) {
  const byId = new Map(models.map((model) => [model.id, model]));
  const byModel = new Map(trainings.map((training) => [training.model, training]));
  return models
    .map((model) => subjectOf(model, byId.get(model.base_model) ?? model, byModel))
    .sort((one, other) => rank(one) - rank(other) || one.label.localeCompare(other.label));
}

function subjectOf(model, base, trainings) {
  const training = trainings.get(model.base_model ?? model.id) ?? null;
  const kind = kindOf(model);
  const options = training?.options.uncertainty ?? {};
  const method = methodOf(kind, training);
  const name = base.name ?? `Model ${short(model.base_model ?? model.id)}`;
  return {
    id: model.id,
    name,
    label: [kind === "LOCAL" ? `${name}, local of round ${model.round}` : name, ...about(training, method)].join(
      " · ",
    ),
    kind,
    takes: readShape(base.input_shape),
    preprocessed: base.has_preprocessing ?? false,
    training,
    method,
    passes: options.N ?? DEFAULT_PASSES,
    softmax: options.softmax ?? false,
    lack: lackOf(model, kind, training),
  };
}

function kindOf(model) {
  if ("base_model" in model) return "LOCAL";
  if ("models" in model) return "MEAN";
  return "swag_first_moment" in model ? "SWAG" : "GLOBAL";
}

/** What the server does: see `backend/inference/service.py`. */
function methodOf(kind, training) {
  const method = training?.uncertainty_method ?? "NONE";
  if (kind === "LOCAL" && method === "SWAG") return "NONE";
  if (kind === "MEAN" && method !== "ENSEMBLE") return "NONE";
  return method;
}

function about(training, method) {
  if (training === null) return ["in no training"];
  const words = [trainingState(training).label.toLowerCase()];
  return method === "NONE" ? words : [...words, UNCERTAINTY[method].label];
}

function lackOf(model, kind, training) {
  const needsMoments = kind === "SWAG" && (training === null || training.uncertainty_method === "SWAG");
  return needsMoments && model.swag_first_moment === null
    ? "A SWAG model can be asked when its training had its SWAG round: that is where its spread comes from."
    : null;
}

/** What is trained and knows how sure it is comes first; local models last. */
function rank({ kind, training, method, lack }) {
  if (lack !== null) return 4;
  if (kind === "LOCAL") return 3;
  if (training === null || training.state === "I") return 2;
  return method === "NONE" ? 1 : 0;
}
