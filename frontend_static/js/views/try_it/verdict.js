/** Readings of a model's answer in words. Pure. */
import { number } from "../../format.js";

/** Below this share of its greatest possible value, a change of entropy is not worth a word. */
const SLIGHT = 0.02;

/** 0.934 → "93 %", 0.004 → "0.4 %"; a share is never rounded to none or all. */
function shareText(share) {
  if (share === null) return "–";
  const hundred = share * 100;
  if (hundred === 0 || hundred === 100) return `${hundred} %`;
  if (hundred < 0.1) return "< 0.1 %";
  if (hundred > 99.9) return "> 99.9 %";
  return `${hundred < 9.95 || hundred >= 99.5 ? hundred.toFixed(1) : Math.round(hundred)} %`;
}

const spreadText = (share) => (share === null ? "" : ` ± ${shareText(share)}`);

/** One value with its spread: "93 % ± 4 %" or "4.21 ± 0.3". */
export function valueText(reading, index) {
  const [value, std] = [reading.values[index], reading.std?.[index] ?? null];
  const tiny = shareText(0.0001);
  if (reading.kind === "shares" && shareText(value) === tiny && shareText(std) === tiny) return tiny;
  if (reading.kind === "shares") return `${shareText(value)}${spreadText(std)}`;
  return std > 0 ? measured(value, std) : number(value, 3);
}

/** A value to the digit that its deviation leaves certain: "4.21 ± 0.35". */
function measured(value, std) {
  const decimals = 1 - Math.floor(Math.log10(std));
  if (decimals > 6 || decimals < -6) return `${number(value, 3)} ± ${number(std, 2)}`;
  return `${value.toFixed(Math.max(0, decimals))} ± ${std.toFixed(Math.max(0, decimals))}`;
}

/** What the place `index` of an answer is called. */
export const placeName = (reading, index) =>
  `${reading.kind === "values" ? "output" : "class"} ${index}`;

/** The greatest entropy there can be among so many classes, in nats. */
export const greatestEntropy = (classes) => Math.log(classes);

/** What noise did to the answer. */
export function comparison(clean, noisy) {
  if (clean.kind !== noisy.kind || clean.kind === "dense") return null;
  if (clean.top === null || noisy.top === null) return null;
  if (clean.kind === "values" && clean.values.length === 1) {
    return `With this noise the value goes from ${valueText(clean, 0)} to ${valueText(noisy, 0)}.`;
  }
  const before = placeName(clean, clean.top);
  const what = clean.kind === "values" ? "the highest value" : "the answer";
  const changed =
    clean.top === noisy.top
      ? `With this noise ${what} stays ${before}`
      : `With this noise ${what} changes from ${before} to ${placeName(noisy, noisy.top)}`;
  if (clean.kind === "class") return `${changed}.`;
  if (clean.kind === "values") {
    return `${changed} (${valueText(clean, clean.top)}, then ${valueText(noisy, noisy.top)}).`;
  }
  const sure = `${shareText(clean.values[clean.top])} sure, then ${shareText(noisy.values[noisy.top])}`;
  return `${changed} (${sure}). ${cause(clean, noisy)}`;
}

/** Which of the two kinds of uncertainty moved. */
function cause(clean, noisy) {
  const most = greatestEntropy(clean.values.length);
  const grown = (name) => (noisy.entropy[name] - clean.entropy[name]) / most;
  const [total, open, unknown] = ["total", "open", "unknown"].map(grown);
  if (Math.abs(total) < SLIGHT) return "Its uncertainty hardly changes.";
  const direction = total > 0 ? "rises" : "falls";
  const [before, after] = [clean, noisy].map(({ entropy }) => entropyText(entropy.total, most));
  const figures = `from ${before} to ${after} of the maximum`;
  const part = Math.abs(unknown) > Math.abs(open) ? "what the model does not know" : "what the data leaves open";
  const mainly = Math.sign(unknown) === Math.sign(open) ? "mostly in" : "through";
  const comment =
    total < 0 ? " Noise can make a model surer, and wrong: do not read certainty as truth." : "";
  return `Its uncertainty ${direction} ${figures}, ${mainly} ${part}.${comment}`;
}

/** An entropy as a share of the most that it could be. */
export const entropyText = (entropy, most) => shareText(Math.min(1, entropy / most));

/** One sentence about how sure the model is, for the answer's headline. */
export function sureness(reading) {
  const share = reading.entropy.total / greatestEntropy(reading.values.length);
  if (share < 0.05) return "The model is sure.";
  if (share < 0.25) return "The model is fairly sure.";
  if (share < 0.6) return "The model is in doubt.";
  return "The model can hardly tell.";
}
