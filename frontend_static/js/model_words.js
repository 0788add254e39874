/** What pages say about models. Pure. */

export const KIND = {
  GLOBAL: { label: "Global model", text: "A network to be trained, or to predict as it is." },
  SWAG: {
    label: "SWAG model",
    text: "A network of which also the spread of the weights is collected, for uncertainty.",
  },
  MEAN: {
    label: "Mean model",
    text: "Several models of one architecture: their mean as a network, and an ensemble for uncertainty.",
  },
  LOCAL: { label: "Update", text: "What a participant sent back in one round." },
};

export const FORMAT = {
  torchscript: "TorchScript",
  pickled_module: "Pickled torch.nn module",
  exported_program: "torch.export archive (.pt2)",
};

export const isLocal = (model) => model.kind === "LOCAL";

/** [null, 1, 8, 8] → "any × 1 × 8 × 8". */
export function shapeText(shape) {
  return shape == null ? "not given" : shape.map((size) => size ?? "any").join(" × ");
}

/** Training of a model among `trainings`, if it has one. */
export const trainingOf = (model, trainings) =>
  trainings.find((training) => training.model === (model.base_model ?? model.id)) ?? null;
