/** One line on what the server computes with. */
import { Badge } from "../../components/badge.js";
import { Notice } from "../../components/states.js";
import { bytes, count, number } from "../../format.js";
import { html } from "../../html.js";
import { Link } from "../../router.js";

/** `compute`: the resource of `GET /api/compute/`. */
export function Health({ compute }) {
  const { data, error } = compute;
  const more = html`<${Link} to="/compute">Compute<//>`;
  if (data === undefined) {
    return error === null
      ? html`<div class="health panel" role="status" aria-label="Asking how the cluster is">
          <span class="skeleton w-60" />
        </div>`
      : html`<${Notice} tone="warn">How the cluster is cannot be told now: ${error.message}<//>`;
  }
  if (!data.ready) {
    return html`<${Notice} tone="bad" action=${more}>
      <strong>The cluster is not ready.</strong> ${data.detail} Updates are kept safe meanwhile;
      rounds go on when it is back.
    <//>`;
  }
  return html`<section class="health panel" aria-label="Health of the cluster">
    <${Badge} tone="good" icon="circle-check">Cluster ready<//>
    <ul>
      ${machines(data).map((part) => html`<li key=${part}>${part}</li>`)}
    </ul>
    ${more}
  </section>`;
}

/** ["1 of 16 CPUs in use", "no GPU", …]. Pure. */
export function machines({ totals, nodes }) {
  const used = (amount, all, noun) => `${number(amount)} of ${count(all, noun)} in use`;
  return [
    nodes && count(nodes.filter((node) => node.alive).length, "node"),
    used(totals.cpus_used, totals.cpus, "CPU"),
    totals.gpus > 0 ? used(totals.gpus_used, totals.gpus, "GPU") : "no GPU",
    totals.memory_bytes > 0 &&
      `${bytes(totals.memory_used_bytes)} of ${bytes(totals.memory_bytes)} memory`,
  ].filter(Boolean);
}
