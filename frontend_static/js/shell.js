/** The frame around every page, and which page is in it. */
import { Button } from "./components/button.js";
import { ConfirmHost } from "./components/dialog.js";
import { Icon } from "./components/icon.js";
import { Loading, Notice } from "./components/states.js";
import { toast, ToastHost } from "./components/toast.js";
import { personName } from "./format.js";
import { html, signal, useEffect, useRef, useState } from "./html.js";
import { go, Link, match, PAGES, route } from "./router.js";
import { session, signedOutBecause, signOut } from "./session.js";
import { nextTheme, theme } from "./theme.js";

const DESTINATIONS = [
  ["/", "Overview", "layout-dashboard", ["/trainings"]],
  ["/models", "Models", "boxes", []],
  ["/try", "Try it", "sparkles", []],
  ["/people", "People", "users", []],
  ["/compute", "Compute", "server", []],
];
const THEMES = {
  system: ["monitor", "Theme: system"],
  light: ["sun", "Theme: light"],
  dark: ["moon", "Theme: dark"],
};

const menuOpen = signal(false);

/** Everything; `starting` loads the session. */
export function App({ starting }) {
  const [failure, setFailure] = useState(null);
  async function start() {
    setFailure(null);
    try {
      await starting();
    } catch (error) {
      setFailure(error);
    }
  }
  useEffect(() => {
    start();
  }, []);
  useDoors();

  if (failure !== null) {
    return html`<main class="main">
      <h1 class="sr-only">Starling</h1>
      <${Notice} tone="bad" action=${html`<${Button} onClick=${start}>Try again<//>`}>
        ${failure.message}
      <//>
    </main>`;
  }
  if (session.value === null) return html`<main class="main"><${Loading} label="Starting" /></main>`;
  const bare = session.value.user === null;
  return html`
    ${bare ? html`<${PageHost} bare />` : html`<${Shell}><${PageHost} /><//>`}
    <${ConfirmHost} />
    <${ToastHost} />
  `;
}

/** Sends who is not signed in to the door, and back to where they were. */
function useDoors() {
  const current = session.value;
  const { page, path, query } = route.value;
  useEffect(() => {
    if (current === null) return;
    if (current.user === null && !page.open) {
      go(current.setup_needed ? "/setup" : "/sign-in", path === "/" ? {} : { next: location.hash.slice(1) });
    }
    if (current.user !== null && page.css === "doors") go(...parts(query.next ?? "/"));
  }, [current, page, path]);
}

function parts(address) {
  const [path, search = ""] = address.split("?");
  // Only a page of ours, and no door: what stands in the address may come from anybody.
  const isPage = PAGES.some(({ pattern, css }) => css !== "doors" && match(pattern, path) !== null);
  return isPage ? [path, Object.fromEntries(new URLSearchParams(search))] : ["/"];
}

function Shell({ children }) {
  const { path } = route.value;
  const main = useRef(null);
  useEffect(() => {
    menuOpen.value = false;
  }, [path]);
  useEffect(() => {
    if (!menuOpen.value) return undefined;
    const close = (event) => {
      if (event.key === "Escape") menuOpen.value = false;
    };
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, [menuOpen.value]);
  return html`
    <${Button} class="skip" onClick=${() => main.current.focus()}>Skip to content<//>
    <div class="shell">
      <header class="topbar">
        <${Brand} />
        <${Button}
          tone="plain"
          icon=${menuOpen.value ? "x" : "menu"}
          label=${menuOpen.value ? "Close menu" : "Open menu"}
          aria-expanded=${menuOpen.value}
          aria-controls="nav"
          onClick=${() => {
            menuOpen.value = !menuOpen.value;
          }}
        />
      </header>
      ${menuOpen.value &&
      html`<div
        class="nav-shade"
        onClick=${() => {
          menuOpen.value = false;
        }}
      />`}
      <${Navigation} />
      <main class="main" id="main" tabindex="-1" ref=${main}>${children}</main>
    </div>
  `;
}

const Brand = () =>
  html`<${Link} to="/" class="brand">
    <img src="/static/img/starling.svg" alt="" width="26" height="26" />Starling
  <//>`;

function Navigation() {
  const { path } = route.value;
  const [icon, label] = THEMES[theme.value];
  const isHere = ([to, , , also]) =>
    path === to || (to !== "/" && path.startsWith(`${to}/`)) || also.some((a) => path.startsWith(a));
  return html`<nav id="nav" class=${menuOpen.value ? "nav is-open" : "nav"} aria-label="Main">
    <${Brand} />
    <ul>
      ${DESTINATIONS.map(
        (entry) => html`<li key=${entry[0]}>
          <${Link} to=${entry[0]} class="nav-link" aria-current=${isHere(entry) ? "page" : undefined}>
            <${Icon} name=${entry[2]} />${entry[1]}
          <//>
        </li>`,
      )}
    </ul>
    <div class="nav-foot">
      <a class="nav-link" href="/api/schema/redoc/"><${Icon} name="book-open" />API reference</a>
      <button type="button" class="nav-link" onClick=${nextTheme}>
        <${Icon} name=${icon} />${label}
      </button>
      <${Link}
        to="/profile"
        class="nav-link"
        aria-current=${path === "/profile" ? "page" : undefined}
      >
        <${Icon} name="user" /><span class="truncate">${personName(session.value.user)}</span>
      <//>
      <button type="button" class="nav-link" onClick=${leave}><${Icon} name="log-out" />Sign out</button>
    </div>
  </nav>`;
}

async function leave() {
  try {
    await signOut();
    signedOutBecause.value = "";
    go("/sign-in");
  } catch (error) {
    toast(error.message, "bad");
  }
}

/** Of the pages that were visited: promises of their sheets. */
const stylesheets = new Map();

/** Resolves when the page's stylesheet is there, so that it is never seen without; to its sheet. */
function stylesheet(name) {
  if (name === null) return Promise.resolve(null);
  if (!stylesheets.has(name)) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = `/static/css/views/${name}.css`;
    stylesheets.set(
      name,
      new Promise((resolve, reject) => {
        link.addEventListener("load", () => resolve(link.sheet));
        link.addEventListener("error", () => {
          stylesheets.delete(name);
          reject(new Error("A part of this page could not be loaded."));
        });
      }),
    );
    document.head.append(link);
  }
  return stylesheets.get(name);
}

let inForce = null;

/** Pages use the same words for different things: only the sheet of the one that is shown counts. */
function dress(sheet) {
  if (inForce !== null) inForce.disabled = true;
  if (sheet !== null) sheet.disabled = false;
  inForce = sheet;
}

let anythingShown = false;

function PageHost({ bare = false }) {
  const { page, params, query, path } = route.value;
  const [loaded, setLoaded] = useState(null);
  const [failure, setFailure] = useState(null);

  // A page without its own right to be here is about to be replaced by the door, and a door by a page.
  const passing = bare ? !page.open : page.css === "doors";

  function load() {
    if (passing) return undefined;
    let current = true;
    setFailure(null);
    Promise.all([page.load(), stylesheet(page.css)]).then(
      ([module, sheet]) => {
        if (!current) return;
        dress(sheet);
        setLoaded({ page, View: module.default });
      },
      () => current && setFailure("This page could not be loaded. Check that the server runs."),
    );
    return () => {
      current = false;
    };
  }
  useEffect(load, [page, passing]);
  useEffect(() => {
    document.title = page.title === "Overview" ? "Starling" : `${page.title} · Starling`;
    scrollTo(0, 0);
    if (loaded?.page !== page) return;
    // Who listens to the page hears where they are; not at the start, where the browser says it.
    const target = anythingShown ? "main [autofocus], h1" : "main [autofocus]";
    document.querySelector(target)?.focus();
    anythingShown = true;
  }, [path, loaded]);

  if (passing) return null;
  if (failure !== null) {
    return html`<${Notice} tone="bad" action=${html`<${Button} onClick=${load}>Try again<//>`}>
      ${failure}
    <//>`;
  }
  if (loaded === null || loaded.page !== page) return html`<${Loading} />`;
  return html`<${loaded.View} key=${path} params=${params} query=${query} />`;
}
