/** Which page is shown: the part of the address after `#`, for example `#/trainings/1234?tab=rounds`. */
import { computed, html, signal } from "./html.js";

/**
 * Every page. `load` brings its module, whose default export is a component that is given `params`
 * (from the path) and `query`. A page that is `open` needs no session.
 */
export const PAGES = [
  page("/", "Overview", () => import("./views/overview.js"), { css: "overview" }),
  page("/sign-in", "Sign in", () => import("./views/sign_in.js"), { css: "doors", open: true }),
  page("/setup", "Set up", () => import("./views/setup.js"), { css: "doors", open: true }),
  page("/register", "Register", () => import("./views/register.js"), { css: "doors", open: true }),
  page("/trainings/new", "New training", () => import("./views/new_training.js"), {
    css: "new_training",
  }),
  page("/trainings/:id", "Training", () => import("./views/training.js"), { css: "training" }),
  page("/models", "Models", () => import("./views/models.js"), { css: "models" }),
  page("/models/new", "New model", () => import("./views/new_model.js"), { css: "models" }),
  page("/models/:id", "Model", () => import("./views/model.js"), { css: "models" }),
  page("/try", "Try it", () => import("./views/try_it.js"), { css: "try_it" }),
  page("/people", "People", () => import("./views/people.js"), { css: "people" }),
  page("/profile", "Profile", () => import("./views/profile.js"), { css: "people" }),
  page("/compute", "Compute", () => import("./views/compute.js"), { css: "compute" }),
];

const NOT_FOUND = page("", "Not found", () => import("./views/not_found.js"), { open: true });

const address = signal(read());
addEventListener("hashchange", () => {
  address.value = read();
});

/** `{page, params, query, path}` of what is shown. */
export const route = computed(() => {
  const { path, query } = address.value;
  for (const candidate of PAGES) {
    const params = match(candidate.pattern, path);
    if (params !== null) return { page: candidate, params, query, path };
  }
  return { page: NOT_FOUND, params: {}, query, path };
});

/** The address of a page: `href("/models", {mine: "1"})`. */
export function href(path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value != null && value !== "");
  return `#${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

export function go(path, query) {
  location.hash = href(path, query);
}

/** Change the query of this page without a new entry in the history. */
export function setQuery(query) {
  history.replaceState(null, "", href(address.value.path, { ...address.value.query, ...query }));
  address.value = read();
}

export function Link({ to, query, children, ...rest }) {
  return html`<a href=${href(to, query)} ...${rest}>${children}</a>`;
}

function page(pattern, title, load, { css = null, open = false } = {}) {
  return { pattern, title, load, css, open };
}

function read() {
  const [path, search = ""] = location.hash.replace(/^#/, "").split("?");
  return { path: path || "/", query: Object.fromEntries(new URLSearchParams(search)) };
}

/** The parameters in a path that has this pattern; null when it has another. */
export function match(pattern, path) {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const params = {};
  for (const [index, part] of wanted.entries()) {
    if (part.startsWith(":")) params[part.slice(1)] = decoded(given[index]);
    else if (part !== given[index]) return null;
  }
  return Object.values(params).includes(null) ? null : params;
}

/** What a part of an address stands for; null when it is mistyped: `%` alone stands for nothing. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return null;
  }
}
