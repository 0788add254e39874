/** What a model takes, by its input shape, and numbers brought into that shape. Pure. */
import { shapeText } from "../../model_words.js";

const SMALLEST_SIDE = 4;

/**
 * `{shape, batch, dims, size, picture}`, or null when the model does not say what it takes.
 *
 * `batch` null: any number of samples at once; `dims`: of one sample; `size`: how many numbers that
 * is, null where a dimension is free; `picture`: `{channels, height, width}` when a sample looks
 * like one, where a free side is null.
 */
export function readShape(shape) {
  if (!shape || shape.length < 2) return null;
  const [batch, ...dims] = shape;
  const size = dims.includes(null) ? null : product(dims);
  return { shape, batch, dims, size, picture: pictureOf(dims) };
}

function pictureOf(dims) {
  const [channels, height, width] = dims.length === 2 ? [1, ...dims] : dims;
  const isSide = (side) => side === null || side >= SMALLEST_SIDE;
  if (dims.length === 3 && [1, 3].includes(channels) && isSide(height) && isSide(width)) {
    return { channels, height, width };
  }
  // A table of 5 × 30 is no picture; a square is likely one.
  if (dims.length === 2 && height !== null && height === width && isSide(height)) {
    return { channels, height, width };
  }
  return null;
}

const product = (sizes) => sizes.reduce((all, size) => all * size, 1);

/** A flat list as nested ones of these dimensions. */
export function nested(flat, dims) {
  if (dims.length <= 1) return Array.from(flat);
  const step = product(dims.slice(1));
  return Array.from({ length: dims[0] }, (_, i) =>
    nested(flat.slice(i * step, (i + 1) * step), dims.slice(1)),
  );
}

/**
 * `{value, flat, isNested}` of a text: nested JSON, or numbers between commas, semicolons or spaces.
 *
 * @throws {Error} a sentence about what is wrong with it
 */
export function parseNumbers(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith("[")) {
    const value = parsedJson(trimmed);
    checkRegular(value);
    return { value, flat: value.flat(Infinity), isNested: value.some(Array.isArray) };
  }
  const flat = trimmed
    .split(/[\s,;]+/)
    .filter(Boolean)
    .map((word, index) => {
      const number = Number(word);
      if (!Number.isFinite(number)) throw new Error(`“${clip(word)}”, number ${index + 1}, is no number.`);
      return number;
    });
  return { value: flat, flat, isNested: false };
}

function parsedJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error("This starts like a JSON list but is none: a bracket or comma may be missing.");
  }
}

/** The dimensions of a nested list; throws when lists beside each other differ. */
function checkRegular(value) {
  if (!Array.isArray(value)) {
    if (typeof value === "number" && Number.isFinite(value)) return [];
    throw new Error(`“${clip(JSON.stringify(value))}” is no number.`);
  }
  if (value.length === 0) throw new Error("There is an empty list in it.");
  const dims = value.map(checkRegular);
  if (dims.some((other) => String(other) !== String(dims[0]))) {
    throw new Error("Lists beside each other differ in length.");
  }
  return [value.length, ...dims[0]];
}

const clip = (text) => (text.length > 20 ? `${text.slice(0, 20)}…` : text);

/**
 * Samples in the shape that the model takes, from what `parseNumbers` gave.
 *
 * @param {?object} takes of `readShape`
 * @param {boolean} preprocessed the numbers go through the model's own preprocessing first, so that
 *   they need not have its shape
 * @throws {Error} a sentence: how many numbers there should be
 */
export function samplesOf({ value, flat, isNested }, takes, preprocessed) {
  if (flat.length === 0) throw new Error("There are no numbers yet.");
  if (takes === null || takes.size === null || (preprocessed && isNested)) {
    if (takes !== null && takes.size === null && !preprocessed && !isNested) {
      throw new Error(`The shape ${shapeText(takes.shape)} is open: give the numbers as nested JSON lists.`);
    }
    return isNested ? value : [flat];
  }
  const count = flat.length / takes.size;
  if (Number.isInteger(count) && (takes.batch === null || count <= takes.batch)) {
    return nested(flat, [count, ...takes.dims]);
  }
  if (preprocessed) return [flat];
  throw new Error(`${wantedText(takes)}; there ${flat.length === 1 ? "is 1" : `are ${flat.length}`}.`);
}

/** "64 numbers are needed (1 × 8 × 8)". */
export function wantedText({ size, dims }) {
  const how = dims.length > 1 ? ` (${shapeText(dims)})` : "";
  return size === 1 ? `1 number is needed${how}` : `${size} numbers are needed${how}`;
}
