/** Tables that sort, and become cards on a narrow screen. */
import { html, useState } from "../html.js";
import { Icon } from "./icon.js";

/**
 * @param {object} props
 *   columns: `{key, label, cell(row), sort?(row), num?, head?}`: `sort` gives what to sort by, `num`
 *   aligns right, `head` marks the column that names the row; rows; rowKey(row); caption: read out, not shown;
 *   initial: `[key, "ascending" | "descending"]`; cards: false keeps it a table on narrow screens.
 */
export function Table({ columns, rows, rowKey, caption, initial = null, cards = true }) {
  const [order, setOrder] = useState(initial);
  const sorted = order === null ? rows : sortedBy(rows, columns, order);

  const turn = (key) => {
    const again = order !== null && order[0] === key && order[1] === "ascending";
    setOrder([key, again ? "descending" : "ascending"]);
  };

  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${caption}>
    <table class=${cards ? "table table-cards" : "table"}>
      <caption class="sr-only">
        ${caption}
      </caption>
      <thead>
        <tr>
          ${columns.map((column) => {
            const direction = order !== null && order[0] === column.key ? order[1] : undefined;
            return html`<th scope="col" class=${column.num ? "num" : ""} aria-sort=${direction}>
              ${column.sort
                ? html`<button type="button" class="sort" onClick=${() => turn(column.key)}>
                    ${column.label}
                    ${direction &&
                    html`<${Icon} size=${12} name=${direction === "ascending" ? "arrow-up" : "arrow-down"} />`}
                  </button>`
                : column.label || html`<span class="sr-only">Actions</span>`}
            </th>`;
          })}
        </tr>
      </thead>
      <tbody>
        ${sorted.map(
          (row) => html`<tr key=${rowKey(row)}>
            ${columns.map((column) =>
              column.head
                ? html`<th scope="row">${column.cell(row)}</th>`
                : html`<td class=${column.num ? "num" : ""} data-label=${column.label || undefined}>
                    ${column.cell(row)}
                  </td>`,
            )}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

function sortedBy(rows, columns, [key, direction]) {
  const by = columns.find((column) => column.key === key).sort;
  const sign = direction === "ascending" ? 1 : -1;
  return [...rows].sort((one, other) => {
    const [a, b] = [by(one), by(other)];
    if (a == null || b == null) return (a == null) - (b == null);
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  });
}
