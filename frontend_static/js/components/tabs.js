/** Tabs: arrow keys move between them, as the ARIA pattern has it. */
import { html, useId, useRef } from "../html.js";

/** `tabs`: `[key, label, content()]`; only the selected one's content is made. */
export function Tabs({ label, tabs, selected, onSelect }) {
  const id = useId();
  const list = useRef(null);
  const index = Math.max(0, tabs.findIndex(([key]) => key === selected));

  function move(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -index, End: tabs.length - 1 - index };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const next = (index + steps[event.key] + tabs.length) % tabs.length;
    onSelect(tabs[next][0]);
    list.current.children[next].focus();
  }

  const [key, , content] = tabs[index];
  return html`<div role="tablist" aria-label=${label} class="tabs" ref=${list} onKeyDown=${move}>
      ${tabs.map(
        ([name, shown]) => html`<button
          type="button"
          role="tab"
          class="tab"
          id=${`${id}-${name}`}
          aria-selected=${name === key}
          aria-controls=${`${id}-panel`}
          tabindex=${name === key ? 0 : -1}
          onClick=${() => onSelect(name)}
        >
          ${shown}
        </button>`,
      )}
    </div>
    <div role="tabpanel" id=${`${id}-panel`} aria-labelledby=${`${id}-${key}`}>${content()}</div>`;
}
