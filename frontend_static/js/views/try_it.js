/** Ask a trained model about a drawing, an image or numbers, and see how sure it is. */
import { Button, LinkButton } from "../components/button.js";
import { CheckField, TextField } from "../components/field.js";
import { PageHead } from "../components/page_head.js";
import { Empty, Loaded, Notice } from "../components/states.js";
import { html, useMemo, useState } from "../html.js";
import { useResource } from "../resource.js";
import { Answer } from "./try_it/answer.js";
import { requestsFor } from "./try_it/asking.js";
import { CodePanel } from "./try_it/code_panel.js";
import { imageEntered, ModelChoice, NoiseFields, Ways } from "./try_it/fields.js";
import { useImages } from "./try_it/image_input.js";
import { NO_EDITS } from "./try_it/pixels.js";
import { loadSubjects } from "./try_it/subjects.js";
import { useAsking } from "./try_it/use_asking.js";
import { useVariants, waysFor } from "./try_it/variants.js";

export default function TryIt({ query }) {
  const models = useResource((signal) => loadSubjects(query.model, signal), []);
  return html`
    <${PageHead}
      title="Try it"
      lead="Ask a model about a drawing, an image or numbers, and see what it answers and how sure it is."
    />
    <${Loaded} resource=${models}>
      ${({ subjects, refusal }) => html`<${Bench} subjects=${subjects} refusal=${refusal} wanted=${query.model} />`}
    <//>
  `;
}

function Bench({ subjects, refusal, wanted }) {
  if (subjects.length === 0) {
    return html`<${Empty}
      icon="sparkles"
      title="There is no model to ask yet"
      action=${html`<div class="row">
        <${LinkButton} to="/models" tone="primary" icon="upload">Upload a model<//>
        <${LinkButton} to="/trainings/new">New training<//>
      </div>`}
    >
      ${refusal ? `${refusal} ` : ""}You can ask your own models, and those of trainings that you run or
      take part in.
    <//>`;
  }
  const subject = subjects.find(({ id }) => id === wanted) ?? subjects[0];
  return html`<div class="stack">
    ${refusal &&
    wanted !== subject.id &&
    html`<${Notice} tone="warn">The model of this address cannot be asked: ${refusal} Here is another one.<//>`}
    <${Question} subject=${subject} subjects=${subjects} />
  </div>`;
}

const NOTHING_ENTERED = {
  way: null,
  drawing: { strokes: [], brush: 0.15, fit: true },
  edits: NO_EDITS,
  image: null,
  invert: false,
  text: "",
  side: null,
  // Of MNIST, which many digit models were standardised with.
  scale: { name: "1", mean: 0.1307, deviation: 0.3081 },
};

/** Input and answer. The input stays when another model is chosen, so that models can be compared. */
function Question({ subject, subjects }) {
  const [given, setEntered] = useState(NOTHING_ENTERED);
  const ways = waysFor(subject);
  const way = ways.includes(given.way) ? given.way : ways[0];
  const entered = useMemo(() => ({ ...given, way }), [given, way]);
  const [noise, setNoise] = useState({ on: true, share: 0.3, seed: 1 });
  const [seed, setSeed] = useState("");
  const [live, setLive] = useState(true);
  const enter = (more) => setEntered((was) => ({ ...was, ...more }));
  const images = useImages(
    ways.includes("image"),
    () => enter({ way: "image" }),
    (image) => enter(imageEntered(image, subject, given.side)),
  );

  const seedFault = /^\d{0,15}$/.test(seed) ? null : "A whole number from 0, or nothing.";
  const { pixels, variants, waitsFor } = useVariants(subject, entered, noise);
  const missing = subject.lack ?? waitsFor ?? (seedFault && "The seed is no whole number.");
  const requests = useMemo(() => {
    if (variants === null || missing !== null) return [];
    return requestsFor(subject, variants, seed === "" ? null : Number(seed));
  }, [subject, variants, missing, seed]);
  const asking = useAsking({ subject, variants, requests }, live);

  return html`<div class="bench">
    <section class="panel" aria-label="Input">
      <header><h2>Input</h2></header>
      <div class="panel-body stack">
        <${ModelChoice} subject=${subject} subjects=${subjects} />
        <${Ways} ...${{ ways, subject, entered, enter, pixels, images }} />
        <${NoiseFields}
          noise=${noise}
          onNoise=${setNoise}
          measure=${way === "numbers"
            ? "Share of how much the numbers vary."
            : "Share of the way from black to white."}
        />
        <details class="more">
          <summary>More options</summary>
          <div class="stack">
            <${TextField}
              label="Seed (optional)"
              hint="With a seed, the model's random passes are the same every time."
              inputmode="numeric"
              fault=${seedFault}
              value=${seed}
              onInput=${setSeed}
            />
            <${CheckField}
              label="Ask again whenever the input changes"
              hint="From the first answer on."
              checked=${live}
              onInput=${setLive}
            />
          </div>
        </details>
        <${Button} tone="primary" icon="play" busy=${asking.running} reason=${missing} onClick=${asking.now}>
          Ask the model
        <//>
        ${missing && html`<p class="hint">${missing}</p>`}
      </div>
    </section>
    <div class="stack">
      <${Answer}
        subject=${subject}
        asked=${asking.asked}
        error=${asking.error}
        asking=${asking.running}
        current=${asking.isCurrent}
        onAsk=${asking.now}
        waitsFor=${missing}
      />
      <${CodePanel} requests=${requests} />
    </div>
  </div>`;
}
