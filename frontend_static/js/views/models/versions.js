/** What a model was after each aggregation. */
import { Badge } from "../../components/badge.js";
import { CopyButton } from "../../components/code.js";
import { DownloadLink } from "../../components/download_link.js";
import { Table } from "../../components/table.js";
import { bytes, dateTime, number, short } from "../../format.js";
import { html, useState } from "../../html.js";
import { MoreRows } from "./more_rows.js";

export function Versions({ model, versions }) {
  const [limit, setLimit] = useState(20);
  const rows = [...versions].reverse().slice(0, limit);
  return html`<section class="panel" aria-labelledby="versions">
    <header>
      <h2 id="versions">Versions</h2>
      <span class="quiet">
        ${versions.length > 1
          ? "the newest first, one for each aggregation"
          : model.kind === "MEAN"
            ? "as it was made"
            : "as it was uploaded"}
      </span>
    </header>
    <${Table}
      caption="Versions by round"
      rows=${rows}
      rowKey=${(version) => version.round}
      columns=${[
        {
          key: "round",
          label: "Round",
          head: true,
          cell: (version) => html`<span class="row">
            ${`Round ${number(version.round)}`}
            ${version.round === model.round && html`<${Badge} tone="good">present<//>`}
          </span>`,
        },
        {
          key: "created",
          label: "Created",
          cell: (version) => html`<span class="nowrap">${dateTime(version.created_at)}</span>`,
        },
        { key: "size", label: "Size", num: true, cell: (version) => bytes(version.size_bytes) },
        {
          key: "digest",
          label: "SHA-256",
          cell: (version) => html`<span class="row nowrap">
            <span class="mono" title=${version.digest}>${short(version.digest, 12)}</span>
            <${CopyButton}
              text=${version.digest}
              label=""
              aria-label=${`Copy the SHA-256 of round ${version.round}`}
            />
          </span>`,
        },
        {
          key: "download",
          label: "",
          num: true,
          cell: (version) =>
            version.kept
              ? html`<${DownloadLink}
                  href=${`/api/models/${model.id}/versions/${version.round}/`}
                  label=${`Download round ${version.round}`}
                />`
              : html`<span class="quiet" title="The training keeps its newest versions only.">
                  not kept
                </span>`,
        },
      ]}
    />
    <${MoreRows} shown=${rows.length} of=${versions.length} onMore=${() => setLimit(limit + 100)} />
  </section>`;
}
