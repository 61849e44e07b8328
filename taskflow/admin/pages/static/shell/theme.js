// Loaded before the page is drawn, so that it never flashes in the wrong theme; hence not a module.
"use strict";
(() => {
  try {
    const chosen = localStorage.getItem("taskflow-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser that keeps nothing for this page: the system's theme it is.
  }
})();
