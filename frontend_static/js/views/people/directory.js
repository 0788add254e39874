/** Everybody on the server, as one who is no superuser sees them. */
import * as api from "../../api.js";
import { CopyButton } from "../../components/code.js";
import { Empty, Loaded } from "../../components/states.js";
import { Table } from "../../components/table.js";
import { personName } from "../../format.js";
import { html, useState } from "../../html.js";
import { useResource } from "../../resource.js";
import { isFound, partOf, PersonCell, SearchPeople } from "./search.js";

const COLUMNS = [
  {
    key: "name",
    label: "Name",
    head: true,
    sort: personName,
    cell: (user) => html`<${PersonCell} user=${user} />`,
  },
  { key: "part", label: "Part", sort: partOf, cell: partOf },
  {
    key: "id",
    label: "",
    cell: (user) =>
      html`<${CopyButton} text=${user.id} label="Copy id" aria-label=${`Copy id of ${user.username}`} />`,
  },
];

export function Directory() {
  const [search, setSearch] = useState("");
  const users = useResource((signal) => api.get("/api/users/", { signal }), []);
  return html`<div class="stack">
    <${SearchPeople} value=${search} onInput=${setSearch} />
    <div class="panel">
      <${Loaded} resource=${users}>
        ${(everybody) => {
          const rows = everybody.filter((user) => isFound(user, search));
          return rows.length === 0
            ? html`<${Empty} icon="search" title="Nobody of that name">Try fewer letters.<//>`
            : html`<${Table}
                caption="People"
                columns=${COLUMNS}
                rows=${rows}
                rowKey=${(user) => user.id}
                initial=${["name", "ascending"]}
              />`;
        }}
      <//>
    </div>
  </div>`;
}
