/** Several of many by typing: what was found in a list, what was chosen as chips. */
import { count, number } from "../format.js";
import { html, useId, useMemo, useRef, useState } from "../html.js";
import { hasWords } from "../search.js";
import { Button } from "./button.js";
import { Field } from "./field.js";
import { Icon } from "./icon.js";

const SHOWN = 50;
const CHIPS = 60;

/**
 * @param {object} props
 *   items: `{key, label, detail?, words?}` in the order to offer them, found by their `words`, or else
 *   by label and detail; chosen: keys, in the order chosen;
 *   onChange: given the new keys; noun: [one, many]; placeholder.
 */
export function Picker({ label, hint, fault, items, chosen, onChange, noun, placeholder }) {
  const id = useId();
  const input = useRef(null);
  const [text, setText] = useState("");
  const [active, setActive] = useState(0);
  const [allChips, setAllChips] = useState(false);
  const [said, setSaid] = useState("");
  const [one, many] = noun;

  const taken = useMemo(() => new Set(chosen), [chosen]);
  const byKey = useMemo(() => new Map(items.map((item) => [item.key, item])), [items]);
  const found = useMemo(() => matching(items, text, taken), [items, text, taken]);
  const shown = found.slice(0, SHOWN);
  const at = Math.min(active, shown.length - 1);

  function add(added) {
    onChange([...chosen, ...added.map((item) => item.key)]);
    setSaid(`Added ${added.length === 1 ? added[0].label : count(added.length, one, many)}`);
  }

  function choose(item) {
    if (!item) return;
    add([item]);
    setText("");
    setActive(0);
  }

  function remove(key) {
    onChange(chosen.filter((other) => other !== key));
    setSaid(`Removed ${byKey.get(key)?.label ?? key}`);
    // The button that was pressed is gone.
    input.current.focus();
  }

  function press(event) {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const next = Math.max(0, Math.min(shown.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
      setActive(next);
      document.getElementById(`${id}-${next}`)?.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter") {
      // Never sends the form around it.
      event.preventDefault();
      choose(shown[at]);
    } else if (event.key === "Escape") {
      setText("");
    } else if (event.key === "Backspace" && text === "" && chosen.length > 0) {
      remove(chosen.at(-1));
    }
  }

  const chips = allChips ? chosen : chosen.slice(0, CHIPS);
  return html`<div class="picker">
    <${Field} label=${label} hint=${hint} fault=${fault}>
      ${(attributes) => html`<input
        class="input"
        type="text"
        role="combobox"
        autocomplete="off"
        aria-autocomplete="list"
        aria-expanded=${shown.length > 0}
        aria-controls=${`${id}-list`}
        aria-activedescendant=${shown.length > 0 ? `${id}-${at}` : undefined}
        placeholder=${placeholder}
        value=${text}
        ref=${input}
        onInput=${(event) => {
          setText(event.currentTarget.value);
          setActive(0);
        }}
        onKeyDown=${press}
        ...${attributes}
      />`}
    <//>
    <div class="picker-found">
      <ul id=${`${id}-list`} role="listbox" aria-label=${`${label}: found`}>
        ${shown.map(
          (item, index) => html`<li
            key=${item.key}
            id=${`${id}-${index}`}
            role="option"
            aria-selected=${index === at}
            onMouseDown=${(event) => event.preventDefault()}
            onClick=${() => choose(item)}
          >
            <span class="truncate">${item.label}</span>
            ${item.detail && html`<span class="quiet truncate">${item.detail}</span>`}
          </li>`,
        )}
      </ul>
      <div class="picker-more">
        <span class="quiet">
          ${found.length === 0
            ? items.length === chosen.length
              ? `All ${many} are chosen.`
              : `Nothing found for “${text}”.`
            : found.length > SHOWN
              ? `${SHOWN} of ${count(found.length, one, many)} shown: type to narrow it down.`
              : `${count(found.length, one, many)} to choose from.`}
        </span>
        ${found.length > 1 &&
        // Nobody means everybody there is before they have searched.
        (text.trim() !== "" || found.length <= SHOWN) &&
        html`<${Button} size="small" icon="plus" onClick=${() => add(found)}>
          ${`Add all ${number(found.length)}`}
        <//>`}
      </div>
    </div>
    ${chosen.length > 0 &&
    html`<div class="stack-small">
      <div class="spread">
        <strong>${count(chosen.length, one, many)} chosen</strong>
        <${Button} size="small" tone="plain" onClick=${() => onChange([])}>Remove all<//>
      </div>
      <ul class="chips" aria-label="Chosen">
        ${chips.map((key) => {
          const item = byKey.get(key);
          return html`<li key=${key} class=${`chip ${item ? "" : "chip-bad"}`}>
            <span class="truncate">${item?.label ?? "No longer there"}</span>
            <button
              type="button"
              aria-label=${`Remove ${item?.label ?? "who is no longer there"}`}
              onClick=${() => remove(key)}
            >
              <${Icon} name="x" size=${12} />
            </button>
          </li>`;
        })}
      </ul>
      ${chips.length < chosen.length &&
      html`<${Button} size="small" tone="plain" onClick=${() => setAllChips(true)}>
        ${`Show ${number(chosen.length - chips.length)} more`}
      <//>`}
    </div>`}
    <span class="sr-only" role="status">${said}</span>
  </div>`;
}

/** Items with every word of `text` in what they are found by, without those in `taken`. */
function matching(items, text, taken) {
  return items.filter(
    ({ key, label, detail, words }) =>
      !taken.has(key) && hasWords(words ?? `${label} ${detail ?? ""}`, text),
  );
}
