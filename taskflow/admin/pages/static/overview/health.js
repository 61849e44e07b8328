/**
 * Whether anything is wrong with the manager, its backend or its observers.
 * @module health
 */

import { fill, h } from "../core/dom.js";
import { count } from "../core/format.js";
import { icon } from "../core/icons.js";

/** What is wrong, and the state of the observers, in the given elements. */
export class Health {
  #element;
  #banner;
  #shown = null;

  /** `banner` is the element at the top of the page for what keeps the manager from working. */
  constructor(element, banner) {
    this.#element = element;
    this.#banner = banner;
  }

  /** Show the state of an overview. */
  show({ health, observers }) {
    const state = JSON.stringify([health, observers]);
    if (state === this.#shown) return;
    this.#shown = state;
    const lossy = observers.filter((observer) => observer.errors || observer.dropped);
    const table = observers.length
      ? observerTable(observers)
      : h("p", { class: "message small" }, "No observers are configured.");
    fill(this.#element, h("div", { class: "health" }, verdicts(health, lossy)), table);
    fill(this.#banner, icon("warning"), h("span", {}, health.reasons.join("; ")));
    this.#banner.hidden = health.ok;
    this.#element.setAttribute("aria-busy", "false");
  }
}

function verdicts(health, lossy) {
  const reasons = health.reasons.map((reason) => verdict("failed", "warning", reason));
  if (lossy.length) reasons.push(verdict("retrying", "warning", "Some events did not reach an observer."));
  return reasons.length ? reasons : [verdict("success", "success", "All is well")];
}

const verdict = (tone, picture, text) =>
  h("p", { class: "verdict", "data-status": tone }, icon(picture), h("span", {}, text));

function observerTable(observers) {
  const titles = ["Observer", "Queued", "Dropped", "Errors"].map((title) => h("th", { scope: "col" }, title));
  return h(
    "table",
    { class: "observers" },
    h("thead", {}, h("tr", {}, titles)),
    h("tbody", {}, observers.map(observerRow)),
  );
}

function observerRow({ name, queue, dropped, errors }) {
  const numbers = [queue, dropped, errors].map((number, index) =>
    h("td", { class: index && number ? "bad" : "" }, count(number)),
  );
  return h("tr", {}, h("th", { scope: "row", title: name }, name), numbers);
}
