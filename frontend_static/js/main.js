/** Starts the console. */
import { html, render } from "./html.js";
import { loadSession } from "./session.js";
import { App } from "./shell.js";

const root = document.getElementById("app");
render(html`<${App} starting=${loadSession} />`, root);
