/** Templates, hooks and signals: the one place that names the vendored libraries. */
import htm from "../vendor/htm/htm.js";
import { h } from "../vendor/preact/preact.js";

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
