/**
 * Pictures as numbers: `{channels, height, width, values}`, values in [0, 1] in the order that torch
 * has them (channel by channel, row by row). Only `fromBitmap` and `rasterised` need a canvas.
 */
import { rounded } from "./noise.js";
import { nested } from "./shapes.js";

const MAX_SIDE = 1024;
const DARK_INK_ABOVE = 0.5;
/**
 * How much of a frame a digit takes, as data sets have it. Below 16 rows as scikit-learn's 8 × 8: all
 * rows, and a free column on either side; above as MNIST: 20 of 28 in both directions.
 */
const SMALL_FRAME = 16;
const SMALL_ROOM = { down: 1, across: 6 / 8 };
const ROOM = { down: 20 / 28, across: 20 / 28 };

/** What the numbers of a picture mean to the model. `[name, label]` */
export const SCALES = [
  ["1", "0 to 1"],
  ["16", "0 to 16 (scikit-learn's digits)"],
  ["255", "0 to 255"],
  ["signed", "−1 to 1"],
  ["standard", "Standardised: (value − mean) ÷ deviation"],
];

/** The number that the model is given for a value in [0, 1]. */
export function scaled(value, { name, mean, deviation }) {
  if (name === "signed") return rounded(2 * value - 1);
  if (name === "standard") return rounded((value - mean) / deviation);
  return rounded(value * Number(name));
}

/** One sample: nested numbers of these dimensions. */
export function sampleOf(pixels, dims, scale) {
  // To four digits behind the point: finer than any eye or file has them, and short to copy.
  const flat = Array.from(pixels.values, (value) => scaled(Math.round(value * 1e4) / 1e4, scale));
  return nested(flat, dims.map((side, i) => side ?? [pixels.height, pixels.width][i - dims.length + 2]));
}

function blank({ channels, height, width }) {
  return { channels, height, width, values: new Float64Array(channels * height * width) };
}

export const isBlank = (pixels) => pixels.values.every((value) => value === 0);

/** Single pixels that were set, in pictures of one size: `at` has values by row · width + column. */
export const NO_EDITS = { height: 0, width: 0, at: new Map() };

/** The picture with these pixels set, unless they are of pictures of another size. */
export function edited(pixels, { height, width, at }) {
  if (height !== pixels.height || width !== pixels.width) return pixels;
  const values = Float64Array.from(pixels.values);
  const plane = pixels.height * pixels.width;
  for (const [place, value] of at) {
    for (let channel = 0; channel < pixels.channels; channel += 1) values[channel * plane + place] = value;
  }
  return { ...pixels, values };
}

/** The edits with one more. */
export function withEdit(edits, { height, width }, place, value) {
  const same = height === edits.height && width === edits.width;
  return { height, width, at: new Map(same ? edits.at : []).set(place, value) };
}

export function inverted(pixels) {
  return { ...pixels, values: pixels.values.map((value) => 1 - value) };
}

/** Whether the border is bright: dark ink on light paper. */
export function isOnPaper({ height, width, values }) {
  let [sum, count] = [0, 0];
  for (let y = 0; y < height; y += 1) {
    const step = y === 0 || y === height - 1 ? 1 : Math.max(1, width - 1);
    for (let x = 0; x < width; x += step) {
      sum += values[y * width + x];
      count += 1;
    }
  }
  return sum / count > DARK_INK_ABOVE;
}

/** Luminance as Pillow's mode L has it, in as many channels as are asked for. */
export function inChannels(pixels, channels) {
  if (pixels.channels === channels) return pixels;
  const plane = pixels.height * pixels.width;
  const { values } = pixels;
  if (pixels.channels === 1) {
    const copies = new Float64Array(channels * plane);
    for (let channel = 0; channel < channels; channel += 1) copies.set(values, channel * plane);
    return { ...pixels, channels, values: copies };
  }
  const grey = Float64Array.from({ length: plane }, (_, i) =>
    0.299 * values[i] + 0.587 * values[plane + i] + 0.114 * values[2 * plane + i],
  );
  return { ...pixels, channels: 1, values: grey };
}

/** The middle of the picture at another size: every new pixel is the mean of what it covers. */
export function resampled(pixels, height, width) {
  const { channels } = pixels;
  const scale = Math.min(pixels.height / height, pixels.width / width);
  const top = (pixels.height - height * scale) / 2;
  const left = (pixels.width - width * scale) / 2;
  const rows = weights(height, top, scale, pixels.height);
  const columns = weights(width, left, scale, pixels.width);
  const values = new Float64Array(channels * height * width);
  for (let channel = 0; channel < channels; channel += 1) {
    const from = channel * pixels.height * pixels.width;
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        let sum = 0;
        for (const [row, share] of rows[y]) {
          for (const [column, part] of columns[x]) {
            sum += share * part * pixels.values[from + row * pixels.width + column];
          }
        }
        values[(channel * height + y) * width + x] = sum;
      }
    }
  }
  return { channels, height, width, values };
}

/** For every new position: the old ones it covers, with their shares (which sum to 1). */
function weights(count, start, scale, limit) {
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [start + i * scale, start + (i + 1) * scale];
    const covered = [];
    for (let at = Math.floor(from); at < Math.min(limit, Math.ceil(to)); at += 1) {
      const share = (Math.min(at + 1, to) - Math.max(at, from)) / scale;
      if (share > 1e-9) covered.push([at, share]);
    }
    return covered;
  });
}

/** An image file's pixels in three channels, no side longer than 1024; on white where it is clear. */
export async function fromBitmap(file) {
  const bitmap = await createImageBitmap(file);
  const shrink = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * shrink));
  const height = Math.max(1, Math.round(bitmap.height * shrink));
  const context = canvasContext(width, height);
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const plane = width * height;
  const values = Float64Array.from(
    { length: 3 * plane },
    (_, i) => data[(i % plane) * 4 + Math.floor(i / plane)] / 255,
  );
  return { channels: 3, height, width, values };
}

/**
 * What was drawn, at the size that the model takes.
 *
 * @param {object[]} strokes `{width, points: [x, y][]}` in a frame of `aspect` by 1
 * @param {boolean} fit bring the drawing to the middle and to the size of the frame
 */
export function rasterised(strokes, { channels, height, width }, fit) {
  if (strokes.length === 0) return blank({ channels, height, width });
  const fine = Math.max(1, Math.min(16, Math.floor(512 / Math.max(height, width))));
  const context = canvasContext(width * fine, height * fine);
  const toFrame = height * fine;
  const { scale, x, y } = fit ? fitted(strokes, height, width) : { scale: 1, x: 0, y: 0 };
  context.setTransform(scale * toFrame, 0, 0, scale * toFrame, x * toFrame, y * toFrame);
  paint(context, strokes, "white");
  const { data } = context.getImageData(0, 0, width * fine, height * fine);
  const ink = Float64Array.from({ length: width * fine * height * fine }, (_, i) => data[i * 4 + 3] / 255);
  const small = resampled(
    { channels: 1, height: height * fine, width: width * fine, values: ink },
    height,
    width,
  );
  return inChannels(small, channels);
}

/** Draw strokes in the units that the context has. */
export function paint(context, strokes, colour) {
  context.strokeStyle = colour;
  context.lineCap = "round";
  context.lineJoin = "round";
  for (const { width, points } of strokes) {
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(...points[0]);
    // A dot is a line of no length, which a round cap makes visible.
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
  }
}

function fitted(strokes, height, width) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { width: thick, points } of strokes) {
    for (const [x, y] of points) {
      left = Math.min(left, x - thick / 2);
      right = Math.max(right, x + thick / 2);
      top = Math.min(top, y - thick / 2);
      bottom = Math.max(bottom, y + thick / 2);
    }
  }
  const room = height < SMALL_FRAME ? SMALL_ROOM : ROOM;
  const aspect = width / height;
  const scale = Math.min(room.down / (bottom - top), (room.across * aspect) / (right - left));
  return {
    scale,
    x: aspect / 2 - (scale * (left + right)) / 2,
    y: 1 / 2 - (scale * (top + bottom)) / 2,
  };
}

function canvasContext(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas.getContext("2d", { willReadFrequently: true });
}
