/** Where a training stands, what it waits for, and what can be done now. Pure. */
import { count } from "../../format.js";
import { shareOf } from "../../shares.js";
import { isRunning } from "../../words.js";

export const WAITING = new Set(["collecting", "collecting_moments", "testing"]);

/** The phases that a round of this training goes through: `[phase, label]`, in order. */
export function phasesOf(training) {
  const moments = training.uncertainty_method === "SWAG";
  const lastOnly = training.options.model_test_after_each_round === false;
  const last = training.round + 1 >= training.target_num_updates;
  const tests = !training.options.skip_model_tests && (!lastOnly || last);
  const period = training.options.daisy_chain_period ?? 1;
  // FedDC hands models on in most rounds; these have nothing to aggregate.
  const aggregates = (training.round + 1) % period === 0 || last;
  return [
    ["collecting", "Local training"],
    ...(aggregates ? [["aggregating", "Aggregation"]] : []),
    ...(aggregates && moments
      ? [
          ["collecting_moments", "SWAG moments"],
          ["aggregating_moments", "SWAG aggregation"],
        ]
      : []),
    ...(aggregates && tests ? [["testing", "Test"]] : []),
  ];
}

/** How many rounds are behind us. */
export const roundsDone = (training) =>
  training.state === "C" ? training.target_num_updates : training.round;

/**
 * How the deliveries of the open phase stand: `{expected, delivered, missing}`, or null where that is
 * not known: a participant sees only themselves on the board.
 */
export function deliveries(training, board, rounds, isActor) {
  if (!isRunning(training)) return null;
  if (isActor) {
    const expected = board.filter((one) => one.expected);
    return {
      expected: expected.length,
      delivered: expected.filter((one) => one.delivered).length,
      missing: expected.filter((one) => !one.delivered),
    };
  }
  if (training.phase !== "collecting") return null;
  const delivered = rounds.at(-1)?.delivered ?? training.local_models_arrived;
  return { expected: training.local_models_expected, delivered, missing: [] };
}

/** What happens now, as a sentence. */
export function happening(training, counts) {
  const waiting = counts && counts.expected - counts.delivered;
  const of = counts && `${waiting} of ${count(counts.expected, "participant")}`;
  switch (training.phase) {
    case "collecting":
      if (!counts) return "Participants train on their own data";
      return waiting === 0 ? "All updates are in" : `Waiting for updates from ${of}`;
    case "aggregating":
      return "Combining the updates into a new global model";
    case "collecting_moments":
      if (!counts) return "Participants send the spread of their weights";
      return waiting === 0 ? "All SWAG moments are in" : `Waiting for SWAG moments from ${of}`;
    case "aggregating_moments":
      return "Combining the SWAG moments";
    case "testing":
      if (!counts) return "Participants test the new global model";
      return waiting === 0 ? "All tests are in" : `Waiting for test results from ${of}`;
    default:
      return "Going on to the next round";
  }
}

/** How many deliveries are enough at the deadline. */
export function quorumOf(quorum, expected) {
  return quorum === undefined || quorum === null ? Math.max(1, expected) : shareOf(quorum, expected);
}

/** Why the round cannot be closed now; null: it can. */
export function closeRefusal(training, counts) {
  if (!WAITING.has(training.phase)) return "The server is at work: it waits for no participant now.";
  if (training.phase === "testing" || counts === null) return null;
  const { quorum } = training.options;
  const least = quorum === undefined || quorum === null ? 1 : quorumOf(quorum, counts.expected);
  if (counts.delivered >= least) return null;
  return counts.delivered === 0 && least === 1
    ? "Nobody has delivered yet: there is nothing to aggregate."
    : `${counts.delivered} of at least ${least} (the quorum) have delivered. Wait for more, or abort.`;
}

/** A participant's standing: label, tone and icon of the badge. */
export function standing(training, one) {
  if (!isRunning(training)) return { label: "Registered", tone: "quiet", icon: "user" };
  if (!one.expected) return { label: "Not drawn", tone: "quiet", icon: "circle" };
  if (one.delivered) return { label: "Delivered", tone: "good", icon: "circle-check" };
  if (one.unreachable) return { label: "Unreachable", tone: "bad", icon: "wifi-off" };
  if (WAITING.has(training.phase)) return { label: "Waiting", tone: "warn", icon: "clock" };
  return { label: "Missed", tone: "quiet", icon: "circle-x" };
}

/** "Ada", "Ada and Bo", "Ada, Bo and 3 more". */
export function listed(names, most = 3) {
  if (names.length <= 1) return names.join("");
  const shown = names.length > most ? names.slice(0, most - 1) : names.slice(0, -1);
  const rest = names.length - shown.length;
  return `${shown.join(", ")} and ${rest === 1 ? names.at(-1) : `${rest} more`}`;
}
