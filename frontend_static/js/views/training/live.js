/** A training that is watched: what the page shows, kept up to date by the training's audit stream. */
import * as api from "../../api.js";
import { personName, short } from "../../format.js";
import { useCallback, useEffect, useMemo, useRef, useState } from "../../html.js";
import { useResource } from "../../resource.js";

const PAGE_SIZE = 50;
// Of what comes while the page is open; who has loaded more keeps more.
const MOST_EVENTS = 500;
const FIRST_MILLISECONDS = 100;
const REST_MILLISECONDS = 300;
// Of the time that passes with many events, a page that is slow to load takes a quarter.
const REST_FACTOR = 3;
const BOARD_EVERY_MILLISECONDS = 10_000;
// The server ends every stream after some minutes, and it is back at once: nothing to tell of.
const LOST_AFTER_MILLISECONDS = 2000;
const NOBODY = [];
const ALL = ["training", "participants", "rounds", "metrics"];

/** What an event of a kind changes, besides the training and its participants. */
const TOUCHES = {
  update_accepted: ["rounds", "metrics"],
  test_reported: ["metrics"],
  round_aggregated: ["rounds", "metrics"],
};

/**
 * Everything about the training `id`, which exists and which the caller may see.
 *
 * @param {() => Promise<void>} reloadTraining
 * @param {(event: object) => void} onDeleted the training was deleted
 */
export function useWatched(id, reloadTraining, onDeleted) {
  const base = `/api/trainings/${id}`;
  const participants = useResource((signal) => api.get(`${base}/participants/`, { signal }), [id]);
  const metrics = useResource((signal) => api.get(`${base}/metrics/`, { signal }), [id]);
  const rounds = useRounds(id);

  const touch = useTurns({
    training: reloadTraining,
    participants: participants.reload,
    rounds: rounds.reload,
    metrics: metrics.reload,
  });
  const touchAll = useCallback(() => touch(ALL), [touch]);

  const log = useLog(id, {
    onEvent(event) {
      if (event.kind === "training_deleted") onDeleted(event);
      else touch(["training", "participants", ...(TOUCHES[event.kind] ?? ["rounds"])]);
    },
    onBack: touchAll,
    // Perhaps it is not the server that is gone, but our right to see this training.
    onLost: useCallback(() => touch(["training"]), [touch]),
  });

  useEffect(() => {
    if (log.link !== "live") return undefined;
    const timer = setInterval(() => {
      if (!document.hidden) touch(["participants"]);
    }, BOARD_EVERY_MILLISECONDS);
    return () => clearInterval(timer);
  }, [log.link, touch]);

  return { participants, metrics, rounds, log, touchAll };
}

/** Rounds, of which only those that can have changed are loaded again. */
function useRounds(id) {
  const known = useRef([]);
  return useResource(
    async (signal) => {
      const open = known.current.find((round) => round.phase !== "closed");
      const since = open?.index ?? known.current.length;
      const fresh = await api.get(`/api/trainings/${id}/rounds/`, { query: { since }, signal });
      known.current = [...known.current.filter(({ index }) => index < since), ...fresh];
      return known.current;
    },
    [id],
  );
}

/**
 * `touch(names)`: reload these, soon. However many events there are, nothing is loaded twice at a
 * time, and what is on its way is not cut off.
 */
function useTurns(reloads) {
  const current = useRef(reloads);
  current.current = reloads;
  const turn = useRef({ wanted: new Set(), timer: null, ended: false });

  const touch = useCallback((names) => {
    for (const name of names) turn.current.wanted.add(name);
    // The first is soon; what follows waits for its turn.
    if (turn.current.timer === null) turn.current.timer = setTimeout(take, FIRST_MILLISECONDS);

    async function take() {
      const { wanted } = turn.current;
      if (wanted.size === 0) {
        turn.current.timer = null;
        return;
      }
      turn.current.wanted = new Set();
      const began = performance.now();
      await Promise.all([...wanted].map((name) => current.current[name]()));
      if (turn.current.ended) return;
      const rest = Math.max(REST_MILLISECONDS, REST_FACTOR * (performance.now() - began));
      turn.current.timer = setTimeout(take, rest);
    }
  }, []);

  useEffect(() => {
    turn.current.ended = false;
    return () => {
      turn.current.ended = true;
      clearTimeout(turn.current.timer);
    };
  }, []);
  return touch;
}

/**
 * The audit log, newest first, and what is added to it: `{events, error, link, loadOlder, hasOlder, retry}`.
 *
 * `link`: "connecting", "live" or "lost".
 */
export function useLog(id, { onEvent = () => {}, onBack = () => {}, onLost = () => {} } = {}) {
  const path = `/api/trainings/${id}/audit/`;
  const [events, setEvents] = useState(undefined);
  const [error, setError] = useState(null);
  /** Id of the very first event; undefined while it is not known. */
  const [first, setFirst] = useState(undefined);
  const most = useRef(MOST_EVENTS);
  const [link, setLink] = useState("connecting");
  const [attempt, setAttempt] = useState(0);
  const listeners = useRef(null);
  listeners.current = { onEvent, onBack, onLost };

  useEffect(() => {
    const controller = new AbortController();
    let close = () => {};
    const lost = { timer: null, told: false };

    function listen(after) {
      close = api.follow({
        address: (last) => api.withQuery(path, { after: last }),
        event: "audit",
        after,
        onEvent(event) {
          setEvents((was) =>
            was.length && was[0].id >= event.id ? was : [event, ...was].slice(0, most.current),
          );
          listeners.current.onEvent(event);
          if (event.kind === "training_deleted") close();
        },
        onState(state) {
          if (state === "live") {
            clearTimeout(lost.timer);
            lost.timer = null;
            setLink("live");
            if (lost.told) listeners.current.onBack();
            lost.told = false;
          } else if (state === "lost" && lost.timer === null) {
            lost.timer = setTimeout(() => {
              lost.timer = null;
              lost.told = true;
              setLink("lost");
              listeners.current.onLost();
              mayStill();
            }, LOST_AFTER_MILLISECONDS);
          }
        },
      });
    }

    // Perhaps it is not the server that is gone, but our right to see this; a stream does not say.
    async function mayStill() {
      try {
        await api.get(path, { query: { newest: true, limit: 1 }, signal: controller.signal });
      } catch (refusal) {
        if (refusal.name === "AbortError" || refusal.status === 0 || refusal.status >= 500) return;
        close();
        setError(refusal);
      }
    }

    setError(null);
    api
      .get(path, { query: { newest: true, limit: PAGE_SIZE }, signal: controller.signal })
      .then((page) => {
        setEvents(page);
        if (page.length < PAGE_SIZE) setFirst(page.at(-1)?.id);
        listen(page[0]?.id ?? 0);
      })
      .catch((refusal) => {
        if (refusal.name !== "AbortError") setError(refusal);
      });
    return () => {
      controller.abort();
      clearTimeout(lost.timer);
      close();
    };
  }, [id, attempt]);

  async function loadOlder() {
    const before = events.at(-1).id;
    most.current = Math.max(most.current, events.length + 2 * PAGE_SIZE);
    const page = await api.get(path, { query: { newest: true, before, limit: PAGE_SIZE } });
    // What came meanwhile may have pushed out what the page goes on from.
    setEvents((was) => (was.at(-1).id === before ? [...was, ...page] : was));
    if (page.length < PAGE_SIZE) setFirst(page.at(-1)?.id ?? before);
  }
  const hasOlder = events !== undefined && events.length > 0 && events.at(-1).id !== first;

  return { events, error, link, hasOlder, loadOlder, retry: () => setAttempt((n) => n + 1) };
}

/**
 * Names of people: `{all, name(id), isMe(id)}`.
 *
 * @param {object[]} board participants, who may have registered after the list of people was loaded
 */
export function usePeople(me, board) {
  const people = useResource((signal) => api.get("/api/users/", { signal }), []);
  const all = people.data ?? NOBODY;
  const known = useMemo(() => new Map(all.map((user) => [user.id, personName(user)])), [all]);
  const strangers = board.filter(({ id }) => !known.has(id));
  return useMemo(() => {
    const names = new Map([...known, ...strangers.map(({ id, username }) => [id, username])]);
    return {
      all,
      name: (id) => names.get(id) ?? `somebody (${short(id)})`,
      isMe: (id) => id === me,
    };
    // The board is another one every few seconds; the names seldom are.
  }, [known, strangers.map(({ id }) => id).join(), me]);
}
