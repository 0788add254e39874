/** Finding things by words. Pure. */

/**
 * Whether every word of `search` is in the text, in upper or lower case; no words are in every text.
 *
 * @param {(word: string) => boolean} isFound whether a word is found in another way
 */
export function hasWords(text, search, isFound = () => false) {
  const where = text.toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .every((word) => where.includes(word) || isFound(word));
}
