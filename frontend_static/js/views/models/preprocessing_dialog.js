/** Upload of the module that inputs go through before the model. */
import { Button } from "../../components/button.js";
import { Dialog } from "../../components/dialog.js";
import { FileField } from "../../components/field.js";
import { Notice } from "../../components/states.js";
import { Transfer, useTransfer } from "../../components/transfer.js";
import { Invalid, useForm } from "../../form.js";
import { bytes } from "../../format.js";
import { html } from "../../html.js";

export function PreprocessingDialog({ model, onClose, onDone }) {
  const transfer = useTransfer();
  const form = useForm({ model_preprocessing_file: null }, send);
  const file = form.values.model_preprocessing_file;

  async function send() {
    if (file === null) throw new Invalid({ model_preprocessing_file: "Choose a file." });
    const body = new FormData();
    body.append("model_preprocessing_file", file);
    const answer = await transfer.send(`/api/models/${model.id}/preprocessing/`, body);
    if (answer !== null) onDone();
  }

  const title = model.has_preprocessing ? "Replace preprocessing" : "Upload preprocessing";
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <form onSubmit=${form.submit} novalidate>
      <h2>${title}</h2>
      <p>
        A TorchScript module, or torchvision transforms saved by torch.save. What is sent for a
        prediction goes through it first, and its result must have the model's input shape.
        ${model.has_preprocessing ? " It takes the place of the one that is there." : ""}
      </p>
      <${FileField}
        label="Preprocessing file"
        hint=${file ? `${file.name}, ${bytes(file.size)}` : null}
        fault=${form.fault("model_preprocessing_file")}
        onInput=${(chosen) => form.set("model_preprocessing_file", chosen)}
      />
      ${form.error && html`<${Notice} tone="bad">${form.error}<//>`}
      ${transfer.state !== null &&
      html`<${Transfer}
        transfer=${transfer}
        label="Upload of the preprocessing"
        checking="All there. The server checks that the file is safe to load…"
      />`}
      <div class="dialog-actions">
        <${Button} onClick=${onClose}>Cancel<//>
        <${Button} type="submit" tone="primary" icon="upload" busy=${form.sending}>Upload<//>
      </div>
    </form>
  <//>`;
}
