/** A training, live: how far it is, who is awaited, how good the model is, what happened. */
import * as api from "../api.js";
import { Badge, TrainingBadge } from "../components/badge.js";
import { Button, LinkButton } from "../components/button.js";
import { Icon } from "../components/icon.js";
import { PageHead } from "../components/page_head.js";
import { Empty, Loading, Notice } from "../components/states.js";
import { Tabs } from "../components/tabs.js";
import { count } from "../format.js";
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../html.js";
import { useResource } from "../resource.js";
import { setQuery } from "../router.js";
import { session } from "../session.js";
import { AGGREGATION } from "../words.js";
import { Actions, removeParticipant } from "./training/actions.js";
import { AddParticipants } from "./training/add_participants.js";
import { Board } from "./training/board.js";
import { useLog, usePeople, useWatched } from "./training/live.js";
import { Metrics } from "./training/metrics.js";
import { Now } from "./training/now.js";
import { outliers } from "./training/outliers.js";
import { Rounds } from "./training/rounds.js";
import { Setup } from "./training/setup.js";
import { deliveries } from "./training/standing.js";
import { Timeline } from "./training/timeline.js";

const NOBODY = [];

export default function Training({ params, query }) {
  const { id } = params;
  const isIn = useRef(false);
  const training = useResource((signal) => load(id, isIn, signal), [id]);
  const [deleted, setDeleted] = useState(null);
  const { data, error } = training;

  if (deleted !== null) return html`<${Deleted} training=${data} />`;
  if (isMissing(error)) {
    return data === undefined ? html`<${Missing} />` : html`<${Deleted} training=${data} />`;
  }
  if (error?.status === 403) return html`<${NotYours} was=${data !== undefined} />`;
  if (data === undefined) {
    return html`<${PageHead} title="Training" />
      ${error === null
        ? html`<div class="panel"><${Loading} lines=${8} label="Loading the training" /></div>`
        : html`<${Notice} tone="bad" action=${html`<${Button} onClick=${training.reload}>Try again<//>`}>
            ${error.message}
          <//>`}`;
  }
  if (data.outside) return html`<${LogOnly} id=${id} />`;
  return html`<${Watched} training=${data} query=${query} reload=${training.reload} onDeleted=${setDeleted} />`;
}

/** The contract answers 400 where an id names nothing. */
const isMissing = (error) => error?.status === 400 || error?.status === 404;

/**
 * The training; for a superuser who has no part in it `{outside: true}`, for they may read its log.
 *
 * @param {{current: boolean}} isIn whether it was seen that the caller has a part in it: all of a
 *   superuser's trainings are asked for once, and not again whenever something happens in this one
 */
async function load(id, isIn, signal) {
  if (session.value.superuser && !isIn.current) {
    const joined = await api.get("/api/users/trainings/", { signal });
    if (!joined.some((training) => training.id === id)) return { outside: true };
    isIn.current = true;
  }
  return api.get(`/api/trainings/${encodeURIComponent(id)}/`, { signal });
}

function Watched({ training, query, reload, onDeleted }) {
  const me = session.value.user.id;
  const isActor = training.actor === me;
  const [leaving, setLeaving] = useState(false);
  const [adding, setAdding] = useState(false);
  const [chosen, setChosen] = useState(new Set());
  const [round, setRound] = useState(null);
  const arriving = useRef(false);

  const { participants, metrics, rounds, log, touchAll } = useWatched(
    training.id,
    reload,
    (event) => !leaving && onDeleted(event),
  );
  const board = participants.data ?? NOBODY;
  const people = usePeople(me, board);
  const course = rounds.data ?? NOBODY;
  const counts = deliveries(training, board, course, isActor);
  const { findings, marks } = useMemo(() => compare(course), [course]);

  useEffect(() => {
    document.title = `${training.name} · Starling`;
  }, [training.name]);

  const choose = useCallback(
    (id, yes) =>
      setChosen((was) => {
        const now = new Set(was);
        if (yes) now.add(id);
        else now.delete(id);
        return now;
      }),
    [],
  );
  const showRound = useCallback((index) => {
    arriving.current = true;
    setRound(index);
    setQuery({ tab: "rounds" });
  }, []);
  // Who just left, or deleted it, is on the way to another page: nothing here is theirs to load.
  if (leaving) {
    return html`<${PageHead} title=${training.name} />
      <div class="panel"><${Loading} label="Leaving the training" /></div>`;
  }
  const tabs = [
    [
      "rounds",
      "Rounds",
      () =>
        html`<${Rounds}
          ...${{ training, rounds, findings, people, isActor, selected: round, arriving, onSelect: showRound }}
        />`,
    ],
    ["timeline", "Timeline", () => html`<${Timeline} id=${training.id} log=${log} people=${people} />`],
    ["setup", "Setup", () => html`<${Setup} ...${{ training, people, isActor }} />`],
  ];

  return html`
    <${PageHead}
      title=${training.name}
      actions=${html`<${Actions}
        ...${{ training, counts, isActor, me, people }}
        onDone=${touchAll}
        onLeaving=${setLeaving}
      />`}
    >
      <p class="lead">
        ${AGGREGATION[training.aggregation_method]?.label ?? training.aggregation_method} with
        ${" "}${count(training.participants.length, "participant")}, run by${" "}
        ${isActor ? "you" : people.name(training.actor)}
      </p>
      <div class="row training-badges">
        <${TrainingBadge} training=${training} />
        <${Liveness} state=${log.link} />
      </div>
    <//>
    <div class="stack">
      <${Now}
        ...${{ training, counts, people, isActor, board, me }}
        rounds=${course}
        metrics=${metrics.data}
        onAdd=${() => setAdding(true)}
      />
      <div class="watch">
        <${Metrics} ...${{ metrics, training, people, isActor, chosen }} onChoose=${choose} />
        <${Board}
          ...${{ training, participants, people, isActor, marks, rounds: course }}
          onAdd=${() => setAdding(true)}
          onRemove=${(id) => removeParticipant(training, id, people.name(id), touchAll)}
          onShowRound=${showRound}
        />
      </div>
      <div class="panel panel-body">
        <${Tabs}
          label="More about the training"
          tabs=${tabs}
          selected=${query.tab ?? "rounds"}
          onSelect=${(tab) => setQuery({ tab })}
        />
      </div>
    </div>
    ${adding &&
    html`<${AddParticipants}
      training=${training}
      people=${people}
      onClose=${() => setAdding(false)}
      onDone=${touchAll}
    />`}
  `;
}

/**
 * Who stands out: `findings` by round (a Map of update to findings, with `owners`), and `marks`: the
 * rounds by participant.
 */
function compare(rounds) {
  const findings = new Map();
  const marks = new Map();
  for (const { index, figures, updates } of rounds) {
    if (figures === null) continue;
    const found = outliers(figures.updates);
    found.owners = new Set(updates.filter(({ id }) => found.has(id)).map(({ owner }) => owner));
    findings.set(index, found);
    for (const owner of found.owners) marks.set(owner, [...(marks.get(owner) ?? []), index]);
  }
  return { findings, marks };
}

/** Whether what is shown is what is. */
function Liveness({ state }) {
  const [tone, icon, label] = {
    live: ["good", "activity", "Live"],
    connecting: ["quiet", "clock", "Connecting…"],
    lost: ["warn", "wifi-off", "Reconnecting…"],
  }[state];
  return html`<span role="status"><${Badge} tone=${tone} icon=${icon}>${label}<//></span>`;
}

const home = html`<${LinkButton} to="/" tone="primary">Go to the overview<//>`;

function Missing() {
  return html`<h1 class="sr-only" tabindex="-1">Training not found</h1>
    <${Empty} icon="search" title="There is no such training" action=${home}>
      The address may be mistyped, or the training was deleted.
    <//>`;
}

function NotYours({ was }) {
  return html`<h1 class="sr-only" tabindex="-1">Training</h1>
    <${Empty} icon="shield" title=${was ? "You are no longer part of this training" : "This training is not yours to see"} action=${home}>
      ${was
        ? "Its actor has removed you. What you delivered before stays in the model."
        : "A training is seen by its actor and its participants. Ask the actor to add you."}
    <//>`;
}

function Deleted({ training: { id, name, actor } }) {
  // From now on its log is its actor's; participants are gone with it.
  const log =
    actor === session.value.user.id &&
    html`<a class="button" href=${`/api/trainings/${id}/audit/?format=jsonl`} download=${`audit-${id}.jsonl`}>
      <${Icon} name="download" />Its audit log
    </a>`;
  return html`<h1 class="sr-only" tabindex="-1">${name}</h1>
    <${Empty}
      icon="trash-2"
      title="This training was deleted"
      action=${html`<div class="row">${home}${log}</div>`}
    >
      ${log
        ? "Its model is still among your models, and its audit log is kept."
        : "Its actor deleted it. You are asked for nothing any more."}
    <//>`;
}

/** For superusers: a training of others. */
function LogOnly({ id }) {
  const log = useLog(id);
  const people = usePeople(session.value.user.id, NOBODY);
  if (isMissing(log.error)) return html`<${Missing} />`;
  return html`<${PageHead}
      title="A training of others"
      lead="You have no part in it. As a superuser you may read its audit log."
    >
      <div class="row training-badges"><${Liveness} state=${log.link} /></div>
    <//>
    <section class="panel panel-body" aria-labelledby="log-title">
      <h2 id="log-title">Timeline</h2>
      <${Timeline} id=${id} log=${log} people=${people} />
    </section>`;
}
