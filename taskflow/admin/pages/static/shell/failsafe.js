// Tells the reader if a file cannot be loaded, or the browser is too old. Not a module: old browsers run it.
"use strict";
{
  const page = document.documentElement; // dashboard.js sets its `data-started` at the end
  const tell = () => {
    document.getElementById("connection").dataset.state = "lost";
    document.getElementById("connection-text").textContent = "Not loaded";
    const banner = document.getElementById("banner");
    banner.textContent =
      "This page could not be loaded completely. Reload it; it needs a browser of 2024 or newer.";
    banner.hidden = false;
  };
  const notice = ({ target }) => {
    const ours = target === window || target.matches("script, [rel=stylesheet]");
    if (!ours || page.dataset.started) return;
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", tell, { once: true });
    else tell();
  };
  addEventListener("error", notice, true); // the error of a missing file does not bubble: capture it
}
