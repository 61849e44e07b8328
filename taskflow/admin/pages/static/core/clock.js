/**
 * The server's time, and the texts on the page that change with the time.
 *
 * @module clock
 */

import { h, setText } from "./dom.js";
import { duration, exact, local, relative } from "./format.js";
import { isFinished } from "./status.js";

let offset = 0;

/** Set the clock by the time (RFC 3339) in an answer that the server made just now. */
export function synchronise(text) {
  offset = Date.parse(text) - Date.now();
}

/** Move the clock forward to a time (RFC 3339) of the server, never back: messages may arrive late. */
export function hasBeen(text) {
  offset = Math.max(offset, Date.parse(text) - Date.now());
}

/** Milliseconds since 1970, by the server's clock, which made all times on this page. */
export const now = () => Date.now() + offset;

/** A `<time>` that says how long ago a time was; its tooltip has the exact time. */
export function when(text) {
  if (!text) return "–";
  const moment = Date.parse(text);
  return h("time", { datetime: text, title: exact(moment), "data-moment": moment }, relative(moment, now()));
}

/** The same with the exact time beside it: on a phone there are no tooltips. */
export const whenExactly = (text) =>
  text ? [when(text), h("span", { class: "muted" }, local(Date.parse(text)))] : "–";

/** The time since a moment (milliseconds since 1970), which counts up. */
export function elapsed(since) {
  return h("span", { "data-elapsed": since }, duration(Math.max(0, now() - since) / 1000));
}

/** The duration of a task: `seconds` if it has ended, else the time since its start (milliseconds). */
export function took(status, started, seconds) {
  const unknown = !started || started > now() + 60_000; // the clock of another instance may be far ahead
  return isFinished(status) || unknown ? duration(seconds) : elapsed(started);
}

/** Update the texts that change with the time. */
export function tick(root = document) {
  const current = now();
  for (const element of root.querySelectorAll("[data-moment]")) {
    setText(element, relative(Number(element.dataset.moment), current));
  }
  for (const element of root.querySelectorAll("[data-elapsed]")) {
    setText(element, duration(Math.max(0, current - Number(element.dataset.elapsed)) / 1000));
  }
}

/** Update them every second. */
export const start = () => setInterval(tick, 1000, document);
