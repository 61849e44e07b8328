/**
 * Tells the result of an action, on the page and to screen readers.
 * @module notices
 */

import { h, setText } from "./dom.js";
import { icon } from "./icons.js";

const SHOWN = 8_000; // milliseconds

/** Have screen readers read a text. */
export function announce(text) {
  const announcer = document.getElementById("announcer");
  // Without the added space the same text twice would be no change, and would not be read.
  setText(announcer, announcer.textContent === text ? `${text}\u00a0` : text);
}

/** Show a notice at the edge of the page for some seconds; `action` is `[title, function]`. */
export function notify(text, { failed = false, action = null } = {}) {
  announce(text);
  const remove = () => notice.remove();
  const button =
    action &&
    h(
      "button",
      {
        type: "button",
        class: "link",
        on: {
          click: () => {
            remove();
            action[1]();
          },
        },
      },
      action[0],
    );
  const close = h(
    "button",
    { type: "button", class: "quiet icon-only", "aria-label": "Dismiss", on: { click: remove } },
    icon("close"),
  );
  const tone = failed ? "failed" : "success";
  const notice = h(
    "div",
    { class: "notice", "data-status": tone },
    icon(failed ? "warning" : "success"),
    h("span", {}, text),
    button,
    close,
  );
  document.getElementById("notices").append(notice);
  if (!failed) setTimeout(remove, SHOWN);
}

/** Ask before an action that cannot be undone; resolves to whether the reader confirmed it. */
export function confirm(title, text, verb) {
  const { promise, resolve } = Promise.withResolvers();
  const dialog = h(
    "dialog",
    {
      "aria-labelledby": "confirm-title",
      on: {
        close: () => {
          dialog.remove();
          resolve(dialog.returnValue === "yes");
        },
      },
    },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "confirm-title" }, title),
      h("p", {}, text),
      h(
        "div",
        { class: "dialog-end" },
        h("button", { type: "submit", value: "no" }, "Keep it"),
        h("button", { type: "submit", value: "yes", class: "primary" }, verb),
      ),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return promise;
}
