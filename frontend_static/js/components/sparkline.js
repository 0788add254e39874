/** A line the size of a word. */
import { html } from "../html.js";

/** `points`: `[x, y | null]` pairs in order; `label` is read out. */
export function Sparkline({ points, label, width = 96, height = 24 }) {
  const known = points.filter(([, y]) => y !== null);
  if (known.length === 0) return html`<span class="quiet">no figures yet</span>`;
  const [xs, ys] = [known.map(([x]) => x), known.map(([, y]) => y)];
  const x = scale(Math.min(...xs), Math.max(...xs), 2, width - 3);
  const y = scale(Math.min(...ys), Math.max(...ys), height - 3, 3);
  const path = known.map(([a, b], i) => `${i ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`);
  const [lastX, lastY] = known.at(-1);
  return html`<svg class="sparkline" role="img" aria-label=${label} width=${width} height=${height}>
    <path d=${path.join("")} />
    <circle cx=${x(lastX)} cy=${y(lastY)} r="2.2" />
  </svg>`;
}

function scale(low, high, from, to) {
  return (value) => (high === low ? (from + to) / 2 : from + ((value - low) / (high - low)) * (to - from));
}
