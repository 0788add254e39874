/** A surface to draw on: light ink on a dark ground, as most digit models were trained. */
import { Button } from "../../components/button.js";
import { CheckField, RangeField } from "../../components/field.js";
import { html, useEffect, useRef } from "../../html.js";
import { paint } from "./pixels.js";

/** Dots per unit of the frame; enough for a sharp line on a dense screen. */
const RESOLUTION = 560;

/**
 * @param {object} props
 *   drawing: `{strokes, brush, fit}`; onChange(drawing): with every move of the pointer when it is
 *   `eager`, else after each stroke; aspect: width by height of what the model takes; onClear: also
 *   forgets single pixels that were set
 */
export function Drawing({ drawing, onChange, onClear, aspect, eager }) {
  const canvas = useRef(null);
  /** What is being drawn, and what was there before. */
  const begun = useRef(null);

  useEffect(() => {
    const context = canvas.current.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.current.width, canvas.current.height);
    context.setTransform(RESOLUTION, 0, 0, RESOLUTION, 0, 0);
    paint(context, drawing.strokes, "white");
  }, [drawing.strokes, aspect]);

  const pointsOf = (event) => {
    const box = canvas.current.getBoundingClientRect();
    // What the pointer did between two frames; a slow screen would make corners of curves.
    const moves = event.getCoalescedEvents?.() ?? [];
    return (moves.length > 0 ? moves : [event]).map(({ clientX, clientY }) => [
      ((clientX - box.left) / box.width) * aspect,
      (clientY - box.top) / box.height,
    ]);
  };
  const set = (strokes) => onChange({ ...drawing, strokes });

  function begin(event) {
    if (event.button !== 0 || begun.current !== null) return;
    event.preventDefault();
    canvas.current.setPointerCapture(event.pointerId);
    begun.current = {
      finger: event.pointerId,
      before: drawing.strokes,
      stroke: { width: drawing.brush, points: [] },
    };
    draw(event);
  }
  function draw(event) {
    if (begun.current?.finger !== event.pointerId) return;
    const { before, stroke } = begun.current;
    const longer = { ...stroke, points: [...stroke.points, ...pointsOf(event)] };
    begun.current.stroke = longer;
    if (eager) set([...before, longer]);
    else paint(canvas.current.getContext("2d"), [longer], "white");
  }
  function end(event) {
    if (begun.current?.finger !== event.pointerId) return;
    const { before, stroke } = begun.current;
    begun.current = null;
    set([...before, stroke]);
  }

  const empty = drawing.strokes.length === 0;
  return html`<div class="stack-small">
    <div class="drawing" style=${{ aspectRatio: `${aspect}` }}>
      <canvas
        ref=${canvas}
        role="img"
        aria-label=${empty ? "Drawing surface, empty" : "Drawing surface with your drawing"}
        width=${Math.round(RESOLUTION * aspect)}
        height=${RESOLUTION}
        onPointerDown=${begin}
        onPointerMove=${draw}
        onPointerUp=${end}
        onPointerCancel=${end}
      />
      ${empty && html`<p>Draw here</p>`}
    </div>
    <div class="row">
      <${Button} size="small" icon="history" disabled=${empty} onClick=${() => set(drawing.strokes.slice(0, -1))}>
        Undo
      <//>
      <${Button} size="small" icon="eraser" onClick=${onClear}>Clear<//>
    </div>
    <${RangeField}
      label="Brush"
      min="0.03"
      max="0.25"
      step="0.01"
      value=${drawing.brush}
      shown=${`${Math.round(drawing.brush * 100)} %`}
      onInput=${(brush) => onChange({ ...drawing, brush })}
    />
    <${CheckField}
      label="Bring to the middle and to full size"
      hint="As the pictures of digit data sets were prepared."
      checked=${drawing.fit}
      onInput=${(fit) => onChange({ ...drawing, fit })}
    />
  </div>`;
}
