/** What the server computes with: how it is, what is in use, and for superusers what runs where. */
import * as api from "../api.js";
import { Meter } from "../components/meter.js";
import { PageHead } from "../components/page_head.js";
import { Loaded, Notice } from "../components/states.js";
import { bytes, count, number } from "../format.js";
import { html } from "../html.js";
import { useResource } from "../resource.js";
import { session } from "../session.js";
import { ActorTable } from "./compute/actors.js";
import { Dashboard } from "./compute/dashboard.js";
import { Health } from "./compute/health.js";
import { NodeTable } from "./compute/nodes.js";

const EVERY_MILLISECONDS = 4000;
/** Of memory; Ray ends work where there is none left. */
const NEARLY_FULL = 0.9;

export default function Compute() {
  const compute = useResource((signal) => api.get("/api/compute/", { signal }), [], {
    every: EVERY_MILLISECONDS,
  });
  return html`
    <${PageHead}
      title="Compute"
      lead="Where updates are checked and aggregated, and predictions are made. Figures renew themselves."
    />
    <div class="stack">
      <${Health} />
      <${Loaded} resource=${compute} lines=${6}>
        ${(state) => html`<${Cluster} state=${state} />`}
      <//>
    </div>
  `;
}

function Cluster({ state }) {
  const { superuser } = session.value;
  return html`<div class="stack">
    ${state.ready ? html`<${Use} state=${state} />` : html`<${Away} state=${state} />`}
    ${superuser && state.nodes !== null
      ? html`
          ${state.nodes.length > 0 && html`<${NodeTable} nodes=${state.nodes} />`}
          <${ActorTable} actors=${state.actors} nodes=${state.nodes} />
          ${state.dashboard !== null && html`<${Dashboard} dashboard=${state.dashboard} />`}
        `
      : html`<p class="quiet">
          The superusers of this server also see its machines, what runs on each, and the way to the
          Ray dashboard.
        </p>`}
  </div>`;
}

function Away({ state }) {
  return html`<${Notice} tone="bad">
    <strong>The cluster is not ready.</strong> ${state.detail} Nothing is lost: uploads wait, rounds go on
    when it is back.
  <//>`;
}

function Use({ state }) {
  const { totals, embedded, nodes } = state;
  const where = embedded
    ? "Ray on the machine of this server, started with it"
    : `A Ray cluster${nodes === null ? "" : ` of ${count(nodes.filter(({ alive }) => alive).length, "node")}`}`;
  const sized = (used, all) => `${bytes(used)} of ${bytes(all)}`;
  return html`<section class="panel" aria-label="In use">
    <header>
      <h2>In use</h2>
      <span class="quiet">${where}</span>
    </header>
    <div class="panel-body meters">
      <${Meter}
        label="CPUs"
        used=${totals.cpus_used}
        total=${totals.cpus}
        text=${`${number(totals.cpus_used)} of ${number(totals.cpus)} reserved`}
      />
      ${totals.gpus > 0
        ? html`<${Meter}
            label="GPUs"
            used=${totals.gpus_used}
            total=${totals.gpus}
            text=${`${number(totals.gpus_used)} of ${number(totals.gpus)} reserved`}
          />`
        : html`<div class="meter">
            <div class="spread"><span class="meter-label">GPUs</span><span>none</span></div>
            <span class="quiet">Aggregation and predictions run on CPUs.</span>
          </div>`}
      <${Meter}
        label="Memory"
        used=${totals.memory_used_bytes}
        total=${totals.memory_bytes}
        text=${sized(totals.memory_used_bytes, totals.memory_bytes)}
        warnAt=${NEARLY_FULL}
      />
      ${totals.object_store_bytes > 0 &&
      html`<${Meter}
        label="Shared memory"
        used=${totals.object_store_used_bytes}
        total=${totals.object_store_bytes}
        text=${sized(totals.object_store_used_bytes, totals.object_store_bytes)}
        warnAt=${NEARLY_FULL}
      />`}
    </div>
  </section>`;
}
