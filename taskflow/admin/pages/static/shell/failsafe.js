// Says so where the page cannot be loaded, or not be understood by an old browser; hence not a module.
"use strict";
{
  const page = document.documentElement; // dashboard.js marks it at its end
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
  addEventListener("error", notice, true); // files that are missing tell nobody above them
}
