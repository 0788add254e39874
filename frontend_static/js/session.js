/** Who is signed in. */
import * as api from "./api.js";
import { signal } from "./html.js";

/** `null` until the server was asked; `user` is null for who is not signed in. */
export const session = signal(null);

/** Why there is no session any more, for the sign-in page. */
export const signedOutBecause = signal("");

function take(answer) {
  api.useCsrfToken(answer.csrf_token);
  // What depends on it need not be drawn anew for the same answer.
  if (JSON.stringify(answer) !== JSON.stringify(session.value)) session.value = answer;
}

export async function loadSession() {
  take(await api.get("/api/session/"));
}

export async function signIn(username, password) {
  take(await api.post("/api/session/", { username, password }));
  signedOutBecause.value = "";
}

export async function setUp(order) {
  take(await api.post("/api/setup/", order));
}

export async function signOut() {
  await api.del("/api/session/");
  forgetDrafts();
  await loadSession();
}

api.whenSignedOut(() => {
  if (session.value?.user == null) return;
  signedOutBecause.value = "Your session has ended. Sign in to go on where you were.";
  take({ ...session.value, user: null, superuser: false, csrf_token: null });
});

// All tabs share the cookie: in another one somebody may have signed in, or out.
async function lookAgain() {
  const before = session.value?.user?.id;
  await loadSession();
  return session.value.user?.id === before;
}

api.whenTokenIsStale(lookAgain);

document.addEventListener("visibilitychange", () => {
  // Without an answer nothing is known to have changed; what is done next will tell.
  if (!document.hidden && session.value !== null) lookAgain().catch(() => {});
});

/** Nothing that was begun in this tab is left to who signs in next. */
function forgetDrafts() {
  try {
    sessionStorage.clear();
  } catch {
    // Storage is switched off: nothing was kept.
  }
}
