/** What can be done with a training: each asked for once more, each explained when it cannot be done. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { confirm } from "../../components/dialog.js";
import { toast } from "../../components/toast.js";
import { count } from "../../format.js";
import { html } from "../../html.js";
import { go } from "../../router.js";
import { isOver, isRunning } from "../../words.js";
import { closeRefusal, listed } from "./standing.js";

/** `onDone` is called after something was changed. */
export function Actions({ training, counts, isActor, me, people, onDone, onLeaving }) {
  const base = `/api/trainings/${training.id}`;

  async function ask(question, done) {
    if (await confirm(question)) {
      toast(done);
      onDone();
    }
  }

  if (!isActor) {
    const leaveIt = () => leave({ training, base, me, onLeaving });
    return html`<${Button} icon="log-out" onClick=${leaveIt}>Leave<//>`;
  }
  const { paused } = training;
  const joined = training.participants.length;
  const start = () =>
    ask(
      {
        title: "Start the training?",
        text: `${count(joined, "participant")} will be asked to train, for ${count(training.target_num_updates, "round")}.`,
        verb: "Start",
        act: () => api.post(`${base}/start/`),
      },
      "The training has started.",
    );
  const pause = () =>
    ask(
      {
        title: "Pause the training?",
        text: "Participants are asked for nothing new and the clock stops. What they deliver meanwhile is taken.",
        verb: "Pause",
        act: () => api.post(`${base}/pause/`),
      },
      "The training is paused.",
    );
  const resume = () =>
    ask(
      {
        title: "Resume the training?",
        text: "It goes on where it stopped, with the time that was left.",
        verb: "Resume",
        act: () => api.post(`${base}/resume/`),
      },
      "The training goes on.",
    );
  const closeRound = () =>
    ask(
      {
        title: training.phase === "testing" ? "End the tests?" : `Close round ${training.round}?`,
        text: closing(training, counts, people),
        verb: training.phase === "testing" ? "End the tests" : "Close the round",
        act: () => api.post(`${base}/close-round/`),
      },
      training.phase === "testing" ? "The tests are over." : "The round is closed.",
    );
  const abort = () =>
    ask(
      {
        title: "Abort the training?",
        text: "It ends here and cannot be resumed. The model stays as it is; updates of the open round are lost.",
        verb: "Abort",
        danger: true,
        act: () => api.post(`${base}/abort/`),
      },
      "The training was aborted.",
    );
  const remove = async () => {
    const deleted = await confirm({
      title: "Delete the training?",
      text: html`<p>
        ${isRunning(training) && "It runs: it is aborted, and participants are told. "}Its rounds and updates are
        deleted. The model stays among your models, and the audit log is kept.
      </p>`,
      verb: "Delete",
      danger: true,
      act: async () => {
        // What the stream says of it from here on is no news.
        onLeaving(true);
        try {
          await api.del(`${base}/`);
        } catch (refusal) {
          onLeaving(false);
          throw refusal;
        }
      },
    });
    if (deleted) {
      toast("The training was deleted.");
      go("/");
    }
  };

  return html`
    ${training.state === "I" &&
    html`<${Button}
      tone="primary"
      icon="play"
      onClick=${start}
      reason=${joined === 0 ? "Add at least one participant first." : null}
    >
      Start
    <//>`}
    ${isRunning(training) &&
    (paused
      ? html`<${Button} tone="primary" icon="play" onClick=${resume}>Resume<//>`
      : html`<${Button} icon="pause" onClick=${pause}>Pause<//>`)}
    ${isRunning(training) &&
    html`<${Button} icon="skip-forward" onClick=${closeRound} reason=${closeRefusal(training, counts)}>
        ${training.phase === "testing" ? "End tests" : "Close round"}
      <//>
      <${Button} tone="danger" icon="square" onClick=${abort}>Abort<//>`}
    <${Button} tone=${isRunning(training) ? "plain" : ""} icon="trash-2" onClick=${remove}>Delete<//>
  `;
}

function closing(training, counts, people) {
  const names = counts?.missing.map(({ id }) => people.name(id)) ?? [];
  const are = names.length === 1 ? "is" : "are";
  const without = names.length > 0 ? ` ${listed(names)} ${are} not waited for any more.` : "";
  return training.phase === "testing"
    ? `The training goes on with the test results that are there.${without}`
    : `What has been delivered is aggregated.${without} An update that comes later is refused.`;
}

async function leave({ training, base, me, onLeaving }) {
  const left = await confirm({
    title: "Leave the training?",
    text: isOver(training)
      ? "You will not see this training and its model any more."
      : "You are asked for nothing any more. What you delivered to the open round stays in it. Only the actor can add you again.",
    verb: "Leave",
    danger: true,
    act: async () => {
      onLeaving(true);
      try {
        await api.del(`${base}/clients/`, { clients: [me] });
      } catch (refusal) {
        onLeaving(false);
        throw refusal;
      }
    },
  });
  if (left) {
    toast("You have left the training.");
    go("/");
  }
}

/** Ask, then end somebody's participation. */
export async function removeParticipant(training, id, name, onDone) {
  const removed = await confirm({
    title: `Remove ${name}?`,
    text: isRunning(training)
      ? `What ${name} has delivered in the open round stays in it. If the round waits for ${name} only, it goes on.`
      : `${name} does not take part any more, and does not see this training and its model.`,
    verb: "Remove",
    danger: true,
    act: () => api.del(`/api/trainings/${training.id}/clients/`, { clients: [id] }),
  });
  if (removed) {
    toast(`${name} was removed.`);
    onDone();
  }
}
