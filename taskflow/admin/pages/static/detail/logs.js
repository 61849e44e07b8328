/**
 * A task's log lines.
 * @module logs
 */

import { fill, h } from "../core/dom.js";
import { clockTime, exact, plural } from "../core/format.js";

/** The choices: a level, and the levels above it. */
const LEVELS = {
  debug: "all levels",
  info: "info and above",
  warning: "warnings and errors",
  error: "errors",
};
const ORDER = Object.keys(LEVELS);

/** The log lines in an element: those of the record, and those that come with the stream. */
export class Logs {
  element = h("div", { class: "logs" });
  #lines = [];
  #known = new Set();
  #least = "debug";
  #frame = null;
  #list = h("ol", { class: "log-lines", tabindex: 0, "aria-label": "Log lines" });
  #note = h("p", { class: "muted" });

  constructor() {
    fill(this.element, this.#levelChoice(), this.#list, this.#note);
  }

  /** Add the lines of a record (`"<RFC 3339 time> <LEVEL> <message>"`). */
  show(lines) {
    this.#lines = this.#lines.filter(({ cut }) => !cut); // it counts more lines each time
    let place = "";
    for (const line of lines.map(parse)) {
      place = line.place ||= place; // a line without a time belongs after the one before it
      this.#add(line);
    }
    this.#drawSoon();
  }

  /** Add a line of the stream. */
  append({ timestamp, level, message }) {
    timestamp = timestamp.replace("+00:00", "Z");
    this.#add({ timestamp, level, message, place: timestamp });
    this.#drawSoon();
  }

  // The same line may come with the record and with the stream.
  #add(line) {
    const key = `${line.timestamp} ${line.level} ${line.message}`;
    if (this.#known.has(key) && !line.cut) return;
    this.#known.add(key);
    const before = this.#lines.findLastIndex((each) => each.place <= line.place);
    this.#lines.splice(before + 1, 0, line); // a line of the stream may come before older lines of the record
  }

  #drawSoon() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw() {
    const least = ORDER.indexOf(this.#least);
    const wanted = this.#lines.filter(({ level, cut }) => cut || ORDER.indexOf(level) >= least);
    const atEnd = this.#list.scrollTop + this.#list.clientHeight >= this.#list.scrollHeight - 4;
    fill(this.#list, wanted.map(drawLine));
    if (atEnd) this.#list.scrollTop = this.#list.scrollHeight;
    this.#list.hidden = wanted.length === 0;
    fill(this.#note, this.#remark(this.#lines.length - wanted.length));
  }

  #remark(hidden) {
    if (this.#lines.length === 0) return "Nothing was logged.";
    return hidden ? `${plural(hidden, "line")} below this level` : null;
  }

  #levelChoice() {
    const choose = (event) => {
      this.#least = event.target.value;
      this.#draw();
    };
    const options = Object.entries(LEVELS).map(([value, title]) => h("option", { value }, title));
    return h(
      "select",
      { class: "level-choice", "aria-label": "Levels to show", on: { change: choose } },
      options,
    );
  }
}

const CUT = "… cut: "; // how Taskflow's own remark begins, which has neither time nor level

function parse(text) {
  const [, timestamp, level, message] = text.match(/^(\d{4}-\S+Z) ([A-Z]+) (.*)$/s) ?? [
    null,
    "",
    "WARNING",
    text,
  ];
  const cut = !timestamp && text.startsWith(CUT);
  return { timestamp, level: level.toLowerCase(), message, cut, place: timestamp };
}

function drawLine({ timestamp, level, message, cut }) {
  if (cut) return h("li", { class: "cut" }, h("span", { class: "text" }, message));
  const moment = Date.parse(timestamp);
  return h(
    "li",
    { "data-level": level },
    timestamp ? h("time", { datetime: timestamp, title: exact(moment) }, clockTime(moment)) : h("span"),
    h("span", { class: "level" }, level),
    h("span", { class: "text" }, message),
  );
}
