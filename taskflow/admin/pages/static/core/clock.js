/**
 * The server's time, and every text on the page that changes as it passes.
 *
 * @module clock
 */

import { h, setText } from "./dom.js";
import { duration, exact, local, relative } from "./format.js";
import { isFinished } from "./status.js";

let offset = 0;

/** Learn what time it is on the server, from an answer that was made just now; RFC 3339. */
export function synchronise(text) {
  offset = Date.parse(text) - Date.now();
}

/** Learn what time it is there at least: messages may have been on their way for a while. */
export function hasBeen(text) {
  offset = Math.max(offset, Date.parse(text) - Date.now());
}

/** Milliseconds since 1970, on the server's clock: the one that wrote every time on this page. */
export const now = () => Date.now() + offset;

/** A `<time>` that says how long ago it was, and exactly when on hover. */
export function when(text) {
  if (!text) return "–";
  const moment = Date.parse(text);
  return h("time", { datetime: text, title: exact(moment), "data-moment": moment }, relative(moment, now()));
}

/** The same with the moment beside it, for where nobody can point. */
export const whenExactly = (text) =>
  text ? [when(text), h("span", { class: "muted" }, local(Date.parse(text)))] : "–";

/** A text that counts up, from a moment in milliseconds since 1970. */
export function elapsed(since) {
  return h("span", { "data-elapsed": since }, duration(Math.max(0, now() - since) / 1000));
}

/** How long a task took, from seconds; or has taken, if it has not ended, from its start in milliseconds. */
export function took(status, started, seconds) {
  const unknown = !started || started > now() + 60_000; // by the clock of an instance that is far ahead
  return isFinished(status) || unknown ? duration(seconds) : elapsed(started);
}

/** Bring every such text up to date. */
export function tick(root = document) {
  const current = now();
  for (const element of root.querySelectorAll("[data-moment]")) {
    setText(element, relative(Number(element.dataset.moment), current));
  }
  for (const element of root.querySelectorAll("[data-elapsed]")) {
    setText(element, duration(Math.max(0, current - Number(element.dataset.elapsed)) / 1000));
  }
}

/** Do so every second. */
export const start = () => setInterval(tick, 1000, document);
