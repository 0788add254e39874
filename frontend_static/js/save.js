/** Files that are made in the page. */

/** Hand the blob to the reader as a file of this name. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The browser reads the file after the click; then nobody needs the address.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A name for a file: what is no letter, digit or dot becomes a dash. */
export const fileName = (...parts) =>
  parts.map((part) => String(part).replace(/[^\p{L}\p{N}.]+/gu, "-").replace(/^-+|-+$/g, "")).join("-");
