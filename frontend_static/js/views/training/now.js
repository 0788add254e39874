/** What happens in a training now: progress, phase, deadline, and what is missing. */
import { serverNow } from "../../api.js";
import { Button, LinkButton } from "../../components/button.js";
import { Icon } from "../../components/icon.js";
import { Progress } from "../../components/progress.js";
import { Notice } from "../../components/states.js";
import { count, dateTime, duration, number } from "../../format.js";
import { html } from "../../html.js";
import { useClock } from "../../resource.js";
import { isRunning } from "../../words.js";
import { happening, listed, phasesOf, quorumOf, roundsDone, WAITING } from "./standing.js";

export function Now(props) {
  const { training } = props;
  if (training.state === "I") return html`<${NotStarted} ...${props} />`;
  if (isRunning(training)) return html`<${Running} ...${props} />`;
  return html`<${Over} ...${props} />`;
}

function Running({ training, counts, rounds, people, isActor, board, me }) {
  const done = roundsDone(training);
  const round = rounds.at(-1);
  const mine = isActor ? null : board.find(({ id }) => id === me);
  return html`<section class="panel now" aria-labelledby="now-title">
    <div class="now-main">
      <div class="stack-small">
        <h2 id="now-title">
          ${training.paused ? "Paused" : `Round ${training.round}`}
          <span class="quiet"> · ${done} of ${count(training.target_num_updates, "round")} done</span>
        </h2>
        <${Progress}
          value=${done}
          total=${training.target_num_updates}
          label=${`${done} of ${training.target_num_updates} rounds done`}
        />
      </div>
      <div class="stack-small">
        <p class="now-sentence" role="status">
          ${training.paused && "Nothing new is asked of participants. "}${happening(training, counts)}
        </p>
        ${counts !== null &&
        WAITING.has(training.phase) &&
        html`<${Progress}
            tone="good"
            value=${counts.delivered}
            total=${counts.expected}
            label=${`${counts.delivered} of ${counts.expected} have delivered`}
          />
          ${counts.missing.length > 0 &&
          html`<p class="quiet">
            Missing: ${listed(counts.missing.map(({ id }) => people.name(id)), 5)}
          </p>`}`}
        ${mine && html`<p><${Mine} mine=${mine} training=${training} /></p>`}
      </div>
      <${Phases} training=${training} />
    </div>
    <${Deadline} training=${training} counts=${counts} extended=${round?.extended ?? false} />
  </section>`;
}

function Mine({ mine, training }) {
  if (!mine.expected) return html`<${Icon} name="info" /> You were not drawn for this round.`;
  if (mine.delivered) return html`<${Icon} name="circle-check" /> You have delivered. Nothing to do for now.`;
  if (!WAITING.has(training.phase)) return null;
  return html`<${Icon} name="clock" /> <strong>You are awaited:</strong> your client has not delivered yet.`;
}

function Phases({ training }) {
  const phases = phasesOf(training);
  const at = phases.findIndex(([phase]) => phase === training.phase);
  return html`<ol class="phases" aria-label="Phases of this round">
    ${phases.map(
      ([phase, label], index) => html`<li
        key=${phase}
        class=${index < at ? "is-done" : ""}
        aria-current=${index === at ? "step" : undefined}
      >
        <${Icon} name=${index < at ? "circle-check" : index === at ? "activity" : "circle"} size=${14} />
        ${label}
        ${index < at && html`<span class="sr-only">(done)</span>`}
      </li>`,
    )}
  </ol>`;
}

function Deadline({ training, counts, extended }) {
  const now = useClock(serverNow);
  const at = training.deadline_at;
  const expected = counts?.expected ?? training.local_models_expected;
  const { quorum } = training.options;
  const collects = training.phase === "collecting" || training.phase === "collecting_moments";
  let figure = "No deadline";
  let note = WAITING.has(training.phase) ? "It waits until everybody has delivered." : "Nobody is waited for.";
  if (training.paused) {
    const { round_deadline_seconds: forRound, test_deadline_seconds: forTest } = training.options;
    const limited = (training.phase === "testing" ? forTest : forRound) != null;
    figure = limited ? "Clock stopped" : "No deadline";
    note = limited ? "What is left of it counts on after the pause." : "It waits until it is resumed.";
  } else if (at !== null) {
    const left = (Date.parse(at) - now) / 1000;
    figure = left > 0 ? duration(Math.max(1, left)) : "Due";
    note = left > 0 ? `until ${dateTime(at)}` : "The deadline has passed; the server closes the round.";
  }
  return html`<aside class="now-deadline" aria-label="Time left">
    <span class="quiet">Time left</span>
    <strong>${figure}</strong>
    <p class="quiet">${note}</p>
    ${at !== null &&
    collects &&
    html`<p class="quiet">
      ${quorum == null
        ? "Without everybody by then, the round gets the same time again, once; then the training ends."
        : `${number(quorumOf(quorum, expected))} of ${number(expected)} are enough then.`}
      ${extended && " It has been extended once already."}
    </p>`}
  </aside>`;
}

function NotStarted({ training, isActor, onAdd, board }) {
  const joined = isActor ? board.length : training.participants.length;
  if (!isActor) {
    return html`<${Notice} tone="active">
      Not started yet: the actor starts it. Your client will be told when your first update is wanted.
    <//>`;
  }
  const steps = [
    [true, "The model is there", "Its starting weights are what participants train first."],
    [
      joined > 0,
      joined > 0 ? `${count(joined, "participant")} registered` : "Add at least one participant",
      "They need not be online yet: each is told when their client asks.",
    ],
    [false, "Start it", `${count(training.target_num_updates, "round")} of local training and aggregation follow.`],
  ];
  return html`<section class="panel" aria-labelledby="now-title">
    <header><h2 id="now-title">Before it runs</h2></header>
    <ol class="panel-body checklist">
      ${steps.map(
        ([isDone, title, text]) => html`<li class=${isDone ? "is-done" : ""}>
          <${Icon} name=${isDone ? "circle-check" : "circle"} size=${18} label=${isDone ? "Done" : "To do"} />
          <div>
            <strong>${title}</strong>
            <p class="quiet">${text}</p>
          </div>
        </li>`,
      )}
    </ol>
    ${joined === 0 &&
    html`<div class="panel-foot">
      <${Button} icon="user-plus" onClick=${onAdd}>Add participants<//>
    </div>`}
  </section>`;
}

function Over({ training, rounds, metrics, isActor }) {
  const aggregated = rounds.filter((round) => round.aggregated_at !== null);
  const seconds =
    aggregated.length > 0
      ? (Date.parse(aggregated.at(-1).aggregated_at) - Date.parse(rounds[0].opened_at)) / 1000
      : null;
  const last = lastOf(metrics);
  const model = html`<div class="row">
    <${LinkButton} to="/try" query=${{ model: training.model }} tone="primary" icon="sparkles">
      Try the model
    <//>
    <a class="button" href=${`/api/models/${training.model}/`} download=${`${training.name}.pt`}>
      <${Icon} name="download" />Download the model
    </a>
    <${LinkButton} to=${`/models/${training.model}`} icon="box">Its versions<//>
  </div>`;
  if (training.state === "E") {
    return html`<${Notice} tone="bad">
      <div class="stack-small">
        <p><strong>Ended early.</strong> ${training.error ?? "No reason was recorded."}</p>
        <p>
          ${aggregated.length > 0
            ? `The model is as it was after ${count(aggregated.length, "aggregation")}; nothing of it is lost.`
            : "Nothing was aggregated: the model is as it was at the start."}
          ${isActor && " A new training can go on from this model."}
        </p>
        ${model}
      </div>
    <//>`;
  }
  return html`<section class="panel" aria-labelledby="now-title">
    <div class="panel-body over">
      <div class="stack-small">
        <h2 id="now-title"><${Icon} name="circle-check" class="is-good" /> The trained model is ready</h2>
        <p class="quiet">
          ${count(training.target_num_updates, "round")}${last &&
          `; ${last.key} ${number(last.value)} in the last test`}${seconds !== null &&
          `; took ${duration(seconds)}`}.
        </p>
      </div>
      ${model}
    </div>
  </section>`;
}

/** The last global value of the main metric: `{key, value}` or null. */
function lastOf(metrics) {
  const main = metrics?.series.find(
    ({ key, kind, reporter }) => key === metrics.main && kind === "test" && reporter === null,
  );
  const point = main?.points.filter(([, value]) => value !== null).at(-1);
  return point ? { key: main.key, value: point[1] } : null;
}
