/** An upload on its way: how far it is, how long it takes, and a button that cancels it. */
import * as api from "../api.js";
import { bytes, duration } from "../format.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { Button } from "./button.js";
import { Progress } from "./progress.js";

/**
 * `{state, send, cancel}`: `send(path, form)` gives the answer, or null when it was cancelled;
 * `state` is null, or what `Transfer` shows.
 */
export function useTransfer() {
  const [state, setState] = useState(null);
  const running = useRef(null);

  const cancel = () => {
    if (running.current === null) return;
    const { stop } = running.current;
    running.current = null;
    stop();
  };
  // Who leaves the page has not finished the form that the file belongs to.
  useEffect(() => cancel, []);
  const busy = state !== null;
  useEffect(() => {
    if (!busy) return undefined;
    const ask = (event) => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, [busy]);

  async function send(path, form) {
    const begun = performance.now();
    setState({ sent: 0, total: 0, seconds: 0 });
    const upload = api.upload(path, form, (sent, total) =>
      setState({ sent, total, seconds: (performance.now() - begun) / 1000 }),
    );
    const own = { stop: upload.cancel };
    running.current = own;
    try {
      return await upload.done;
    } catch (error) {
      if (running.current !== own) return null;
      throw error;
    } finally {
      if (running.current === own) running.current = null;
      setState(null);
    }
  }
  return { state, send, cancel };
}

/** `checking`: what the server does once it has everything. */
export function Transfer({ transfer, label, checking }) {
  const { sent, total, seconds } = transfer.state;
  const all = total > 0 && sent >= total;
  const left = sent > 0 && seconds > 2 ? (seconds / sent) * (total - sent) : null;
  return html`<div class="transfer stack-small">
    <${Progress} value=${sent} total=${total} label=${label} />
    <div class="spread">
      <span>
        ${all
          ? checking
          : `${bytes(sent)} of ${bytes(total)}${left === null ? "" : `, about ${duration(left)} left`}`}
      </span>
      <${Button} size="small" icon="x" onClick=${transfer.cancel}>Cancel upload<//>
    </div>
    <span class="sr-only" role="status">${all ? checking : "Uploading"}</span>
  </div>`;
}
