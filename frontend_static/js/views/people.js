/** Who is here. Superusers manage accounts, invitations and groups; others see people and their groups. */
import { PageHead } from "../components/page_head.js";
import { Tabs } from "../components/tabs.js";
import { html } from "../html.js";
import { setQuery } from "../router.js";
import { session } from "../session.js";
import { Accounts } from "./people/accounts.js";
import { Directory } from "./people/directory.js";
import { Groups } from "./people/groups.js";
import { Invitations } from "./people/invitations.js";

export default function People({ query }) {
  const { superuser } = session.value;
  const tabs = superuser
    ? [
        ["accounts", "Accounts", () => html`<${Accounts} />`],
        ["invitations", "Invitations", () => html`<${Invitations} />`],
        ["groups", "Groups", () => html`<${Groups} every />`],
      ]
    : [
        ["directory", "Everybody", () => html`<${Directory} />`],
        ["groups", "My groups", () => html`<${Groups} />`],
      ];
  return html`
    <${PageHead}
      title="People"
      lead=${superuser
        ? "Who may use this server, and what they may do."
        : "Who uses this server. Trainings are joined by user name: whoever runs one adds you."}
    />
    <${Tabs}
      label="People"
      tabs=${tabs}
      selected=${query.tab}
      onSelect=${(tab) => setQuery({ tab })}
    />
  `;
}
