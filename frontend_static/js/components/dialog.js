/** Modal dialogs on the browser's own `dialog` element, which keeps the focus inside. */
import { html, signal, useEffect, useRef, useState } from "../html.js";
import { Button } from "./button.js";
import { Notice } from "./states.js";

/** `children` inside a modal dialog; `onClose` when it is closed by Escape. */
export function Dialog({ title, onClose, wide = false, children }) {
  const element = useRef(null);
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      before?.focus?.();
    };
  }, []);
  return html`<dialog
    ref=${element}
    class=${wide ? "dialog dialog-wide" : "dialog"}
    aria-label=${title}
    onCancel=${(event) => {
      event.preventDefault();
      onClose();
    }}
  >
    ${children}
  </dialog>`;
}

const question = signal(null);

/**
 * Ask before something is done; resolves to true once `act` succeeded, false when it was cancelled.
 *
 * @param {object} asked
 *   title; text; verb: of the button that does it; danger: it cannot be undone;
 *   act: does it; what it throws is shown in the dialog, which stays open.
 */
export function confirm(asked) {
  return new Promise((resolve) => {
    question.value = { ...asked, resolve };
  });
}

/** Where `confirm` asks; once, in the shell. */
export function ConfirmHost() {
  const asked = question.value;
  if (asked === null) return null;
  return html`<${Confirmation} key=${asked} ...${asked} />`;
}

function Confirmation({ title, text, verb, danger = false, act, resolve }) {
  const [error, setError] = useState(null);
  const [acting, setActing] = useState(false);
  const end = (done) => {
    question.value = null;
    resolve(done);
  };
  // What is on its way cannot be taken back: who asked has to hear how it ended.
  const cancel = () => {
    if (!acting) end(false);
  };
  async function confirmed() {
    setError(null);
    setActing(true);
    try {
      await act();
      end(true);
    } catch (refusal) {
      setError(refusal);
      setActing(false);
    }
  }
  return html`<${Dialog} title=${title} onClose=${cancel}>
    <div class="dialog-body">
      <h2>${title}</h2>
      <div>${text}</div>
      ${error && html`<${Notice} tone="bad">${error.message}<//>`}
      <div class="dialog-actions">
        <${Button} disabled=${acting} onClick=${cancel}>Cancel<//>
        <${Button} tone=${danger ? "danger primary" : "primary"} onClick=${confirmed}>${verb}<//>
      </div>
    </div>
  <//>`;
}
