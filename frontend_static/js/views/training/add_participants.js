/** Add participants, found by search. */
import * as api from "../../api.js";
import { Button } from "../../components/button.js";
import { Dialog } from "../../components/dialog.js";
import { PeoplePicker } from "../../components/people_picker.js";
import { Notice } from "../../components/states.js";
import { toast } from "../../components/toast.js";
import { count } from "../../format.js";
import { html, useMemo, useState } from "../../html.js";
import { useUsers } from "../../resource.js";
import { isRunning } from "../../words.js";

export function AddParticipants({ training, people, onClose, onDone }) {
  const [chosen, setChosen] = useState([]);
  const [error, setError] = useState(null);
  const everybody = useUsers(true).data ?? people.all;
  const others = useMemo(() => {
    const present = new Set(training.participants);
    return everybody.filter(({ id }) => !present.has(id));
  }, [everybody, training.participants]);

  async function add() {
    setError(null);
    try {
      await api.put(`/api/trainings/${training.id}/clients/`, { clients: chosen });
      toast(`${count(chosen.length, "participant")} added.`);
      onDone();
      onClose();
    } catch (refusal) {
      setError(refusal);
    }
  }

  return html`<${Dialog} title="Add participants" onClose=${onClose}>
    <div class="dialog-body">
      <h2>Add participants</h2>
      ${isRunning(training) &&
      html`<p class="quiet">
        ${training.options.cohort
          ? "They can be drawn from the next round on."
          : "They are told at once what is expected of them."}
      </p>`}
      <${PeoplePicker} label="Who takes part" users=${others} chosen=${chosen} onChange=${setChosen} />
      ${error && html`<${Notice} tone="bad">${error.message}<//>`}
      <div class="dialog-actions">
        <${Button} onClick=${onClose}>Cancel<//>
        <${Button}
          tone="primary"
          onClick=${add}
          reason=${chosen.length === 0 ? "Choose somebody first." : null}
        >
          ${chosen.length > 0 ? `Add ${count(chosen.length, "participant")}` : "Add"}
        <//>
      </div>
    </div>
  <//>`;
}
