/** Users by search, for who is to take part in a training. */
import { personName } from "../format.js";
import { html, useMemo } from "../html.js";
import { Picker } from "./picker.js";

/** `users` as `GET /api/users/` gives them; who says that they take part comes first. */
export function PeoplePicker({ users, ...rest }) {
  const items = useMemo(() => users.map(asItem).sort(byPlace), [users]);
  return html`<${Picker}
    items=${items}
    noun=${["person", "people"]}
    placeholder="Name or user name"
    ...${rest}
  />`;
}

function asItem(user) {
  const name = personName(user);
  return {
    key: user.id,
    label: name,
    takesPart: user.client,
    detail: [
      name === user.username ? null : user.username,
      user.client ? null : "has not said that they take part in trainings",
    ]
      .filter(Boolean)
      .join(" · "),
  };
}

function byPlace(one, other) {
  return Number(other.takesPart) - Number(one.takesPart) || one.label.localeCompare(other.label);
}
