/**
 * A training that is being set up, kept in this tab until it is created: a reload or a look at
 * another page loses nothing. There is no secret in it.
 */
import { session } from "../../session.js";
import { newDraft } from "./draft.js";

// Raised when the fields of a draft change.
const VERSION = 1;
const key = () => `starling-new-training-${VERSION}-${session.value.user.id}`;

/** What was remembered, or null; what is as new is not worth to be told about. */
export function recall() {
  try {
    const text = sessionStorage.getItem(key());
    return text === null || text === JSON.stringify(newDraft()) ? null : JSON.parse(text);
  } catch {
    return null;
  }
}

export function remember(draft) {
  try {
    sessionStorage.setItem(key(), JSON.stringify(draft));
  } catch {
    // Storage is switched off or full: the draft lives as long as the page.
  }
}

export function forget() {
  try {
    sessionStorage.removeItem(key());
  } catch {
    // See above.
  }
}
