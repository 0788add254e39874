/** A new model: a file with its description, or the mean of models that are there. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { Choices } from "../../components/choices.js";
import { FileField, TextArea, TextField } from "../../components/field.js";
import { Picker } from "../../components/picker.js";
import { readShape, ShapeField, shapeTexts } from "../../components/shape_field.js";
import { Notice } from "../../components/states.js";
import { Transfer, useTransfer } from "../../components/transfer.js";
import { Invalid, useForm } from "../../form.js";
import { bytes, count } from "../../format.js";
import { html, useMemo, useRef } from "../../html.js";
import { KIND } from "../../model_words.js";
import { HowToSave } from "./how_to_save.js";

const MAX_NAME = 256;

/**
 * @param {object} props
 *   own: models of the caller's own, as members of a mean; onDone: given the id of the new model.
 */
export function UploadForm({ own, onDone, initialKind = "GLOBAL" }) {
  const transfer = useTransfer();
  const element = useRef(null);
  const form = useForm(
    {
      type: initialKind,
      name: "",
      description: "",
      model_file: null,
      model_preprocessing_file: null,
      input_shape: [""],
      models: [],
    },
    send,
  );
  const { values, set } = form;
  const isMean = values.type === "MEAN";
  const members = useMemo(() => candidates(own), [own]);
  const noMean = members.length === 0 ? "You have no model yet that could be a member." : null;

  async function send(given) {
    const { shape, faults } = checked(given);
    if (Object.keys(faults).length > 0) {
      focusFirstFault(element.current);
      throw new Invalid(faults);
    }
    try {
      const answer = isMean
        ? await api.post("/api/models/", mean(given, shape))
        : await transfer.send("/api/models/", multipart(given, shape));
      if (answer !== null) await onDone(answer.model_id);
    } catch (error) {
      focusFirstFault(element.current);
      throw error;
    }
  }

  function chooseFile(file) {
    set("model_file", file);
    if (file && values.name === "") set("name", file.name.replace(/\.[^.]+$/, "").slice(0, MAX_NAME));
  }

  function chooseMembers(ids) {
    set("models", ids);
    const first = own.find((model) => model.id === ids[0]);
    const untouched = values.input_shape.every((text) => text === "");
    if (first && untouched) set("input_shape", shapeTexts(first.input_shape));
  }

  return html`<form class="form" onSubmit=${form.submit} novalidate ref=${element}>
    <${Choices}
      legend="What kind of model?"
      value=${values.type}
      onInput=${(kind) => set("type", kind)}
      fault=${form.fault("type")}
      choices=${["GLOBAL", "SWAG", "MEAN"].map((kind) => ({
        value: kind,
        ...KIND[kind],
        reason: kind === "MEAN" ? noMean : null,
      }))}
    />
    ${isMean
      ? html`<${Picker}
          label="Members"
          hint="All of one architecture, for example from trainings with different seeds."
          items=${members}
          chosen=${values.models}
          onChange=${chooseMembers}
          fault=${form.fault("models")}
          noun=${["model", "models"]}
          placeholder="Name of a model"
        />`
      : html`<div class="upload-file">
          <${FileField}
            label="Model file"
            hint=${values.model_file
              ? `${values.model_file.name}, ${bytes(values.model_file.size)}`
              : "Choose a file, or drop it here: TorchScript, a pickled torch.nn module, or a torch.export archive."}
            fault=${form.fault("model_file")}
            onInput=${chooseFile}
          />
          <${HowToSave} />
        </div>`}
    <${TextField} label="Name" maxlength=${MAX_NAME} autocomplete="off" ...${form.text("name")} />
    <${TextArea}
      label="Description (optional)"
      hint="What it is for, and what its inputs and outputs mean."
      ...${form.text("description")}
    />
    <${ShapeField}
      label="Shape of an input"
      hint="The first dimension is the batch: leave it as any. The shape gives the layer table, and inputs that do not fit it are refused. Remove all dimensions if it cannot be said."
      value=${values.input_shape}
      onInput=${(texts) => set("input_shape", texts)}
      fault=${form.fault("input_shape")}
    />
    ${!isMean &&
    html`<${FileField}
      label="Preprocessing file (optional)"
      hint=${values.model_preprocessing_file
        ? `${values.model_preprocessing_file.name}, ${bytes(values.model_preprocessing_file.size)}`
        : "What inputs go through before the model: TorchScript, or torchvision transforms saved by torch.save. It can also be added later."}
      fault=${form.fault("model_preprocessing_file")}
      onInput=${(file) => set("model_preprocessing_file", file)}
    />`}
    ${form.error && html`<${Notice} tone="bad">${form.error}<//>`}
    ${transfer.state !== null &&
    html`<${Transfer}
      transfer=${transfer}
      label="Upload of the model"
      checking="All there. The server checks that the file is a model and safe to load…"
    />`}
    <div>
      <${Button} type="submit" tone="primary" icon=${isMean ? "layers" : "upload"} busy=${form.sending}>
        ${isMean ? "Make mean model" : "Upload model"}
      <//>
    </div>
  </form>`;
}

/** The shape, and what is wrong with the values by field. Pure. */
function checked(values) {
  const faults = {};
  const { shape, fault } = readShape(values.input_shape);
  if (fault) faults.input_shape = fault;
  if (values.name.trim() === "") faults.name = "Give it a name, so that others know it.";
  if (values.type === "MEAN") {
    if (values.models.length === 0) faults.models = "Choose at least one model.";
  } else if (values.model_file === null) {
    faults.model_file = "Choose the file of the model.";
  } else if (values.model_file.size === 0) {
    faults.model_file = "This file is empty.";
  }
  return { shape, faults };
}

function multipart(values, shape) {
  const form = new FormData();
  form.append("type", values.type);
  form.append("name", values.name.trim());
  form.append("description", values.description);
  for (const size of shape ?? []) form.append("input_shape", size ?? "None");
  form.append("model_file", values.model_file);
  if (values.model_preprocessing_file) {
    form.append("model_preprocessing_file", values.model_preprocessing_file);
  }
  return form;
}

const mean = (values, shape) => ({
  type: "MEAN",
  name: values.name.trim(),
  description: values.description,
  models: values.models,
  input_shape: shape,
});

function candidates(own) {
  return own
    .filter((model) => model.kind === "GLOBAL" || model.kind === "SWAG")
    .map((model) => ({
      key: model.id,
      label: model.name,
      // Not by its figures: "seed 3" would find every model with a 3 in its number of parameters.
      words: `${model.name} ${model.description}`,
      detail: `${count(model.num_parameters, "parameter")}, after ${count(model.round, "round")}`,
    }));
}

/** Once the faults are shown. */
function focusFirstFault(element) {
  requestAnimationFrame(() => element?.querySelector('[aria-invalid="true"]')?.focus());
}
