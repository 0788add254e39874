/** An image: dropped, chosen or pasted. */
import { CheckField, Field } from "../../components/field.js";
import { toast } from "../../components/toast.js";
import { html, useLayoutEffect, useRef, useState } from "../../html.js";
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
async function readImage(file) {
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
 * Images that are dropped or pasted anywhere on the page, or given to `take(file)`:
 * `{take, fault, over}`; `over`: one is dragged over the page.
 *
 * @param {boolean} wanted the model takes images
 * @param {() => void} onTake a file came, which may turn out to be no image
 * @param {(image: object) => void} onImage is given what `readImage` gives
 */
export function useImages(wanted, onTake, onImage) {
  const [fault, setFault] = useState(null);
  const [over, setOver] = useState(false);

  async function take(file) {
    if (!file) return;
    setFault(null);
    onTake();
    try {
      onImage(await readImage(file));
    } catch (error) {
      setFault(error.message);
    }
  }

  const latest = useRef(null);
  latest.current = { take, wanted };
  // With the page, not after it: what is dropped in between would have the browser leave.
  useLayoutEffect(() => {
    const listeners = {
      paste(event) {
        const [file] = event.clipboardData?.files ?? [];
        if (file === undefined || !latest.current.wanted) return;
        event.preventDefault();
        latest.current.take(file);
      },
      dragover(event) {
        if (!hasFiles(event)) return;
        event.preventDefault();
        setOver(latest.current.wanted);
      },
      dragleave(event) {
        // Else it only went on to another part of the page.
        if (event.relatedTarget === null) setOver(false);
      },
      drop(event) {
        if (!hasFiles(event)) return;
        // Wherever it is let go of: the browser would leave the page to show the file.
        event.preventDefault();
        setOver(false);
        if (latest.current.wanted) latest.current.take(event.dataTransfer.files[0]);
        else toast("This model takes numbers, and no files.", "bad");
      },
    };
    for (const [type, listener] of Object.entries(listeners)) addEventListener(type, listener);
    return () => {
      for (const [type, listener] of Object.entries(listeners)) removeEventListener(type, listener);
    };
  }, []);
  return { take, fault, over };
}

const hasFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;

/**
 * @param {object} props
 *   images: what `useImages` gave; image: what `readImage` gave, or null; invert, onInvert: null where
 *   the image is sent as it is
 */
export function ImageInput({ images: { take, fault, over }, image, invert, onInvert }) {
  return html`<div class="stack-small">
    <div class=${over ? "drop is-over" : "drop"}>
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
