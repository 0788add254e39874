/** How a training stands, in words. Pure. */
import { count, duration } from "../../format.js";
import { isOver } from "../../words.js";

/** Rounds that are over, with the part of the open one that is there. */
export function roundsDone(training) {
  const { state, round, target_num_updates: target } = training;
  if (state === "C") return target;
  if (state === "I") return 0;
  const { phase, local_models_arrived: arrived, local_models_expected: expected } = training;
  const part = phase === "collecting" && expected > 0 ? arrived / expected : phase === null ? 0 : 1;
  return Math.min(target, round + (isOver(training) ? 0 : part));
}

/** "Round 3 of 6". */
export function roundTitle({ state, round, target_num_updates: target }) {
  if (state === "I" || state === "C") return count(target, "round");
  return `${state === "E" ? "Stopped in round" : "Round"} ${Math.min(round + 1, target)} of ${target}`;
}

/** What it waits for: `{sentence, tone}`; `now` in milliseconds. */
export function standing(training, now) {
  const { state, paused, role, participants, error } = training;
  if (state === "E") return { sentence: error ?? "It ended before its last round.", tone: "bad" };
  if (state === "C") return { sentence: count(participants.length, "participant"), tone: "" };
  if (state === "I") return { sentence: beforeStart(training), tone: "" };
  const waiting = role === "actor" ? forEverybody(training) : forMe(training);
  const left = timeLeft(training, now);
  return {
    sentence: [paused ? "Nothing is accepted until it goes on." : waiting, !paused && left]
      .filter(Boolean)
      .join(" "),
    tone: "",
  };
}

function beforeStart({ role, participants }) {
  if (role === "participant") return "It has not begun; there is nothing to do yet.";
  return participants.length === 0
    ? "Add participants, then start it."
    : `${count(participants.length, "participant")} ready to be started.`;
}

function forEverybody(training) {
  const { phase, missing_count: missing, local_models_expected: expected } = training;
  if (phase === "aggregating" || phase === "aggregating_moments") return "Aggregating.";
  if (missing === 0) return "Everything is in.";
  if (phase === "collecting") return `Waiting for ${missing} of ${count(expected, "participant")}.`;
  if (phase === "testing") return `Waiting for the tests of ${count(missing, "participant")}.`;
  return `Waiting for the moments of ${count(missing, "participant")}.`;
}

function forMe({ phase, missing_count: missing }) {
  if (missing === 0) return "Nothing is waited for from you.";
  return (
    {
      collecting: "Waiting for your update.",
      testing: "Waiting for your test of the new model.",
    }[phase] ?? "Waiting for your moments."
  );
}

function timeLeft({ deadline_at: deadline }, now) {
  if (!deadline) return "";
  const seconds = (Date.parse(deadline) - now) / 1000;
  return seconds > 0 ? `${duration(seconds)} left.` : "The deadline is over.";
}
