/** Asking, and asking again. */
import { useEffect, useRef, useState } from "../../html.js";
import { ask } from "./asking.js";

/** Long enough not to ask for every point of a stroke or slider, short enough to feel at once. */
const SETTLED_MILLISECONDS = 300;

/**
 * Asks when told to and, once there was an answer, whenever what would be asked changes.
 *
 * @param {object} question `{variants, requests}`; no requests: there is nothing to ask
 * @param {boolean} live ask again by itself
 * @returns `{asked, error, running, now, isCurrent}`
 */
export function useAsking({ variants, requests }, live) {
  const [state, setState] = useState({ asked: null, error: null, running: false, of: null });
  const current = useRef(null);

  async function now() {
    if (requests.length === 0) return;
    current.current?.abort();
    const controller = new AbortController();
    current.current = controller;
    setState((was) => ({ ...was, running: true }));
    try {
      const readings = await ask(requests, controller.signal);
      setState({ asked: { variants, readings }, error: null, running: false, of: requests });
    } catch (error) {
      if (error.name === "AbortError") return;
      setState({ asked: null, error, running: false, of: requests });
    }
  }

  // What was refused is not sent again unasked: most likely it would be refused again.
  const follows = live && state.asked !== null;
  useEffect(() => {
    if (!follows || requests.length === 0 || state.of === requests) return undefined;
    const timer = setTimeout(now, SETTLED_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [requests, follows]);
  useEffect(() => () => current.current?.abort(), []);

  return { ...state, now, isCurrent: state.of === requests };
}
