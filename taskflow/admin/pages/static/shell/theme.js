// Runs before the page is drawn, so that it does not flash in the wrong theme. Not a module: those run later.
"use strict";
(() => {
  try {
    const chosen = localStorage.getItem("taskflow-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // The browser stores nothing for this page: the system's theme is used.
  }
})();
