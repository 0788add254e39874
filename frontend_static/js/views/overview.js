/** Where one lands: one's trainings and how they stand, and whether the server can compute. */
import * as api from "../api.js";
import { LinkButton } from "../components/button.js";
import { PageHead } from "../components/page_head.js";
import { Loaded } from "../components/states.js";
import { html, useState } from "../html.js";
import { useResource } from "../resource.js";
import { Health } from "./overview/health.js";
import { Trainings } from "./overview/trainings.js";
import { Welcome } from "./overview/welcome.js";

const FIRST = 100;
// As many as the server gives.
const MOST = 500;
const EVERY_MILLISECONDS = 4000;
const ALL_EVERY_MILLISECONDS = 30_000;
// What the machines do changes slowly, and asking them costs more.
const HEALTH_EVERY_MILLISECONDS = 15_000;

export default function Overview({ query }) {
  const [all, setAll] = useState(false);
  const load = (signal) => api.get("/api/overview/", { query: { limit: all ? MOST : FIRST }, signal });
  const trainings = useResource(load, [all], {
    every: all ? ALL_EVERY_MILLISECONDS : EVERY_MILLISECONDS,
  });
  const compute = useResource((signal) => api.get("/api/compute/", { signal }), [], {
    every: HEALTH_EVERY_MILLISECONDS,
  });
  return html`
    <${PageHead}
      title="Overview"
      lead="The trainings that you run or take part in."
      actions=${html`<${LinkButton} to="/trainings/new" tone="primary" icon="plus">New training<//>`}
    />
    <div class="stack">
      <${Health} compute=${compute} />
      <${Loaded} resource=${trainings}>
        ${({ trainings: mine, total }) =>
          mine.length === 0
            ? html`<${Welcome} />`
            : html`<${Trainings} trainings=${mine} total=${total} query=${query} onMore=${all ? null : () => setAll(true)} />`}
      <//>
    </div>
  `;
}
