/** An image: dropped, chosen or pasted. */
import { CheckField, Field } from "../../components/field.js";
import { html, useEffect, useState } from "../../html.js";
import { fromBitmap } from "./pixels.js";
import { isGreyFile } from "./png.js";

/** What the server reads, see `compute/model_inputs.py`. */
const TYPES = ["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"];
const HEADER_BYTES = 65_536;

/**
 * `{file, pixels, grey}` of a file; `grey`: the server reads it as one channel.
 *
 * @throws {Error} a sentence
 */
export async function readImage(file) {
  if (!TYPES.includes(file.type)) {
    throw new Error(`“${file.name}” is no PNG, JPEG, WebP, BMP or GIF image.`);
  }
  const header = new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer());
  try {
    return { file, pixels: await fromBitmap(file), grey: isGreyFile(header) };
  } catch {
    throw new Error(`“${file.name}” is damaged: it cannot be read as an image.`);
  }
}

/**
 * @param {object} props
 *   image: what `readImage` gave, or null; onImage(image); invert, onInvert: null where the image
 *   is sent as it is
 */
export function ImageInput({ image, onImage, invert, onInvert }) {
  const [fault, setFault] = useState(null);
  const [over, setOver] = useState(false);

  async function take(file) {
    if (!file) return;
    setFault(null);
    try {
      onImage(await readImage(file));
    } catch (error) {
      setFault(error.message);
    }
  }

  useEffect(() => {
    const paste = (event) => {
      const [file] = event.clipboardData?.files ?? [];
      if (file === undefined) return;
      event.preventDefault();
      take(file);
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  });

  return html`<div class="stack-small">
    <div
      class=${over ? "drop is-over" : "drop"}
      onDragOver=${(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave=${() => setOver(false)}
      onDrop=${(event) => {
        event.preventDefault();
        setOver(false);
        take(event.dataTransfer.files[0]);
      }}
    >
      <${Field}
        label=${image === null ? "Drop an image here, paste one, or choose a file" : "Another image"}
        hint="PNG, JPEG, WebP, BMP or GIF."
        fault=${fault}
      >
        ${(attributes) =>
          html`<input
            class="input"
            type="file"
            accept=${TYPES.join(",")}
            onChange=${(event) => take(event.currentTarget.files[0])}
            ...${attributes}
          />`}
      <//>
    </div>
    ${image !== null &&
    html`<p class="hint truncate">
      ${image.file.name}, ${image.pixels.width} × ${image.pixels.height} pixels
    </p>`}
    ${image !== null &&
    onInvert !== null &&
    html`<${CheckField}
      label="Invert: dark ink becomes light"
      hint="Most digit models were trained on light ink. It was chosen by how bright the border is."
      checked=${invert}
      onInput=${onInvert}
    />`}
  </div>`;
}
