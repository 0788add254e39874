/** The same request from a shell and from Python. Pure. */
import { ADDRESS } from "./asking.js";

/** Longer than this, the JSON goes into a file that is read. */
const LONGEST_INLINE = 6000;
export const QUESTION_FILE = "question.json";

const bodies = new WeakMap();

/** The body of a JSON request; large pictures take long to write, so that it is done once. */
export function jsonOf({ fields }) {
  if (!bodies.has(fields)) bodies.set(fields, JSON.stringify(fields));
  return bodies.get(fields);
}

/** Whether the request is too long to stand in the code. */
export const isLong = (request) =>
  request.file === undefined && jsonOf(request).length > LONGEST_INLINE;

export function curlOf(request, origin) {
  const lines = [
    `curl --fail-with-body ${quoted(origin + ADDRESS)}`,
    `  --header "Authorization: Token $STARLING_TOKEN"`,
  ];
  if (request.file !== undefined) {
    for (const [name, value] of Object.entries(request.fields)) lines.push(`  --form ${quoted(`${name}=${value}`)}`);
    lines.push(`  --form ${quoted(`model_input=@"${request.fileName}"`)}`);
  } else {
    lines.push(`  --header "Content-Type: application/json"`);
    lines.push(`  --data ${isLong(request) ? `@${QUESTION_FILE}` : quoted(jsonOf(request))}`);
  }
  return lines.join(" \\\n");
}

export function pythonOf(request, origin) {
  const { head, body } = request.file === undefined ? jsonBody(request) : formBody(request);
  const type = isLong(request) ? ', "Content-Type": "application/json"' : "";
  return [
    "import os",
    ...head,
    "",
    "import httpx",
    "",
    "answer = httpx.post(",
    `    ${JSON.stringify(origin + ADDRESS)},`,
    `    headers={"Authorization": "Token " + os.environ["STARLING_TOKEN"]${type}},`,
    ...body.map((line) => `    ${line}`),
    "    timeout=60,",
    ")",
    "answer.raise_for_status()",
    "print(answer.json())",
  ].join("\n");
}

function jsonBody(request) {
  if (isLong(request)) {
    return {
      head: ["from pathlib import Path"],
      body: [`content=Path("${QUESTION_FILE}").read_bytes(),`],
    };
  }
  // Numbers, texts and lists are written alike in JSON and in Python.
  const fields = Object.entries(request.fields).map(
    ([name, value]) => `    ${JSON.stringify(name)}: ${JSON.stringify(value).replaceAll(",", ", ")},`,
  );
  return { head: [], body: ["json={", ...fields, "},"] };
}

function formBody({ fields, fileName }) {
  const given = Object.entries(fields).map(([name, value]) => `"${name}": ${JSON.stringify(value)}`);
  return {
    head: ["from pathlib import Path"],
    body: [
      `data={${given.join(", ")}},`,
      `files={"model_input": Path(${JSON.stringify(fileName)}).open("rb")},`,
    ],
  };
}

/** In single quotes for a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
