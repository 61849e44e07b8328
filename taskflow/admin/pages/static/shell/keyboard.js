/**
 * The keyboard shortcuts.
 * @module keyboard
 */

import { h } from "../core/dom.js";

const KEYS = [
  ["/", "Search"],
  ["j or ↓", "Next task"],
  ["k or ↑", "Previous task"],
  ["Enter", "Open the task"],
  ["Esc", "Close the task, or leave the search"],
  ["n", "Show new tasks"],
  ["p", "Pause or follow the list"],
  ["?", "This help"],
];

/** Call the action of each key that is pressed; `actions` maps values of `KeyboardEvent.key` to functions. */
export function listen(actions) {
  addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") || (isTyping(event.target) && event.key !== "Escape")) return;
    if (event.key.startsWith("Arrow") && !event.target.closest("tr[data-id]")) return; // elsewhere arrows scroll
    event.preventDefault();
    action(event);
  });
}

/** Show the list of shortcuts. */
export function showHelp() {
  const rows = KEYS.map(([key, meaning]) =>
    h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, meaning)),
  );
  const dialog = h(
    "dialog",
    { "aria-labelledby": "help-title", on: { close: () => dialog.remove() } },
    h("h2", { id: "help-title" }, "Keyboard"),
    h("dl", { class: "keys" }, rows),
    h("form", { method: "dialog", class: "dialog-end" }, h("button", { type: "submit" }, "Close")),
  );
  document.body.append(dialog);
  dialog.showModal();
}

const isTyping = (element) => element.matches("input, select, textarea");
