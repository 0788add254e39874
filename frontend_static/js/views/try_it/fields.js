/** What is entered: the model, the input in one of several ways, and the noise. */
import { Button } from "../../components/button.js";
import { CheckField, RangeField, SelectField, TextField } from "../../components/field.js";
import { Notice } from "../../components/states.js";
import { Tabs } from "../../components/tabs.js";
import { html } from "../../html.js";
import { shapeText } from "../../model_words.js";
import { Link, setQuery } from "../../router.js";
import { Drawing } from "./drawing.js";
import { ImageInput } from "./image_input.js";
import { NumbersInput, readNumbers } from "./numbers_input.js";
import { PixelGrid, PixelPicture } from "./pixel_grid.js";
import { isOnPaper, NO_EDITS, SCALES, withEdit } from "./pixels.js";
import { pictureFor } from "./variants.js";

export function ModelChoice({ subject, subjects }) {
  const { takes, training, preprocessed } = subject;
  const shape = takes === null ? "anything: it has no input shape" : shapeText(takes.shape);
  return html`<div class="stack-small">
    <${SelectField}
      label="Model"
      value=${subject.id}
      options=${subjects.map(({ id, label }) => [id, label])}
      onInput=${(model) => setQuery({ model })}
    />
    <p class="hint">
      Takes ${shape}${preprocessed ? ", after its own preprocessing" : ""}. See
      its <${Link} to=${`/models/${subject.id}`}>model page<//>${training !== null &&
      html` or its <${Link} to=${`/trainings/${training.id}`}>training<//>`}.
    </p>
    ${subject.lack && html`<${Notice} tone="warn">${subject.lack}<//>`}
  </div>`;
}

const WAY_NAMES = { draw: "Draw", image: "Image", numbers: "Numbers" };

/** `images`: what `useImages` gave; the other props are what each way takes. */
export function Ways({ ways, ...props }) {
  const content = { draw: DrawWay, image: ImageWay, numbers: NumbersWay };
  const { entered, enter } = props;
  if (ways.length === 1) return html`<${content[ways[0]]} ...${props} />`;
  const tabs = ways.map((way) => [way, WAY_NAMES[way], () => html`<${content[way]} ...${props} />`]);
  return html`<div>
    <${Tabs} label="Kind of input" tabs=${tabs} selected=${entered.way} onSelect=${(way) => enter({ way })} />
  </div>`;
}

/** Larger pictures take too long to bring to the model's size for doing it at every move. */
const EAGER_PIXELS = 4096;

function DrawWay({ subject, entered, enter, pixels }) {
  const { height, width } = pictureFor(subject, entered.side);
  return html`<div class="stack">
    <div class="draw-pair">
      <${Drawing}
        drawing=${entered.drawing}
        aspect=${width / height}
        eager=${height * width <= EAGER_PIXELS}
        onChange=${(drawing) => enter({ drawing })}
        onClear=${() => enter({ drawing: { ...entered.drawing, strokes: [] }, edits: NO_EDITS })}
      />
      <${WhatItSees} entered=${entered} enter=${enter} pixels=${pixels} />
    </div>
    <${PixelFields} subject=${subject} entered=${entered} enter=${enter} />
  </div>`;
}

const isSentAsItIs = (subject) => subject.preprocessed || subject.takes === null;

/** What is entered with an image: dark ink on paper becomes light where the model knows grey only. */
export function imageEntered(image, subject, side) {
  const grey = !isSentAsItIs(subject) && pictureFor(subject, side).channels === 1;
  return { image, edits: NO_EDITS, invert: grey && isOnPaper(image.pixels) };
}

function ImageWay({ subject, entered, enter, pixels, images }) {
  const asIs = isSentAsItIs(subject);
  return html`<div class="stack">
    <${ImageInput}
      images=${images}
      image=${entered.image}
      invert=${entered.invert}
      onInvert=${asIs ? null : (invert) => enter({ invert })}
    />
    ${pixels !== null &&
    (asIs
      ? html`<${WhatIsSent} subject=${subject} pixels=${pixels} />`
      : html`<${WhatItSees} entered=${entered} enter=${enter} pixels=${pixels} />`)}
    ${!asIs && html`<${PixelFields} subject=${subject} entered=${entered} enter=${enter} />`}
  </div>`;
}

function NumbersWay({ subject, entered, enter }) {
  return html`<${NumbersInput}
    subject=${subject}
    text=${entered.text}
    read=${readNumbers(entered.text, subject)}
    onText=${(text) => enter({ text })}
  />`;
}

function WhatItSees({ entered, enter, pixels }) {
  const size = `${pixels.width} × ${pixels.height}`;
  return html`<div class="sees stack-small">
    <h3>What it sees: ${size}</h3>
    <${PixelGrid}
      pixels=${pixels}
      label=${`What the model sees, ${size} pixels`}
      onEdit=${(place, value) => enter({ edits: withEdit(entered.edits, pixels, place, value) })}
    />
  </div>`;
}

function WhatIsSent({ subject, pixels }) {
  return html`<div class="sees stack-small">
    <h3>What is sent</h3>
    <p class="hint">
      The file itself.
      ${subject.preprocessed
        ? " The model's own preprocessing brings it to its shape."
        : " The server reads it as channels × height × width, values from 0 to 1."}
    </p>
    <${PixelPicture} pixels=${pixels} label="The image that is sent" />
  </div>`;
}

/** How pixels become the numbers that the model was trained on; nobody but the user knows. */
function PixelFields({ subject, entered, enter }) {
  const { scale } = entered;
  const { picture } = subject.takes ?? { picture: null };
  const isOpen = picture !== null && (picture.height === null || picture.width === null);
  const size = pictureFor(subject, entered.side);
  const set = (more) => enter({ scale: { ...scale, ...more } });
  return html`
    ${isOpen &&
    html`<${TextField}
      label="Side in pixels"
      type="number"
      min="4"
      max="512"
      hint="This model takes pictures of any size."
      value=${size.height}
      onInput=${(side) => enter({ side: Math.min(512, Math.max(4, Math.round(Number(side)) || 4)) })}
    />`}
    ${!subject.preprocessed &&
    html`<${SelectField}
      label="Values that the model was trained with"
      hint="From black to white. Starling cannot know this: if the answers are off, try another."
      value=${scale.name}
      options=${SCALES}
      onInput=${(name) => set({ name })}
    />`}
    ${!subject.preprocessed &&
    scale.name === "standard" &&
    html`<div class="pair">
      <${TextField}
        label="Mean"
        type="number"
        step="any"
        value=${scale.mean}
        onInput=${(mean) => set({ mean: Number(mean) })}
      />
      <${TextField}
        label="Deviation"
        type="number"
        step="any"
        fault=${scale.deviation === 0 ? "Cannot be 0." : null}
        value=${scale.deviation}
        onInput=${(deviation) => set({ deviation: Number(deviation) })}
      />
    </div>`}
  `;
}

export function NoiseFields({ noise, onNoise, measure }) {
  const set = (more) => onNoise({ ...noise, ...more });
  return html`<div class="stack-small">
    <${CheckField}
      label="Compare with a noisy copy"
      checked=${noise.on}
      onInput=${(on) => set({ on })}
    />
    ${noise.on &&
    html`<${RangeField}
        label="Noise"
        min="0.05"
        max="1"
        step="0.05"
        value=${noise.share}
        shown=${`${Math.round(noise.share * 100)} %`}
        hint=${`${measure} Noise no. ${noise.seed}, the same every time.`}
        onInput=${(share) => set({ share })}
      />
      <div class="row">
        <${Button} size="small" icon="refresh-cw" onClick=${() => set({ seed: noise.seed + 1 })}>Other noise<//>
      </div>`}
  </div>`;
}
