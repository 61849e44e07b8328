/**
 * The button that changes between light and dark; theme.js applies what was chosen to the next page.
 * @module themeswitch
 */

import { fill } from "../core/dom.js";
import { icon } from "../core/icons.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Make a button of it. */
export function themeSwitch(button) {
  const draw = () => {
    const target = other();
    button.setAttribute("aria-label", `Switch to the ${target} theme`);
    button.title = button.getAttribute("aria-label");
    fill(button, icon(target === "dark" ? "moon" : "sun"));
  };
  button.addEventListener("click", () => {
    choose(other());
    draw();
  });
  dark.addEventListener("change", draw);
  draw();
}

function other() {
  const current = document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  return current === "dark" ? "light" : "dark";
}

function choose(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("taskflow-theme", theme);
  } catch {
    // A browser that keeps nothing: it holds for this page.
  }
}
