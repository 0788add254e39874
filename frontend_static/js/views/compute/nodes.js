/** The machines of the cluster. */
import { Badge } from "../../components/badge.js";
import { Table } from "../../components/table.js";
import { bytes, number } from "../../format.js";
import { html } from "../../html.js";

export function NodeTable({ nodes }) {
  return html`<section class="panel" aria-label="Nodes">
    <header><h2>Nodes</h2></header>
    <${Table} columns=${COLUMNS} rows=${nodes} rowKey=${({ id }) => id} caption="Nodes of the cluster" />
  </section>`;
}

const COLUMNS = [
  {
    key: "name",
    label: "Node",
    head: true,
    sort: ({ name }) => name,
    cell: ({ name, head }) =>
      html`<span class="row">${name}${head && html`<${Badge}>head<//>`}</span>`,
  },
  {
    key: "state",
    label: "State",
    sort: ({ alive }) => Number(alive),
    cell: ({ alive }) =>
      alive
        ? html`<${Badge} tone="good" icon="circle-check">Alive<//>`
        : html`<${Badge} tone="bad" icon="circle-x">Gone<//>`,
  },
  { key: "address", label: "Address", cell: ({ address }) => html`<span class="mono">${address}</span>` },
  {
    key: "cpus",
    label: "CPUs",
    num: true,
    sort: ({ cpus }) => cpus,
    cell: (node) => used(node, node.cpus_used, node.cpus, number),
  },
  {
    key: "gpus",
    label: "GPUs",
    num: true,
    sort: ({ gpus }) => gpus,
    cell: (node) =>
      html`${used(node, node.gpus_used, node.gpus, number)}${node.accelerator &&
      html` <span class="quiet">${node.accelerator}</span>`}`,
  },
  {
    key: "memory",
    label: "Memory",
    num: true,
    sort: (node) => node.memory_bytes,
    cell: (node) => used(node, node.memory_used_bytes, node.memory_bytes, bytes),
  },
];

/** "2 of 16"; nothing is known of a node that is gone. */
function used(node, amount, all, shown) {
  if (!node.alive) return html`<span class="quiet">–</span>`;
  return all === 0 ? "none" : `${shown(amount)} of ${shown(all)}`;
}
