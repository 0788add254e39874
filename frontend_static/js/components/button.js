/** Buttons. One whose `onClick` returns a promise is busy until it settles; what it throws is shown. */
import { html, useState } from "../html.js";
import { href } from "../router.js";
import { Icon } from "./icon.js";
import { toast } from "./toast.js";

/**
 * `tone`: "primary", "danger", "plain" or none; `icon`: its name; `label`: for an icon without text.
 * A `reason` says why the button cannot be used now: it stays reachable, does nothing, and tells.
 */
export function Button({
  tone = "",
  size = "",
  icon = null,
  label = null,
  type = "button",
  busy = false,
  disabled = false,
  reason = null,
  onClick,
  children,
  class: className = "",
  ...rest
}) {
  const [running, setRunning] = useState(false);
  const waits = busy || running;

  async function click(event) {
    if (waits || reason !== null) {
      event.preventDefault();
      // A title shows itself to a mouse only.
      if (reason !== null) toast(reason, "");
      return;
    }
    const answer = onClick?.(event);
    if (answer instanceof Promise) {
      setRunning(true);
      try {
        await answer;
      } catch (error) {
        toast(error.message, "bad");
      } finally {
        setRunning(false);
      }
    }
  }

  return html`<button
    type=${type}
    class=${look(tone, size, label !== null && children === undefined, className)}
    disabled=${disabled}
    aria-disabled=${reason !== null || waits ? "true" : undefined}
    aria-busy=${waits ? "true" : undefined}
    aria-label=${label ?? undefined}
    title=${reason ?? label ?? undefined}
    onClick=${click}
    ...${rest}
  >
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/** A link that looks like a button. */
export function LinkButton({ to, query, tone = "", size = "", icon = null, children, ...rest }) {
  return html`<a class=${look(tone, size, false, "")} href=${href(to, query)} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </a>`;
}

function look(tone, size, iconOnly, more) {
  const tones = tone.split(" ").filter(Boolean).map((name) => `button-${name}`);
  return ["button", ...tones, size && `button-${size}`, iconOnly && "button-icon", more]
    .filter(Boolean)
    .join(" ");
}
