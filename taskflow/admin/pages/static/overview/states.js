/**
 * The number of tasks in each state. Each number is a button that filters by that state.
 * @module states
 */

import { fill, h, setAttribute, setText } from "../core/dom.js";
import { age, count, percent, rate } from "../core/format.js";
import { icon } from "../core/icons.js";
import { STATUSES } from "../core/status.js";

/** Buttons with the counts, in the given element. */
export class States {
  #buttons = new Map();

  /** `toggle` is called with the state that was pressed, or null for all of them. */
  constructor(element, toggle) {
    for (const status of [null, ...STATUSES]) {
      const button = stateButton(status, () => toggle(status));
      this.#buttons.set(status, button);
    }
    fill(
      element,
      [...this.#buttons.values()].map((button) => button.element),
    );
  }

  /** Show which states the filter lets through. */
  press(chosen) {
    this.#buttons.forEach((button, status) => {
      const pressed = status === null ? chosen.length === 0 : chosen.includes(status);
      setAttribute(button.element, "aria-pressed", String(pressed));
    });
  }

  /** Show the numbers of an overview. */
  show(overview) {
    const total = STATUSES.reduce((sum, status) => sum + (overview.counts[status] ?? 0), 0);
    this.#buttons.forEach((button, status) => {
      const number = status === null ? total : (overview.counts[status] ?? 0);
      setText(button.number, count(number));
      setText(button.note, number || status === null ? note(status, overview) : "");
      button.element.classList.toggle("none", number === 0);
    });
  }
}

function stateButton(status, press) {
  const number = h("span", { class: "number" }, "–");
  const note = h("span", { class: "note muted" });
  const element = h(
    "button",
    { type: "button", class: "state", "data-status": status, "aria-pressed": "false", on: { click: press } },
    h("span", { class: "label" }, icon(status ?? "all"), status ?? "all"),
    number,
    note,
  );
  return { element, number, note };
}

function note(status, { success_rate: share, oldest = {}, tasks, bucket_seconds: seconds }) {
  if (status === null) return `finishing ${rate(recent(tasks, "throughput") / (RECENT * seconds))}`;
  if (status === "success") return share === null ? "" : `${percent(share)} of finished`;
  if (status === "failed") return lately(tasks);
  const waited = oldest[status];
  return waited === null || waited === undefined ? "" : `oldest ${age(waited)}`;
}

const RECENT = 3; // full buckets that "finishing" is made of

// The last bucket is not full yet.
function recent(tasks, name) {
  return sum(tasks.map((task) => sum(task[name].slice(-1 - RECENT, -1))));
}

function lately(tasks) {
  const failures = sum(tasks.map((task) => sum(task.failures)));
  return failures ? `${count(failures)} in 10 min` : "none in 10 min";
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
