/** A training is set up, in steps; nothing reaches the server before the last one. */
import * as api from "../api.js";
import { Button } from "../components/button.js";
import { PageHead } from "../components/page_head.js";
import { Loaded, Notice } from "../components/states.js";
import { Steps } from "../components/steps.js";
import { toast } from "../components/toast.js";
import { html, useEffect, useMemo, useRef, useState } from "../html.js";
import { isLocal } from "../model_words.js";
import { useResource, useUsers } from "../resource.js";
import { go } from "../router.js";
import { session } from "../session.js";
import {
  faultsOf,
  newDraft,
  onlyPredicts,
  orderOf,
  placed,
  stepOf,
  stepsFor,
  withModel,
} from "./new_training/draft.js";
import { forget, recall, remember } from "./new_training/drafts.js";
import { MethodsStep } from "./new_training/methods_step.js";
import { ModelStep } from "./new_training/model_step.js";
import { PeopleStep } from "./new_training/people_step.js";
import { RoundsStep } from "./new_training/rounds_step.js";
import { SummaryStep } from "./new_training/summary_step.js";

const LEADS = {
  model: "What the training starts from.",
  methods: "How updates are put together, and what predictions say about themselves.",
  rounds: "How long it goes on, and how long it waits.",
  people: "Who trains with their own data.",
  summary: "Nothing has been created so far.",
};

export default function NewTraining({ query }) {
  const resource = useResource(load, []);
  return html`
    <${PageHead}
      title="New training"
      lead="Participants train the model with their own data and send updates; the server puts them together, round after round."
    />
    <${Loaded} resource=${resource} lines=${6}>
      ${(data) => html`<${Guide} ...${data} query=${query} onModels=${resource.set} />`}
    <//>
  `;
}

async function load(signal) {
  const [models, trainings] = await Promise.all([
    api.get("/api/models/", { signal }),
    api.get("/api/users/trainings/", { signal }),
  ]);
  const me = session.value.user.id;
  return { models: models.filter((model) => !isLocal(model) && model.owner === me), trainings };
}

function Guide({ models, trainings, query, onModels }) {
  const form = useDraft(models, query.model);
  const { draft, faults } = form;
  const model = models.find((one) => one.id === draft.modelId) ?? null;
  const metadata = useResource(
    // Nothing, as while it loads, until there is a model.
    async (signal) =>
      model ? api.get(`/api/models/${model.id}/metadata/`, { signal }) : undefined,
    [model?.id],
  );
  const [error, setError] = useState("");
  const panel = useRef(null);

  const steps = stepsFor(model);
  const keys = steps.map(([key]) => key);
  const faulty = (key) => Object.keys(faults).some((field) => stepOf(field) === key);
  const firstFaulty = keys.find(faulty);
  // An address further on than what is filled in shows what is missing first.
  const asked = keys.includes(query.step) ? query.step : keys[0];
  const blocked = firstFaulty !== undefined && keys.indexOf(firstFaulty) < keys.indexOf(asked);
  const step = blocked ? firstFaulty : asked;
  const users = useUsers(step === "people");
  const index = keys.indexOf(step);
  useFocusOnChange(panel, step);

  function show(key) {
    const wanted = keys.indexOf(key);
    const stop = keys.slice(0, wanted).find(faulty);
    form.reveal(keys.slice(0, wanted));
    if (stop === step) focusFirstFault(panel.current);
    go("/trainings/new", { step: stop ?? key });
  }

  async function create(start) {
    setError("");
    const order = orderOf(draft, model);
    let id;
    try {
      id = (await api.post("/api/trainings/", order)).training_id;
    } catch (refusal) {
      const fields = placed(refusal.fields);
      const [field] = Object.keys(fields);
      const place = field === undefined ? "summary" : stepOf(field);
      form.refuse(fields);
      if (place === "summary") setError(refusal.message);
      else {
        toast("Not created: the server wants something changed.", "bad");
        go("/trainings/new", { step: place });
      }
      return;
    }
    form.discard();
    if (start) {
      try {
        await api.post(`/api/trainings/${id}/start/`);
        toast("Created and started.");
      } catch (refusal) {
        toast(`Created, but not started: ${refusal.message}`, "bad");
      }
    } else toast("Created.");
    go(`/trainings/${id}`);
  }

  async function uploaded(id) {
    const data = await load();
    const added = data.models.find((one) => one.id === id);
    onModels(data);
    form.chooseModel(added);
    toast(`“${added.name}” is there, and chosen.`);
  }

  const [, label] = steps[index];
  const last = index === keys.length - 1;
  // As the button of the step's form, so that Enter in a field goes on. The first step has forms of
  // its own, and stays on the page hidden: a chosen file or an upload on its way survives a look
  // elsewhere.
  const forward =
    step === "model"
      ? { onClick: () => show(keys[index + 1]) }
      : { type: "submit", form: "step-form" };
  return html`
    ${form.restored &&
    html`<div class="new-training-restored">
      <${Notice}
        action=${html`<${Button}
          size="small"
          onClick=${() => {
            form.startOver();
            go("/trainings/new");
          }}
        >
          Start over
        <//>`}
      >
        This is the training that you began to set up before.
      <//>
    </div>`}
    <${Steps}
      label="Steps"
      current=${step}
      onSelect=${show}
      steps=${steps.map(([key, shown], at) => ({
        key,
        label: shown,
        done: form.visited(key) && !faulty(key) && at < keys.length - 1,
      }))}
    />
    <section class="panel new-training-step" ref=${panel} aria-labelledby="step-title">
      <header>
        <div>
          <h2 id="step-title" tabindex="-1">${label}</h2>
          <p class="quiet">${LEADS[step]}</p>
        </div>
      </header>
      <div class="panel-body">
        <div hidden=${step !== "model"}>
          <${ModelStep}
            ...${{ form, model, models, trainings, metadata }}
            onUploaded=${uploaded}
          />
        </div>
        <form
          id="step-form"
          novalidate
          onSubmit=${(event) => {
            event.preventDefault();
            if (!last) show(keys[index + 1]);
          }}
        >
          ${step === "methods" && html`<${MethodsStep} ...${{ form, model, metadata }} />`}
          ${step === "rounds" && html`<${RoundsStep} form=${form} />`}
          ${step === "people" && html`<${PeopleStep} form=${form} users=${users} />`}
          ${step === "summary" &&
          html`<${SummaryStep}
            ...${{ form, model, trainings, users }}
            order=${orderOf(draft, model)}
            onEdit=${show}
          />`}
        </form>
        ${error && html`<${Notice} tone="bad">${error}<//>`}
      </div>
      <footer class="new-training-foot">
        ${index > 0
          ? html`<${Button} icon="chevron-left" onClick=${() => show(keys[index - 1])}>
              ${steps[index - 1][1]}
            <//>`
          : html`<span />`}
        ${last
          ? html`<div class="row">
              <${Button}
                tone=${onlyPredicts(model) ? "primary" : ""}
                onClick=${() => create(false)}
              >
                Create
              <//>
              ${!onlyPredicts(model) &&
              html`<${Button}
                tone="primary"
                icon="play"
                reason=${draft.clients.length === 0
                  ? "There is nobody to train yet: add participants first, or only create it."
                  : null}
                onClick=${() => create(true)}
              >
                Create and start
              <//>`}
            </div>`
          : html`<${Button} tone="primary" ...${forward}>
              ${`Next: ${steps[index + 1][1]}`}
            <//>`}
      </footer>
    </section>
  `;
}

/** The draft with its faults, as the steps edit it; remembered until it is created. */
function useDraft(models, wantedModel) {
  const [draft, setDraft] = useState(() => begun(models, wantedModel).draft);
  const [restored, setRestored] = useState(() => begun(models, wantedModel).restored);
  const [revealed, setRevealed] = useState(() => new Set());
  const [refused, setRefused] = useState({});
  const discarded = useRef(false);

  const model = models.find((one) => one.id === draft.modelId) ?? null;
  const own = useMemo(() => faultsOf(draft, model), [draft, model]);
  const faults = { ...refused, ...own };

  useEffect(() => {
    if (!discarded.current) remember(draft);
  }, [draft]);

  const settle = (field) =>
    setRefused(({ [field]: _settled, ...others }) => others);

  return {
    draft,
    faults,
    restored,
    /** What is wrong with a field; nothing is held against who has not been there yet. */
    fault: (field) => refused[field] ?? (revealed.has(stepOf(field)) ? own[field] : undefined),
    visited: (step) => revealed.has(step) || restored,
    reveal: (passed) => setRevealed((was) => new Set([...was, ...passed])),
    refuse: setRefused,
    set(changes, field = null) {
      setDraft((was) => ({ ...was, ...changes }));
      if (field !== null) settle(field);
    },
    setOption(name, value) {
      setDraft((was) => ({ ...was, options: { ...was.options, [name]: value } }));
      settle(name);
    },
    chooseModel(chosen) {
      setDraft((was) => withModel(was, chosen));
      settle("model_id");
      settle("uncertainty_method");
    },
    startOver() {
      setDraft(newDraft());
      setRevealed(new Set());
      setRefused({});
      setRestored(false);
    },
    discard() {
      discarded.current = true;
      forget();
    },
  };
}

function begun(models, wantedModel) {
  const remembered = recall();
  const draft = remembered ?? newDraft();
  const wanted = models.find((one) => one.id === wantedModel);
  if (wanted && wanted.id !== draft.modelId) {
    return { draft: withModel(draft, wanted), restored: remembered !== null };
  }
  const known = models.some((one) => one.id === draft.modelId);
  return { draft: known ? draft : { ...draft, modelId: null }, restored: remembered !== null };
}

/** Who reads by ear or by keyboard goes on at the top of the new step. */
function useFocusOnChange(panel, step) {
  const before = useRef(step);
  useEffect(() => {
    if (before.current === step) return;
    before.current = step;
    scrollTo(0, 0);
    (firstFault(panel.current) ?? panel.current.querySelector("h2")).focus();
  }, [step]);
}

function focusFirstFault(element) {
  requestAnimationFrame(() => firstFault(element)?.focus());
}

/** The first field to be seen with something wrong in it. */
function firstFault(element) {
  const faulty = [...element.querySelectorAll('[aria-invalid="true"]')];
  return faulty.find((field) => field.checkVisibility());
}
