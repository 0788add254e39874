/** What a page loads: keeps the last answer while a new one is on its way. */
import * as api from "./api.js";
import { useCallback, useEffect, useMemo, useRef, useState } from "./html.js";

const NOTHING_YET = { data: undefined, error: null };

/**
 * `{data, error, reload, set}`; `data` is undefined until the first answer.
 *
 * @param {(signal: AbortSignal) => Promise<any>} load
 * @param {any[]} inputs what `load` depends on; a change starts anew
 * @param {{every?: number}} options `every`: reload after so many milliseconds, while the page is visible
 */
export function useResource(load, inputs, { every = null } = {}) {
  const [state, setState] = useState(NOTHING_YET);
  const running = useRef(null);
  const waiting = useRef(false);

  const reload = useCallback(async () => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    waiting.current = true;
    try {
      const data = await load(controller.signal);
      if (running.current === controller) setState({ data, error: null });
    } catch (error) {
      if (error.name === "AbortError" || running.current !== controller) return;
      setState(({ data }) => ({ data, error }));
    } finally {
      if (running.current === controller) waiting.current = false;
    }
  }, inputs);

  useEffect(() => {
    setState(NOTHING_YET);
    reload();
    return () => {
      running.current?.abort();
      running.current = null;
    };
  }, inputs);

  useEffect(() => {
    if (every === null) return undefined;
    const renew = () => {
      // An answer that takes longer than the interval would never come if each asked anew.
      if (!document.hidden && !waiting.current) reload();
    };
    const timer = setInterval(renew, every);
    document.addEventListener("visibilitychange", renew);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", renew);
    };
  }, [reload, every]);

  const set = useCallback((data) => setState({ data, error: null }), []);
  return useMemo(() => ({ ...state, reload, set }), [state, reload]);
}

const NEW_USERS_EVERY_MILLISECONDS = 10_000;

/** All users; `chosenFrom`: whoever is missing is asked to register, and does so while one waits. */
export function useUsers(chosenFrom) {
  const every = chosenFrom ? NEW_USERS_EVERY_MILLISECONDS : null;
  const users = useResource((signal) => api.get("/api/users/", { signal }), [], { every });
  useEffect(() => {
    if (chosenFrom && users.data !== undefined) users.reload();
  }, [chosenFrom]);
  return users;
}

/** The time by `now()`, anew every `milliseconds`. */
export function useClock(now, milliseconds = 1000) {
  const [at, setAt] = useState(now);
  useEffect(() => {
    const timer = setInterval(() => setAt(now()), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
  return at;
}
