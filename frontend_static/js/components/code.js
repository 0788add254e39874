/** Code and secrets to copy. */
import { html, useState } from "../html.js";
import { Button } from "./button.js";

/** `aria-label`: begins with "Copy", like the text that is seen. */
export function CopyButton({ text, label = "Copy", "aria-label": said, ...rest }) {
  const [copied, setCopied] = useState(false);
  async function copy() {
    await writeClipboard(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  }
  return html`<${Button}
    size="small"
    icon=${copied ? "check" : "copy"}
    onClick=${copy}
    aria-label=${copied ? said?.replace(/^Copy/, "Copied") : said}
    ...${rest}
  >
    ${copied ? "Copied" : label}
  <//>`;
}

/** A block of code with a button that copies it; `label` says what it is. */
export function Code({ text, label }) {
  return html`<div class="code">
    <pre tabindex="0" role="region" aria-label=${label}><code>${text}</code></pre>
    <${CopyButton} text=${text} aria-label=${`Copy: ${label}`} />
  </div>`;
}

async function writeClipboard(text) {
  if (navigator.clipboard !== undefined) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Browsers offer the clipboard to https and localhost only; a server in an intranet is neither.
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
