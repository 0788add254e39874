/** Step 4: who takes part. */
import { PeoplePicker } from "../../components/people_picker.js";
import { Loaded } from "../../components/states.js";
import { html } from "../../html.js";

export function PeopleStep({ form, users }) {
  return html`<${Loaded} resource=${users}>
    ${(everybody) => html`<${PeoplePicker}
      label="Participants"
      hint="They hear of the training when it starts. You can add and remove people at any time, also while it runs."
      users=${everybody}
      chosen=${form.draft.clients}
      onChange=${(clients) => form.set({ clients }, "clients")}
      fault=${form.fault("clients")}
    />`}
  <//>`;
}
