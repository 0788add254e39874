/** Numbers: pasted or typed, counted as they come. */
import { TextArea } from "../../components/field.js";
import { count } from "../../format.js";
import { html } from "../../html.js";
import { shapeText } from "../../model_words.js";
import { parseNumbers, samplesOf, wantedText } from "./shapes.js";

/** `{samples, fault}`: one of them is null; both while there is no text. */
export function readNumbers(text, { takes, preprocessed }) {
  if (text.trim() === "") return { samples: null, fault: null };
  try {
    return { samples: samplesOf(parseNumbers(text), takes, preprocessed), fault: null };
  } catch (error) {
    return { samples: null, fault: error.message };
  }
}

/** `read` is what `readNumbers` gave for `text`. */
export function NumbersInput({ subject, text, onText, read }) {
  return html`<${TextArea}
    label="Numbers"
    rows="9"
    spellcheck=${false}
    autocomplete="off"
    class="input mono"
    hint=${read.samples === null ? wantedHint(subject) : foundText(read.samples)}
    fault=${read.fault}
    value=${text}
    onInput=${onText}
  />`;
}

function foundText(samples) {
  const numbers = count(samples.flat(Infinity).length, "number");
  return samples.length === 1 ? `${numbers}: one sample.` : `${numbers}: ${samples.length} samples.`;
}

function wantedHint({ takes, preprocessed }) {
  const how = "Nested JSON, or separated by commas, spaces or line breaks.";
  if (takes === null) {
    return "This model does not say what it takes. Nested JSON is sent as it is, a plain list as one sample.";
  }
  if (preprocessed) return `They go through the model's own preprocessing first. ${how}`;
  if (takes.size === null) return `The model takes ${shapeText(takes.shape)}: give nested JSON lists.`;
  return `${wantedText(takes)} for a sample. ${how}`;
}
