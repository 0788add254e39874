/** From what was entered to what is asked: the input, and its noisy copy. */
import { useEffect, useMemo, useState } from "../../html.js";
import { grainyPixels, noisyPixels, noisySamples } from "./noise.js";
import { readNumbers } from "./numbers_input.js";
import {
  edited,
  inChannels,
  inverted,
  isBlank,
  rasterised,
  resampled,
  sampleOf,
} from "./pixels.js";
import { pngOf } from "./png.js";

/** Sides of pictures for models that take any: MNIST's and ImageNet's. */
const USUAL_SIDES = { 1: 28, 3: 224 };
/** Grains of noise for an image whose size at the model nobody knows. */
const USUAL_GRAINS = { height: 64, width: 64 };

/** Ways to enter what this model takes, the likeliest first. */
export function waysFor({ takes, preprocessed }) {
  if (takes?.picture) return preprocessed ? ["image", "draw", "numbers"] : ["draw", "image", "numbers"];
  return preprocessed || takes === null ? ["numbers", "image"] : ["numbers"];
}

/** `{channels, height, width}` of the pictures for this model. */
export function pictureFor({ takes }, side) {
  const { channels, height, width } = takes?.picture ?? { channels: 1, height: null, width: null };
  const usual = side ?? USUAL_SIDES[channels];
  return { channels, height: height ?? usual, width: width ?? usual };
}

/**
 * `{pixels, variants, waitsFor}`: the picture to show (or null), what `requestsFor` takes (null when
 * there is no input yet, and `waitsFor` says what is missing).
 */
export function useVariants(subject, entered, noise) {
  const drawn = useMemo(() => drawnPixels(subject, entered), [
    subject,
    entered.way,
    entered.drawing.strokes,
    entered.drawing.fit,
    entered.edits,
    entered.image,
    entered.invert,
    entered.side,
  ]);
  const asFile = entered.way !== "numbers" && (subject.preprocessed || subject.takes === null);
  const numbers = useMemo(
    () => (asFile ? null : numberVariants(subject, entered, drawn, noise)),
    [subject, asFile, drawn, entered.way, entered.text, entered.scale, noise],
  );
  const files = useFiles(asFile ? entered : null, subject, drawn, noise);
  const waitsFor = missing(subject, entered, drawn);
  return { pixels: drawn, variants: waitsFor === null ? (asFile ? files : numbers) : null, waitsFor };
}

function drawnPixels(subject, { way, drawing, edits, image, invert, side }) {
  const size = pictureFor(subject, side);
  if (way === "draw") return edited(rasterised(drawing.strokes, size, drawing.fit), edits);
  if (way !== "image" || image === null) return null;
  if (subject.preprocessed || subject.takes === null) return image.pixels;
  const small = inChannels(resampled(image.pixels, size.height, size.width), size.channels);
  return edited(invert ? inverted(small) : small, edits);
}

function missing(subject, { way, image, text, scale }, drawn) {
  if (way === "draw" && isBlank(drawn)) return "Draw something first.";
  if (way === "image" && image === null) return "Choose an image first.";
  if (way === "numbers") {
    const { samples, fault } = readNumbers(text, subject);
    if (samples === null) return fault ?? "Enter some numbers first.";
  } else if (scale.name === "standard" && !subject.preprocessed && !(scale.deviation !== 0)) {
    return "The deviation cannot be 0.";
  }
  return null;
}

function numberVariants(subject, entered, pixels, noise) {
  if (entered.way === "numbers") {
    const { samples } = readNumbers(entered.text, subject);
    if (samples === null) return null;
    const noisy = noise.on ? [{ samples: noisySamples(samples, noise.share, noise.seed), picture: null }] : [];
    return [{ samples, picture: null }, ...noisy];
  }
  if (pixels === null) return null;
  const pictures = noise.on ? [pixels, noisyPixels(pixels, noise.share, noise.seed)] : [pixels];
  return pictures.map((picture) => ({
    samples: [sampleOf(picture, subject.takes.dims, entered.scale)],
    picture,
  }));
}

/** The variants as image files, which take a moment to make; null until they are there. */
function useFiles(entered, subject, pixels, noise) {
  const [files, setFiles] = useState(null);
  useEffect(() => {
    setFiles(null);
    if (entered === null || pixels === null) return undefined;
    let current = true;
    fileVariants(entered, subject, pixels, noise).then((made) => current && setFiles(made));
    return () => {
      current = false;
    };
  }, [entered?.way, entered?.image, subject, pixels, noise]);
  return files;
}

async function fileVariants({ way, image }, subject, pixels, noise) {
  const clean =
    way === "draw"
      ? { file: await pngOf(pixels), fileName: "drawing.png", picture: pixels }
      : { file: image.file, fileName: safeName(image.file), picture: pixels };
  if (!noise.on) return [clean];
  const grains = way === "draw" || subject.takes?.picture ? pictureFor(subject, null) : USUAL_GRAINS;
  const shaken = grainyPixels(pixels, grains, noise.share, noise.seed);
  const picture = way === "image" && image.grey ? inChannels(shaken, 1) : shaken;
  return [clean, { file: await pngOf(picture), fileName: "noisy.png", picture }];
}

/** The file's name where a shell takes it as it is. */
function safeName({ name, type }) {
  return /^\w[\w.-]*$/.test(name) ? name : `image.${type.split("/")[1]}`;
}
