/** Events of the audit log as sentences for people. Pure. */
import { count, dateTime } from "../../format.js";
import { listed } from "./standing.js";

/** Groups to filter by: label, icon, kinds. */
export const GROUPS = {
  training: {
    label: "Start, pause and end",
    icon: "play",
    kinds: [
      "training_created",
      "training_started",
      "training_paused",
      "training_resumed",
      "training_completed",
      "training_failed",
      "training_aborted",
      "training_deleted",
    ],
  },
  rounds: {
    label: "Rounds",
    icon: "layers",
    kinds: [
      "round_opened",
      "cohort_redrawn",
      "round_extended",
      "round_closed",
      "round_aggregated",
      "round_handed_on",
      "moments_closed",
      "moments_aggregated",
      "tests_closed",
    ],
  },
  deliveries: { label: "Updates and SWAG moments", icon: "upload", kinds: ["update_accepted", "moments_accepted"] },
  tests: { label: "Test results", icon: "chart-line", kinds: ["test_reported"] },
  people: {
    label: "Participants",
    icon: "users",
    kinds: ["participants_registered", "participants_removed"],
  },
  deletions: {
    label: "Deletions",
    icon: "trash-2",
    kinds: ["update_deleted", "updates_deleted", "versions_deleted"],
  },
};

const GROUP_OF = new Map(
  Object.entries(GROUPS).flatMap(([group, { kinds }]) => kinds.map((kind) => [kind, group])),
);

/** The group of a kind; a kind that is newer than this page counts to the training. */
export const groupOf = (kind) => GROUP_OF.get(kind) ?? "training";

/**
 * What happened.
 *
 * @param {object} event as the audit log has it; what it says about others is missing where `redacted`
 * @param {{name(id): string, isMe(id): boolean}} people
 */
export function sentence(event, people) {
  const { kind, round, details, redacted } = event;
  const mine = people.isMe(event.who);
  const who = event.who === null ? "The server" : mine ? "You" : people.name(event.who);
  const whose = mine ? "Your" : `${who}'s`;
  const names = (ids) => listed((ids ?? []).map((id) => (people.isMe(id) ? "you" : people.name(id))));
  const until = details.deadline_at ? ` until ${dateTime(details.deadline_at)}` : "";

  switch (kind) {
    case "training_created":
      if (redacted) return `${who} created the training`;
      return `${who} created the training ${
        details.participants?.length ? `with ${count(details.participants.length, "participant")}` : "without participants yet"
      }`;
    case "training_started":
    case "training_paused":
    case "training_resumed":
    case "training_aborted":
    case "training_deleted":
      return `${who} ${kind.slice("training_".length)} the training`;
    case "training_completed":
      return "The training is complete";
    case "training_failed":
      return `The training ended early: ${details.reason}`;
    case "participants_registered":
      return details.users?.length ? `${who} added ${names(details.users)}` : `${who} added participants`;
    case "participants_removed":
      return removal(details, who, names);
    case "round_opened":
      return `Round ${round} began${
        details.cohort && !redacted ? ` with ${count(details.cohort.length, "drawn participant")}` : ""
      }${until && `, open${until}`}`;
    case "cohort_redrawn":
      return `Others were drawn for round ${round}: all who had been drawn left`;
    case "round_extended":
      return details.reason
        ? `Round ${round} was given time${until}: ${details.reason}`
        : `Round ${round} was given more time${until}: ${details.delivered} of at least ${details.needed} had delivered`;
    case "round_closed":
      return closing(details, who, names, {
        complete: `Every update of round ${round} is in`,
        what: `round ${round}`,
      });
    case "moments_closed":
      return closing(details, who, names, {
        complete: `All SWAG moments of round ${round} are in`,
        what: `the SWAG moments of round ${round}`,
      });
    case "tests_closed":
      return closing(details, who, names, {
        complete: `Every test of round ${round} is in`,
        what: `the tests of round ${round}`,
      });
    case "round_aggregated":
      return redacted
        ? `The updates of round ${round} were combined into a new global model`
        : `${count(details.updates?.length ?? 0, "update")} of round ${round} gave a new global model`;
    case "round_handed_on":
      return `After round ${round}, each participant was handed another's model to go on with`;
    case "update_accepted":
      return `${whose} update for round ${round} was accepted (${count(details.sample_size, "sample")})`;
    case "moments_accepted":
      return `${whose} SWAG moments for round ${round} were accepted`;
    case "moments_aggregated":
      return `The SWAG moments of round ${round} were combined`;
    case "test_reported":
      return `${who} reported ${listed(details.metrics ?? [], 4) || "metrics"} of the model ${
        details.model_round === 0 ? "as it was at the start" : `after ${count(details.model_round, "round")}`
      }`;
    case "update_deleted":
      return `${who} deleted an update of round ${round}`;
    case "updates_deleted":
      return `The files of updates up to round ${details.through_round} were deleted, as set up`;
    case "versions_deleted":
      return `${count(details.rounds?.length ?? 0, "old model version")} ${
        details.rounds?.length === 1 ? "was" : "were"
      } deleted, as set up`;
    default:
      return kind.replaceAll("_", " ");
  }
}

function removal({ users, reason }, who, names) {
  if (reason === "left") return `${who} left the training`;
  if (reason === "missed the round") {
    return `${names(users) || "Others"} missed a deadline and take part no more`;
  }
  return `${who} removed ${names(users) || "participants"}`;
}

function closing({ reason, missing }, who, names, { complete, what }) {
  if (reason === "complete") return complete;
  const without = missing?.length ? ` without ${names(missing)}` : "";
  return reason === "deadline"
    ? `The deadline closed ${what}${without}`
    : `${who} closed ${what}${without}`;
}
