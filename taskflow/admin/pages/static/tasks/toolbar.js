/**
 * The fields of the filter.
 * @module toolbar
 */

import { fill, h } from "../core/dom.js";
import { NONE, PERIODS, isNone } from "./filters.js";
import { icon } from "../core/icons.js";

const PAUSE = 250; // milliseconds after the last key until the search begins

/** The fields, in the given form. */
export class Toolbar {
  #change;
  #filter = NONE;
  #names = new Set();
  #timer = null;
  #fields;
  #clear = h("button", { type: "button", class: "link", on: { click: () => this.clear() } }, "Clear filters");

  /** `change` is called with the new filter, and whether the reader is typing in a field. */
  constructor(form, change) {
    this.#change = change;
    this.#fields = fields();
    const { q, func_name: name, tag, period, since, until } = this.#fields;
    fill(
      form,
      h("span", { class: "search" }, icon("search"), q),
      name,
      tag,
      period,
      since,
      until,
      this.#clear,
    );
    form.addEventListener("submit", (event) => this.#submit(event));
    for (const field of [q, tag]) field.addEventListener("input", () => this.#typed());
    for (const field of [name, since, until]) field.addEventListener("change", () => this.#send());
    period.addEventListener("change", () => this.#periodChosen());
  }

  /** Show a filter. */
  show(filter) {
    this.#filter = filter;
    this.#offer(filter.func_name);
    const custom = Boolean(filter.since || filter.until);
    for (const name of ["q", "func_name", "tag", "since", "until"])
      setValue(this.#fields[name], filter[name]);
    this.#fields.period.value = custom ? "custom" : filter.last;
    this.#showRange(custom);
    this.#clear.hidden = isNone(filter);
  }

  /** Add names of functions to the choice. */
  names(names) {
    names.forEach((name) => this.#offer(name));
  }

  /** Remove all conditions. */
  clear() {
    clearTimeout(this.#timer);
    this.#change(NONE, false);
  }

  /** Go to the search field. */
  focus() {
    this.#fields.q.focus();
    this.#fields.q.select();
  }

  #offer(name) {
    if (!name || this.#names.has(name)) return;
    this.#names.add(name);
    const select = this.#fields.func_name;
    const after = [...select.options].slice(1).find((option) => option.value > name) ?? null;
    select.insertBefore(h("option", { value: name }, name), after);
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#send(true), PAUSE);
  }

  #submit(event) {
    event.preventDefault();
    this.#send();
  }

  #periodChosen() {
    const custom = this.#fields.period.value === "custom";
    this.#showRange(custom);
    if (custom) this.#fields.since.focus();
    else this.#send();
  }

  #showRange(visible) {
    this.#fields.since.hidden = this.#fields.until.hidden = !visible;
  }

  #send(typing = false) {
    clearTimeout(this.#timer);
    const { q, func_name: name, tag, period, since, until } = this.#fields;
    const custom = period.value === "custom";
    this.#change(
      {
        status: this.#filter.status,
        q: q.value.trim(),
        func_name: name.value,
        tag: tag.value.trim(),
        last: custom ? "" : period.value,
        since: custom ? since.value : "",
        until: custom ? until.value : "",
      },
      typing,
    );
  }
}

function fields() {
  const text = (label, attributes) =>
    h("input", { "aria-label": label, autocomplete: "off", spellcheck: "false", ...attributes });
  const periods = Object.entries(PERIODS).map(([value, [title]]) => h("option", { value }, title));
  return {
    q: text("Search name, id, tags and error", {
      type: "search",
      placeholder: "Search name, id, tags, error",
      class: "q",
    }),
    func_name: h("select", { "aria-label": "Function" }, h("option", { value: "" }, "All functions")),
    tag: text("Tag, as key or key=value", { placeholder: "tag=value", class: "tag-field" }),
    period: h(
      "select",
      { "aria-label": "Added" },
      h("option", { value: "" }, "Any time"),
      periods,
      h("option", { value: "custom" }, "From – until …"),
    ),
    since: text("Added from", { type: "datetime-local", hidden: true }),
    until: text("Added until", { type: "datetime-local", hidden: true }),
  };
}

// Setting the value of a field moves the cursor in it, so only a new value is set.
function setValue(field, value) {
  if (field.value.trim() !== value) field.value = value;
}
