/** All accounts, for superusers. */
import * as api from "../../api.js";
import { Badge } from "../../components/badge.js";
import { Button } from "../../components/button.js";
import { Empty, Loaded } from "../../components/states.js";
import { Table } from "../../components/table.js";
import { ago, count, dateTime, personName } from "../../format.js";
import { html, useState } from "../../html.js";
import { useResource } from "../../resource.js";
import { AccountDialog } from "./account_dialog.js";
import { isFound, partOf, PersonCell, SearchPeople } from "./search.js";

export function Accounts() {
  const [search, setSearch] = useState("");
  const [openId, setOpenId] = useState(null);
  const accounts = useResource((signal) => api.get("/api/accounts/", { signal }), []);
  const replace = (row) =>
    accounts.set(accounts.data.map((account) => (account.id === row.id ? row : account)));
  const open = accounts.data?.find((account) => account.id === openId);

  return html`<div class="stack">
    <${SearchPeople} value=${search} onInput=${setSearch} />
    <div class="panel">
      <${Loaded} resource=${accounts}>
        ${(all) => {
          const rows = all.filter((account) => isFound(account, search));
          return html`<header>
              <h2>${count(rows.length, "account")}</h2>
            </header>
            ${rows.length === 0
              ? html`<${Empty} icon="search" title="Nobody of that name">Try fewer letters.<//>`
              : html`<${Table}
                  caption="Accounts"
                  columns=${columns(setOpenId)}
                  rows=${rows}
                  rowKey=${(account) => account.id}
                  initial=${["name", "ascending"]}
                />`}`;
        }}
      <//>
    </div>
    ${open &&
    html`<${AccountDialog} account=${open} onChange=${replace} onClose=${() => setOpenId(null)} />`}
  </div>`;
}

const columns = (open) => [
  {
    key: "name",
    label: "Name",
    head: true,
    sort: personName,
    cell: (account) => html`<${PersonCell} user=${account} />`,
  },
  {
    key: "email",
    label: "E-mail",
    sort: (account) => account.email || null,
    cell: (account) => account.email || "–",
  },
  { key: "part", label: "Part", sort: partOf, cell: partOf },
  {
    key: "rights",
    label: "Rights",
    sort: (account) => (account.superuser ? 0 : account.active ? 1 : 2),
    cell: (account) => html`<${Rights} account=${account} />`,
  },
  {
    key: "seen",
    label: "Last seen",
    sort: (account) => -Date.parse(account.last_seen_at ?? 0),
    cell: (account) =>
      html`<span title=${dateTime(account.last_seen_at)}
        >${ago(account.last_seen_at, api.serverNow())}</span
      >`,
  },
  {
    key: "manage",
    label: "",
    cell: (account) =>
      html`<${Button}
        size="small"
        icon="settings"
        onClick=${() => open(account.id)}
        aria-label=${`Manage ${account.username}`}
        >Manage<//
      >`,
  },
];

export function Rights({ account }) {
  if (!account.active) return html`<${Badge} tone="bad" icon="circle-x">Disabled<//>`;
  return account.superuser ? html`<${Badge} tone="active">Superuser<//>` : html`<${Badge}>User<//>`;
}
