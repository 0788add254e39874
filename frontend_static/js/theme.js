/** Light, dark, or as the system has it; remembered in this browser. */
import { signal } from "./html.js";

const KEY = "starling-theme";
const ORDER = ["system", "light", "dark"];

/** "system", "light" or "dark". */
export const theme = signal(document.documentElement.dataset.theme ?? "system");

/** Counts changes of what is shown, for what draws its own colours (canvas). */
export const themeVersion = signal(0);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  themeVersion.value += 1;
});

export function nextTheme() {
  setTheme(ORDER[(ORDER.indexOf(theme.value) + 1) % ORDER.length]);
}

function setTheme(name) {
  theme.value = name;
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Not remembered, but it works until the page is left.
  }
  themeVersion.value += 1;
}

/** The present value of a design token such as "--accent". */
export function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
