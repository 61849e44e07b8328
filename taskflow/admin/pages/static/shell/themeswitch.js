/**
 * The button that switches between light and dark. theme.js applies the choice when a page loads.
 * @module themeswitch
 */

import { fill } from "../core/dom.js";
import { icon } from "../core/icons.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** Make an element this button. */
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
    // The browser stores nothing: the choice holds for this page.
  }
}
