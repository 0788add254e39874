/** From samples to requests, and from the server's answers to one reading per sample. */
import * as api from "../../api.js";

export const ADDRESS = "/api/inference/";

/**
 * The requests that ask about all variants of an input, as few as possible.
 *
 * @param {object} subject the model
 * @param {object[]} variants `{samples}` (nested numbers, a list of samples) or `{file, fileName}`
 * @param {?number} seed of the model's random passes
 * @returns {object[]} `{fields, file?, fileName?, spans}`: fields of the JSON or form, and for each
 *   variant in it `[variant, from, to]`, its rows of the answer
 */
export function requestsFor(subject, variants, seed) {
  const settings = { model_id: subject.id, ...(seed === null ? {} : { seed }) };
  if ("file" in variants[0]) {
    return variants.map(({ file, fileName }, index) => ({
      fields: { ...settings, return_format: "json" },
      file,
      fileName,
      spans: [[index, 0, Infinity]],
    }));
  }
  return groups(subject, variants).map((group) => {
    const rows = group.flatMap(({ samples }) => samples);
    let from = 0;
    const spans = group.map(({ index, samples }) => {
      from += samples.length;
      return [index, from - samples.length, from];
    });
    return { fields: { ...settings, model_input: filled(rows, batchOf(subject)) }, spans };
  });
}

/** The number of samples in a request: null for any, undefined where nobody knows. */
function batchOf({ takes, preprocessed }) {
  return takes === null || preprocessed ? undefined : takes.batch;
}

function groups(subject, variants) {
  const indexed = variants.map((variant, index) => ({ ...variant, index }));
  const batch = batchOf(subject);
  const rows = variants.reduce((sum, { samples }) => sum + samples.length, 0);
  if (batch === null || (batch !== undefined && rows <= batch)) return [indexed];
  return indexed.map((variant) => [variant]);
}

/** A model that takes exactly so many samples is given the last one as often as it needs. */
function filled(rows, batch) {
  const missing = typeof batch === "number" ? batch - rows.length : 0;
  return missing > 0 ? [...rows, ...Array(missing).fill(rows.at(-1))] : rows;
}

/** The readings of each variant, a list per variant. */
export async function ask(requests, signal) {
  const readings = [];
  for (const request of requests) {
    // One after the other: what the model refuses once, it would refuse again.
    const rows = readingsOf(await send(request, signal));
    for (const [variant, from, to] of request.spans) readings[variant] = rows.slice(from, to);
  }
  return readings;
}

function send({ fields, file, fileName }, signal) {
  if (file === undefined) return api.post(ADDRESS, fields, { signal });
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("model_input", file, fileName);
  return api.post(ADDRESS, undefined, { form, signal });
}

/**
 * What the answer says about each sample. Pure. Kinds:
 * "class": an index and nothing else; "shares": `values` are probabilities, with `std` and, in nats,
 * `entropy` `{total, open, unknown}`; "values": numbers with `std`; "dense": more than a list.
 */
function readingsOf({ inference, uncertainty }) {
  const rows = Array.isArray(inference) ? inference : [inference];
  return rows.map((row, index) => {
    if (!Array.isArray(row)) return { kind: "class", top: row };
    if (row.some(Array.isArray) || uncertainty.std === undefined) return { kind: "dense", dims: dimsOf(row) };
    const std = uncertainty.std[index];
    const values = { values: row, std, top: highest(row) };
    const [total, open, unknown] = ["predictive_entropy", "expected_entropy", "mutual_info"].map(
      (name) => uncertainty[name]?.[index] ?? null,
    );
    // Of one output alone there is nothing to choose between.
    if (total === null || row.length < 2) return { kind: "values", ...values };
    return { kind: "shares", ...values, entropy: { total, open, unknown } };
  });
}

const dimsOf = (row) => (Array.isArray(row) ? [row.length, ...dimsOf(row[0])] : []);

/** The place of the highest number; null where there is none. */
function highest(values) {
  let best = null;
  for (const [index, value] of values.entries()) {
    if (value !== null && (best === null || value > values[best])) best = index;
  }
  return best;
}
