/** Templates, hooks and signals: the one place that names the vendored libraries. */
import htm from "../vendor/htm/htm.js";
import { h } from "../vendor/preact/preact.js";
import { useRef } from "../vendor/preact/hooks.js";

export { render } from "../vendor/preact/preact.js";
export {
  useCallback,
  useEffect,
  useId,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/preact/hooks.js";
export { computed, signal } from "../vendor/signals/signals.js";

export const html = htm.bind(h);

/**
 * The component, which is made anew only when one of its props is another value: for rows of long
 * lists, and for what is costly. Functions among the props must stay the same ones (`useCallback`).
 */
export function memo(View) {
  return function Memo(props) {
    const last = useRef(null);
    // What was given back before is left as it is.
    if (last.current === null || !isAlike(last.current.props, props)) last.current = h(View, props);
    return last.current;
  };
}

function isAlike(one, other) {
  const names = Object.keys(one);
  return (
    names.length === Object.keys(other).length && names.every((name) => Object.is(one[name], other[name]))
  );
}
