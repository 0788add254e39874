/** Exactly what the model is given, pixel by pixel; with the keyboard it can be set there. */
import { html, useEffect, useId, useRef, useState } from "../../html.js";

const MOST_CELLS = 1024;
const STEP = 0.1;

/** A picture of pixels, drawn in the page's size by the stylesheet. */
export function PixelPicture({ pixels, label }) {
  const canvas = useRef(null);
  const { channels, height, width, values } = pixels;
  useEffect(() => {
    const context = canvas.current.getContext("2d");
    const image = context.createImageData(width, height);
    const plane = height * width;
    for (let i = 0; i < plane; i += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        const value = values[(channels === 3 ? channel * plane : 0) + i];
        image.data[i * 4 + channel] = Math.round(value * 255);
      }
      image.data[i * 4 + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }, [pixels]);
  return html`<canvas
    class="pixels"
    ref=${canvas}
    width=${width}
    height=${height}
    role="img"
    aria-label=${label}
  />`;
}

/**
 * What the model sees. Small pictures are a grid to edit.
 *
 * @param {object} props
 *   pixels; onEdit(place, value): a pixel was set; label
 */
export function PixelGrid({ pixels, onEdit, label }) {
  if (pixels.height * pixels.width > MOST_CELLS) return html`<${PixelPicture} pixels=${pixels} label=${label} />`;
  return html`<${EditableGrid} pixels=${pixels} onEdit=${onEdit} label=${label} />`;
}

function EditableGrid({ pixels, onEdit, label }) {
  const { height, width } = pixels;
  const hint = useId();
  const grid = useRef(null);
  const [cursor, setCursor] = useState(0);
  const place = Math.min(cursor, height * width - 1);
  const value = (at) => brightness(pixels, at);

  function move(to) {
    setCursor(to);
    grid.current.querySelector(`[data-place="${to}"]`).focus();
  }

  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [y, x] = [Math.floor(place / width), place % width];
    const moves = {
      ArrowLeft: place - (x > 0 ? 1 : 0),
      ArrowRight: place + (x < width - 1 ? 1 : 0),
      ArrowUp: place - (y > 0 ? width : 0),
      ArrowDown: place + (y < height - 1 ? width : 0),
      Home: place - x,
      End: place - x + width - 1,
    };
    const values = {
      " ": value(place) > 0.5 ? 0 : 1,
      Enter: value(place) > 0.5 ? 0 : 1,
      Delete: 0,
      Backspace: 0,
      "+": Math.min(1, value(place) + STEP),
      "-": Math.max(0, value(place) - STEP),
    };
    if (event.key in moves) move(moves[event.key]);
    else if (event.key in values) onEdit(place, values[event.key]);
    else if (/^[0-9]$/.test(event.key)) onEdit(place, Number(event.key) / 9);
    else return;
    event.preventDefault();
  }

  return html`<div class="stack-small">
    <div
      class="pixel-grid"
      role="grid"
      aria-label=${label}
      aria-describedby=${hint}
      ref=${grid}
      style=${{ aspectRatio: `${width / height}` }}
      onKeyDown=${press}
    >
      ${Array.from(
        { length: height },
        (_, y) => html`<div role="row" key=${y}>
          ${Array.from({ length: width }, (_, x) => {
            const at = y * width + x;
            return html`<div
              key=${x}
              role="gridcell"
              data-place=${at}
              tabindex=${at === place ? 0 : -1}
              aria-label=${`Row ${y + 1}, column ${x + 1}: ${Math.round(value(at) * 100)} %`}
              style=${{ backgroundColor: colour(pixels, at) }}
              onClick=${() => {
                setCursor(at);
                onEdit(at, value(at) > 0.5 ? 0 : 1);
              }}
            />`;
          })}
        </div>`,
      )}
    </div>
    <p class="hint" id=${hint}>
      Click a pixel to set it. With the keyboard: arrows move, space sets or clears, 0 to 9 set how
      bright.
    </p>
  </div>`;
}

const planes = ({ channels }) => (channels === 3 ? [0, 1, 2] : [0, 0, 0]);

function colour(pixels, at) {
  const plane = pixels.height * pixels.width;
  const parts = planes(pixels).map((channel) => Math.round(pixels.values[channel * plane + at] * 255));
  return `rgb(${parts.join(" ")})`;
}

function brightness(pixels, at) {
  const plane = pixels.height * pixels.width;
  return planes(pixels).reduce((sum, channel) => sum + pixels.values[channel * plane + at], 0) / 3;
}
