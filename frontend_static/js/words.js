/** The words people read for what the API has as codes. Pure. */

/** State of a training: label and tone of its badge. */
export function trainingState(training) {
  if (training.paused) return { label: "Paused", tone: "warn" };
  return (
    {
      I: { label: "Not started", tone: "quiet" },
      O: { label: "Running", tone: "active" },
      S: { label: "Running: SWAG", tone: "active" },
      C: { label: "Completed", tone: "good" },
      E: { label: "Ended early", tone: "bad" },
    }[training.state] ?? { label: training.state, tone: "quiet" }
  );
}

export const isRunning = (training) => training.state === "O" || training.state === "S";
export const isOver = (training) => training.state === "C" || training.state === "E";

/** Aggregation methods: when to use which. */
export const AGGREGATION = {
  FedAvg: {
    label: "FedAvg",
    when: "The plain choice: updates are averaged, weighted by how many samples each participant has.",
  },
  FedProx: {
    label: "FedProx",
    when: "When data differ much between participants, or some do less local work: a pull towards the global model keeps local training from drifting.",
  },
  FedDC: {
    label: "FedDC",
    when: "When participants hold very little data each: models are passed from one participant to the next between aggregations.",
  },
};

/** Uncertainty methods: when to use which, and what the model must be. */
export const UNCERTAINTY = {
  NONE: {
    label: "None",
    when: "Predictions are class labels only. Fastest, and says nothing about how sure the model is.",
  },
  MC_DROPOUT: {
    label: "MC dropout",
    when: "For any model with dropout layers: several passes with random dropout show how much the answer wavers. No extra training.",
  },
  ENSEMBLE: {
    label: "Ensemble",
    when: "For a mean of several models: where the members disagree, the model does not know. Costs one pass per member.",
  },
  SWAG: {
    label: "SWAG",
    when: "For models uploaded as SWAG: participants send the spread of their weights in one round more, and predictions sample from it.",
  },
};
