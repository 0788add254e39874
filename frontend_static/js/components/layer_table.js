/** The layers of a model, from the statistics that the server made when it was uploaded. */
import { bytes, number } from "../format.js";
import { html, useState } from "../html.js";
import { shapeText } from "../model_words.js";
import { Button } from "./button.js";
import { Notice } from "./states.js";
import { Table } from "./table.js";

const FEW = 40;

/** `model` as `GET /api/models/{id}/metadata/` gives it. */
export function LayerTable({ model }) {
  const { stats } = model;
  const [deep, setDeep] = useState(false);
  if (stats == null) return html`<${Notice}>${whyNone(model)}<//>`;
  const all = stats.summary_list.map((layer, index) => ({ ...layer, index }));
  const rows = all.length <= FEW || deep ? all : outermost(all);
  // A TorchScript program is run as a whole: what goes in and out of its layers is not seen.
  const sized = all.some((layer) => layer.output_size?.length);
  return html`<div class="stack">
    <dl class="figures">
      <div><dt>Parameters</dt><dd>${number(stats.total_params)}</dd></div>
      <div><dt>Trainable</dt><dd>${number(stats.trainable_params)}</dd></div>
      <div><dt>Size of the parameters</dt><dd>${bytes(stats.total_param_bytes)}</dd></div>
      ${stats.total_mult_adds > 0 &&
      html`<div>
        <dt>Multiply-adds for one input</dt>
        <dd>${number(stats.total_mult_adds)}</dd>
      </div>`}
    </dl>
    <div class="layers">
      <${Table}
        caption="Layers of the model"
        cards=${false}
        rows=${rows}
        rowKey=${(layer) => layer.index}
        columns=${[
          {
            key: "name",
            label: "Layer",
            head: true,
            cell: (layer) => html`<span class=${`layer-name depth-${Math.min(layer.depth, 8)}`}>
              ${layer.class_name}
              <span class="quiet mono">${layer.depth > 0 ? layer.var_name : ""}</span>
            </span>`,
          },
          ...(sized
            ? [
                { key: "in", label: "In", cell: (layer) => size(layer.input_size) },
                { key: "out", label: "Out", cell: (layer) => size(layer.output_size) },
              ]
            : []),
          ...(all.some((layer) => layer.kernel_size)
            ? [{ key: "kernel", label: "Kernel", cell: (layer) => size(layer.kernel_size) }]
            : []),
          {
            key: "parameters",
            label: "Parameters",
            num: true,
            cell: (layer) => (layer.num_params > 0 ? number(layer.num_params) : "–"),
          },
          // Of what contains layers the statistics count something else than their sum.
          ...(rows.some((layer) => layer.is_leaf_layer && layer.macs > 0)
            ? [
                {
                  key: "macs",
                  label: "Multiply-adds",
                  num: true,
                  cell: (layer) => (layer.is_leaf_layer && layer.macs > 0 ? number(layer.macs) : "–"),
                },
              ]
            : []),
        ]}
      />
    </div>
    ${all.length > FEW &&
    html`<div>
      <${Button} size="small" onClick=${() => setDeep(!deep)}>
        ${deep ? "Show the outermost layers only" : `Show all ${all.length} layers`}
      <//>
    </div>`}
  </div>`;
}

function whyNone(model) {
  if (model.kind === "MEAN") return "A mean model has the layers of its members; look there.";
  if (model.input_shape == null) {
    return "No layer table: the model was uploaded without an input shape, so it could not be run once.";
  }
  return `No layer table: the model did not run on an input of ${shapeText(model.input_shape)}.
    Training works all the same, if the shape is right for your participants.`;
}

/** The layers as deep as still gives few of them. */
function outermost(layers) {
  const depths = [...new Set(layers.map((layer) => layer.depth))].sort((a, b) => a - b);
  const fitting = depths.filter((d) => layers.filter((layer) => layer.depth <= d).length <= FEW);
  const depth = fitting.at(-1) ?? depths[0];
  return layers.filter((layer) => layer.depth <= depth);
}

function size(sizes) {
  if (!sizes?.length) return "–";
  const flat = Array.isArray(sizes[0]) ? sizes[0] : sizes;
  return html`<span class="nowrap">${flat.join(" × ")}</span>`;
}
