/** What the model answered, beside what it answers to a noisy copy. */
import { Badge } from "../../components/badge.js";
import { Button, LinkButton } from "../../components/button.js";
import { Empty, Notice } from "../../components/states.js";
import { number } from "../../format.js";
import { html, useState } from "../../html.js";
import { shapeText } from "../../model_words.js";
import { PixelPicture } from "./pixel_grid.js";
import {
  comparison,
  entropyText,
  greatestEntropy,
  placeName,
  sureness,
  valueText,
} from "./verdict.js";

/** More classes than this are shown by the highest ones first. */
const SHOWN_CLASSES = 12;

/**
 * @param {object} props
 *   subject: the model; asked: `{variants, readings}` of the last answer, or null; error: of the last
 *   try; asking: whether one is under way; current: whether the answer is to what is entered now;
 *   waitsFor: why it cannot be asked now, or null
 */
export function Answer({ subject, asked, error, asking, current, onAsk, waitsFor }) {
  const [row, setRow] = useState(0);
  const state = error ? "failed" : asked === null ? "none" : current && !asking ? "fresh" : "stale";
  return html`<section class="panel answer" aria-label="Answer" aria-busy=${asking} data-state=${state}>
    <header>
      <h2>Answer</h2>
      ${state === "stale" && html`<${Badge}>${asking ? "Asking again" : "To an earlier input"}<//>`}
    </header>
    <p class="sr-only" role="status">${state === "fresh" && announcement(asked, row)}</p>
    <div class="panel-body stack">
      ${error && html`<${Refusal} error=${error} subject=${subject} />`}
      ${asked === null && !error && html`<${NothingAsked} asking=${asking} onAsk=${onAsk} waitsFor=${waitsFor} />`}
      ${asked !== null && html`<${Readings} subject=${subject} asked=${asked} row=${row} onRow=${setRow} />`}
    </div>
  </section>`;
}

function NothingAsked({ asking, onAsk, waitsFor }) {
  return html`<${Empty}
    icon="sparkles"
    title=${asking ? "Asking the model" : "Nothing asked yet"}
    action=${html`<${Button} tone="primary" icon="play" busy=${asking} reason=${waitsFor} onClick=${onAsk}>
      Ask the model
    <//>`}
  >
    ${asking
      ? "The first answer takes a few seconds: the model is loaded."
      : `${waitsFor ?? ""} You will see how likely the model takes each class to be, and how sure it is of that.`}
  <//>`;
}

function Refusal({ error, subject }) {
  const { preprocessed, takes } = subject;
  return html`<${Notice} tone="bad">
    <strong>The model could not answer.</strong> ${error.message}
    ${error.status === 400 &&
    preprocessed &&
    takes !== null &&
    ` The input goes through the model's own preprocessing first, and must then be ${shapeText(takes.shape)}. An
      image by itself is channels × height × width.`}
  <//>`;
}

function Readings({ subject, asked, row, onRow }) {
  const { variants } = asked;
  const rows = asked.readings[0].length;
  if (rows === 0) return html`<${Notice}>The model answered, but with nothing in it.<//>`;
  const readings = readingsAt(asked, row);
  const shown = shownClasses(readings);
  const extent = extentOf(readings);
  const sentence = compared(readings);
  return html`
    ${rows > 1 && html`<${RowPicker} rows=${rows} row=${Math.min(row, rows - 1)} onRow=${onRow} />`}
    <div class="answer-pair">
      ${readings.map(
        (reading, i) =>
          reading &&
          html`<${Reading}
            key=${i}
            title=${["Your input", "With noise"][i]}
            picture=${variants[i].picture}
            reading=${reading}
            shown=${shown}
            extent=${extent}
          />`,
      )}
    </div>
    ${"values" in readings[0] && html`<p class="hint">${passesText(subject)}</p>`}
    ${sentence && html`<p class="answer-comparison">${sentence}</p>`}
    <${About} subject=${subject} reading=${readings[0]} />
  `;
}

/** The readings of one sample: of the input, and of its noisy copy if there is one. */
function readingsAt({ readings }, row) {
  return readings.map((ofVariant) => ofVariant[Math.min(row, readings[0].length - 1)]);
}

const compared = ([clean, noisy]) => (noisy === undefined ? null : comparison(clean, noisy));

/** What is read out when an answer is there. */
function announcement(asked, row) {
  if (asked.readings[0].length === 0) return null;
  const readings = readingsAt(asked, row);
  return [headlineText(readings[0]), compared(readings)].filter(Boolean).join(". ");
}

function RowPicker({ rows, row, onRow }) {
  return html`<div class="row">
    <${Button}
      size="small"
      icon="chevron-left"
      label="Previous sample"
      disabled=${row === 0}
      onClick=${() => onRow(row - 1)}
    />
    <span>Sample ${row + 1} of ${rows}</span>
    <${Button}
      size="small"
      icon="chevron-right"
      label="Next sample"
      disabled=${row === rows - 1}
      onClick=${() => onRow(row + 1)}
    />
  </div>`;
}

function Reading({ title, picture, reading, shown, extent }) {
  return html`<section class="reading stack-small" aria-label=${title}>
    <div class="reading-head">
      ${picture &&
      html`<${PixelPicture}
        pixels=${picture}
        label=${`What the model was given: ${title.toLowerCase()}`}
      />`}
      <div>
        <h3>${title}</h3>
        <${Headline} reading=${reading} />
      </div>
    </div>
    ${"values" in reading && html`<${Bars} reading=${reading} shown=${shown} extent=${extent} title=${title} />`}
    ${reading.kind === "shares" && html`<${EntropySplit} reading=${reading} />`}
  </section>`;
}

function Headline({ reading }) {
  return html`<p class=${"top" in reading ? "headline" : ""}>${headlineText(reading)}</p>
    ${reading.kind === "shares" && html`<p class="quiet">${sureness(reading)}</p>`}`;
}

/** "Class 7, 93 % ± 4 %", of which the figures stay on one line. */
function headlineText(reading) {
  if (reading.kind === "dense") return `A value for each of ${shapeText(reading.dims)} places`;
  if (reading.kind === "class") return `Class ${reading.top}`;
  if (reading.top === null) return "No number";
  const place = reading.values.length === 1 ? "" : `${capital(placeName(reading, reading.top))}, `;
  return `${place}${valueText(reading, reading.top).replaceAll(" ", "\u00a0")}`;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

/** The classes to show, the same for all readings so that they can be compared. */
function shownClasses(readings) {
  const [first] = readings;
  if (!("values" in first)) return [];
  const all = first.values.map((_, index) => index);
  if (all.length <= SHOWN_CLASSES) return all;
  const best = (index) => Math.max(...readings.map((reading) => reading?.values?.[index] ?? -Infinity));
  return all.sort((one, other) => best(other) - best(one)).slice(0, SHOWN_CLASSES);
}

/** From where to where bars go, the same for all readings. */
function extentOf(readings) {
  let [low, high] = [0, readings.every((reading) => reading?.kind === "shares") ? 1 : 0];
  for (const reading of readings) {
    for (const [index, value] of (reading?.values ?? []).entries()) {
      if (value === null) continue;
      const std = reading.std[index] ?? 0;
      [low, high] = [Math.min(low, value - std), Math.max(high, value + std)];
    }
  }
  // Of a share, error bars may reach past 0 and 1; there is nothing there.
  if (readings.every((reading) => reading?.kind === "shares")) [low, high] = [0, 1];
  return { low, high: high === low ? low + 1 : high };
}

function Bars({ reading, shown, extent, title }) {
  const rest = reading.values.length - shown.length;
  const [place, what] = reading.kind === "shares" ? ["Class", "Probability"] : ["Output", "Value"];
  return html`<table class="bars">
      <caption class="sr-only">
        ${title}: ${what.toLowerCase()} per ${place.toLowerCase()}, with one standard deviation
      </caption>
      <thead class="sr-only">
        <tr><th scope="col">${place}</th><th scope="col">Bar</th><th scope="col">${what}</th></tr>
      </thead>
      <tbody>
        ${shown.map(
          (index) => html`<tr key=${index} class=${index === reading.top ? "is-top" : ""}>
            <th scope="row">${index}</th>
            <td><${Bar} value=${reading.values[index]} std=${reading.std[index]} extent=${extent} /></td>
            <td class="num">${valueText(reading, index)}</td>
          </tr>`,
        )}
      </tbody>
    </table>
    ${rest > 0 && html`<p class="hint">The ${shown.length} highest of ${reading.values.length}.</p>`}`;
}

function Bar({ value, std, extent: { low, high } }) {
  if (value === null) return html`<span class="quiet">not a number</span>`;
  const at = (x) => ((Math.min(high, Math.max(low, x)) - low) / (high - low)) * 100;
  const [from, to] = [at(Math.min(0, value)), at(Math.max(0, value))];
  return html`<span class="bar" aria-hidden="true">
    <span class="bar-fill" style=${{ left: `${from}%`, width: `${to - from}%` }} />
    ${std !== null &&
    html`<span
      class="bar-spread"
      style=${{ left: `${at(value - std)}%`, width: `${at(value + std) - at(value - std)}%` }}
    />`}
  </span>`;
}

/** How much is uncertain, and which part of it more data could settle. */
function EntropySplit({ reading }) {
  const most = greatestEntropy(reading.values.length);
  const { total, open, unknown } = reading.entropy;
  const part = (entropy) => ({ width: `${(Math.min(1, entropy / most) * 100).toFixed(2)}%` });
  const text = (entropy) => entropyText(entropy, most);
  const nats = (entropy) => `${number(entropy, 3)} nats.`;
  return html`<div class="split">
    <div class="spread">
      <h4>Uncertainty</h4>
      <span>${text(total)} of the maximum</span>
    </div>
    <span
      class="split-bar"
      role="img"
      aria-label=${`Uncertainty ${text(total)}: ${text(open)} by the data, ${text(unknown)} by the model`}
    >
      <span class="split-open" style=${part(open)} /><span class="split-unknown" style=${part(unknown)} />
    </span>
    <dl>
      <dt><span class="swatch split-open" />What the data leaves open</dt>
      <dd>${text(open)}</dd>
      <dd class="hint">
        ${nats(open)} The input itself fits more than one class. More training does not settle that.
      </dd>
      <dt><span class="swatch split-unknown" />What the model does not know</dt>
      <dd>${text(unknown)}</dd>
      <dd class="hint">
        ${nats(unknown)} The model's passes disagree. Training on more such inputs would settle it.
      </dd>
    </dl>
  </div>`;
}

/** What the reader should know about answers of this kind. */
function About({ subject, reading }) {
  if (reading.kind === "class") {
    const again = subject.training === null ? "Train it" : "Train it again";
    return html`<${Notice}
      action=${html`<${LinkButton} size="small" to="/trainings/new" query=${{ model: subject.id }}>New training<//>`}
    >
      This model answers with the class only, and cannot say how sure it is: its uncertainty method is
      “None”. ${again} with MC dropout (a model with dropout layers), as a SWAG model or as an ensemble,
      and you will see probabilities and what the model does not know.
    <//>`;
  }
  if (reading.kind === "dense") {
    return html`<${Notice}>
      Only one list of values per sample is drawn here. The code below gives you the whole answer.
    <//>`;
  }
  if (reading.kind === "values" && reading.values.length > 1) {
    return html`<${Notice}>
      ${subject.softmax
        ? "Not every value lies between 0 and 1, so these are no probabilities"
        : "These are the model's raw outputs, not probabilities"},
      and their uncertainty cannot be split in two. For a classifier that ends without a softmax, create the
      training with the option “softmax”: then the answer has probabilities.
    <//>`;
  }
  return null;
}

function passesText({ method, passes }) {
  const sum = "Bars are the mean, thin lines one standard deviation to either side.";
  if (method === "ENSEMBLE") return `Every member of the ensemble was asked once. ${sum}`;
  if (method === "SWAG") return `${passes} models were drawn from what SWAG learned. ${sum}`;
  if (method === "MC_DROPOUT") return `${passes} passes with random dropout. ${sum}`;
  return null;
}
