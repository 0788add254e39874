/**
 * The only module that talks to the server.
 *
 * A request either gives its answer or throws an `ApiError` with a sentence for people. The session
 * is a cookie that scripts cannot read; what changes something also sends the session's CSRF token.
 */

/** What the server refused, or that it could not be reached (`status` 0). */
class ApiError extends Error {
  constructor(status, detail, fields = {}) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    /** Messages by the name of the field at fault. */
    this.fields = fields;
  }
}

const CSRF_HEADER = "X-CSRF-Token";
const CUT_OFF = "The answer was cut off, or is not from Starling. Try again.";
// For the server: what the page asks by itself when nobody was at it for so long is no use of the session.
const UNATTENDED_AFTER_MILLISECONDS = 300_000;

let csrfToken = null;
let onSignedOut = () => {};
let onStaleToken = async () => false;
let lastInput = Date.now();

for (const type of ["pointerdown", "keydown", "wheel", "touchstart"]) {
  addEventListener(type, () => (lastInput = Date.now()), { capture: true, passive: true });
}

export function useCsrfToken(token) {
  csrfToken = token;
}

/** Call `listener` when the server no longer knows the session. */
export function whenSignedOut(listener) {
  onSignedOut = listener;
}

/**
 * Call `listener` when the session's token is not ours any more: another tab has signed in. It resolves
 * to whether the same request may be sent again.
 */
export function whenTokenIsStale(listener) {
  onStaleToken = listener;
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, json, options) => call("POST", path, { json, ...options });
export const put = (path, json, options) => call("PUT", path, { json, ...options });
export const patch = (path, json, options) => call("PATCH", path, { json, ...options });
export const del = (path, json, options) => call("DELETE", path, { json, ...options });

/**
 * The decoded answer.
 *
 * @param {object} options
 *   query: names and values, null is left out; json or form (FormData): the body;
 *   signal: of an AbortController; as: "json" (default) or "response";
 *   answers: statuses that are no success, and whose body is the answer all the same.
 */
async function call(
  method,
  path,
  { query, json, form, signal, as = "json", answers = [] } = {},
) {
  const options = { query, json, form, signal, as, answers };
  const sent = csrfToken;
  let response;
  try {
    response = await fetch(withQuery(path, query), {
      method,
      signal,
      headers: headers(method, json !== undefined),
      body: json !== undefined ? JSON.stringify(json) : form,
      credentials: "same-origin",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Check that it runs and is reachable.");
  }
  if (!response.ok && !answers.includes(response.status)) {
    const refused = refusal(path, response.status, await response.text().catch(() => ""));
    if (isAboutToken(refused) && (await onStaleToken()) && csrfToken !== sent) {
      return call(method, path, options);
    }
    throw refused;
  }
  noteServerTime(response.headers.get("Date"));
  if (as === "response") return response;
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, CUT_OFF);
  }
}

/**
 * Send a form and hear how far it is.
 *
 * @param {(sent: number, total: number) => void} onProgress in bytes
 * @returns {{done: Promise<object>, cancel: () => void}}
 */
export function upload(path, form, onProgress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers("POST", false))) {
      request.setRequestHeader(name, value);
    }
    request.upload.addEventListener("progress", (event) => onProgress(event.loaded, event.total));
    request.addEventListener("load", () => {
      const answer = parsed(request.responseText);
      if (request.status >= 300) reject(refusal(path, request.status, request.responseText));
      else if (answer === null) reject(new ApiError(0, CUT_OFF));
      else resolve(answer);
    });
    request.addEventListener("error", () =>
      reject(new ApiError(0, "The connection broke before the upload was complete. Try again.")),
    );
    request.addEventListener("abort", () => reject(new ApiError(0, "The upload was cancelled.")));
    request.send(form);
  });
  return { done, cancel: () => request.abort() };
}

/**
 * Follow a stream of server-sent events; reconnects until it is closed.
 *
 * @param {object} options
 *   event: name of the events; onEvent(data, id); onState("connecting" | "live" | "lost").
 *   address(lastId): where to connect, given the last id seen.
 * @returns {() => void} closes it
 */
export function follow({ address, event, onEvent, onState, after = null }) {
  let source = null;
  let timer = null;
  let last = after;
  let pause = 500;

  function connect() {
    onState("connecting");
    source = new EventSource(address(last));
    source.addEventListener("open", () => {
      pause = 500;
      onState("live");
    });
    source.addEventListener(event, (message) => {
      last = message.lastEventId || last;
      onEvent(JSON.parse(message.data), last);
    });
    source.addEventListener("error", () => {
      // The browser's own retry gives up on an answer that is no stream; a restart brings those.
      source.close();
      onState("lost");
      timer = setTimeout(connect, pause);
      pause = Math.min(pause * 2, 10_000);
    });
  }

  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}

let clockAhead = 0;

/** Milliseconds since the epoch by the server's clock, to about a second. */
export const serverNow = () => Date.now() + clockAhead;

function noteServerTime(header) {
  const at = Date.parse(header ?? "");
  // The header has whole seconds: a difference below two is no difference.
  if (!Number.isNaN(at)) clockAhead = Math.abs(at - Date.now()) < 2000 ? 0 : at - Date.now();
}

function headers(method, isJson) {
  return {
    Accept: "application/json",
    ...(isJson ? { "Content-Type": "application/json" } : {}),
    ...(method !== "GET" && csrfToken !== null ? { [CSRF_HEADER]: csrfToken } : {}),
    ...(Date.now() - lastInput > UNATTENDED_AFTER_MILLISECONDS ? { "Starling-Unattended": "1" } : {}),
  };
}

export function withQuery(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined);
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`;
}

function refusal(path, status, text) {
  const answer = parsed(text) ?? {};
  if (status === 401 && !path.startsWith("/api/session/")) onSignedOut();
  const fields = Object.fromEntries(
    Object.entries(answer.errors ?? {}).map(([name, messages]) => [name, [messages].flat().join(" ")]),
  );
  return new ApiError(status, answer.detail ?? `The server answered ${status}.`, fields);
}

const isAboutToken = ({ status, message }) => status === 403 && message.includes(CSRF_HEADER);

/** What a text is in JSON; null where it is none, as a proxy in between answers. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
