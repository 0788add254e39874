/** State of a form: values, what is wrong with them, and whether it is being sent. */
import { useState } from "./html.js";

/** Thrown by `send` when values are wrong before they are sent: messages by field. */
export class Invalid extends Error {
  constructor(fields) {
    super("Some fields need another look.");
    this.fields = fields;
  }
}

/**
 * @param {object} initial values by name
 * @param {(values: object) => Promise<void>} send what it throws is shown: `fields` at the fields
 * @returns {{values, set, text, fault, error, sending, submit}} `text(name)` are props of a field
 */
export function useForm(initial, send) {
  const [values, setValues] = useState(initial);
  const [faults, setFaults] = useState({});
  const [error, setError] = useState("");
  const [sending, setSending] = useState(false);

  const set = (name, value) => {
    setValues((was) => ({ ...was, [name]: value }));
    setFaults((was) => ({ ...was, [name]: undefined }));
  };

  async function submit(event) {
    event?.preventDefault();
    if (sending) return;
    setSending(true);
    setError("");
    setFaults({});
    try {
      await send(values);
    } catch (refusal) {
      const fields = refusal.fields ?? {};
      setFaults(fields);
      // A message that a field shows is not said twice.
      setError(Object.keys(fields).some((name) => name in values) ? "" : refusal.message);
    } finally {
      setSending(false);
    }
  }

  const text = (name) => ({
    name,
    value: values[name],
    fault: faults[name],
    onInput: (value) => set(name, value),
  });
  return { values, set, text, fault: (name) => faults[name], error, sending, submit };
}
