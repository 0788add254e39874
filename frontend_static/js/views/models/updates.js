/** The updates behind a model that the server still has and the caller may see. */
import { DownloadLink } from "../../components/download_link.js";
import { Table } from "../../components/table.js";
import { bytes, dateTime, number } from "../../format.js";
import { html, useState } from "../../html.js";
import { Link } from "../../router.js";
import { MoreRows } from "./more_rows.js";
import { nameOf } from "./people.js";

export function Updates({ updates, people }) {
  const [limit, setLimit] = useState(20);
  const rows = [...updates].reverse().slice(0, limit);
  return html`<section class="panel" aria-labelledby="updates">
    <header>
      <h2 id="updates">Updates</h2>
      <span class="quiet">of participants, as far as they are kept</span>
    </header>
    <${Table}
      caption="Updates of participants"
      rows=${rows}
      rowKey=${(update) => update.id}
      columns=${[
        {
          key: "who",
          label: "Participant",
          head: true,
          sort: (update) => nameOf(update.owner, people),
          cell: (update) => nameOf(update.owner, people),
        },
        {
          key: "round",
          label: "Round",
          num: true,
          sort: (update) => update.round,
          cell: (update) =>
            html`<${Link} to=${`/models/${update.id}`}>${`Round ${number(update.round)}`}<//>`,
        },
        {
          key: "samples",
          label: "Samples",
          num: true,
          sort: (update) => update.sample_size,
          cell: (update) => number(update.sample_size),
        },
        { key: "size", label: "Size", num: true, cell: (update) => bytes(update.size_bytes) },
        {
          key: "delivered",
          label: "Delivered",
          num: true,
          cell: (update) => html`<span class="nowrap">${dateTime(update.created_at)}</span>`,
        },
        {
          key: "download",
          label: "",
          num: true,
          cell: (update) => html`<${DownloadLink}
            href=${`/api/models/${update.id}/`}
            label=${`Download the update of ${nameOf(update.owner, people)}, round ${update.round}`}
          />`,
        },
      ]}
    />
    <${MoreRows} shown=${rows.length} of=${updates.length} onMore=${() => setLimit(limit + 100)} />
  </section>`;
}
