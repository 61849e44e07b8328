/**
 * What the keys do.
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

/** Call the action of a key when it is pressed; `actions` are named as `KeyboardEvent.key` names keys. */
export function listen(actions) {
  addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") || (isTyping(event.target) && event.key !== "Escape")) return;
    if (event.key.startsWith("Arrow") && !event.target.closest("tr[data-id]")) return; // else they scroll
    event.preventDefault();
    action(event);
  });
}

/** Show what the keys do. */
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
