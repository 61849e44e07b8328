/**
 * The table of tasks. Only the rows in sight and a few around them are elements of the page.
 * @module table
 */

import { took, when } from "../core/clock.js";
import { fill, h, setAttribute } from "../core/dom.js";
import { errorText, shortId } from "../core/format.js";
import { badge } from "../core/status.js";

const AROUND = 10; // rows above and below what is in sight
const NEAR = 30; // rows before the end at which the next page is asked for

const COLUMNS = [
  ["status", "Status"],
  ["task", "Task"],
  ["created", "Added"],
  ["attempts", "Attempts"],
  ["duration", "Duration"],
  ["tags", "Tags"],
  ["error", "Error"],
];

/** Draws the rows of a `Listing`, and calls a function when the reader opens one. */
export class Table {
  #listing;
  #open;
  #addressOf;
  #body = h("tbody");
  #above = spacer();
  #below = spacer();
  #drawn = new Map();
  #current = null;
  #frame = null;
  #focused = null; // the row that was opened or had the focus last, in sight or not
  #pointed = false;
  #atTop = true;

  /**
   * @param {Listing} listing
   * @param {function(string)} open is called with the id of a task.
   * @param {function(string): string} addressOf the address of the page with that task opened.
   */
  constructor(listing, open, addressOf) {
    this.#listing = listing;
    this.#open = open;
    this.#addressOf = addressOf;
    this.element = h("table", { class: "grid" }, caption(), head(), this.#body);
    this.#body.addEventListener("click", (event) => this.#click(event));
    this.#body.addEventListener("focusin", (event) => {
      this.#focused = event.target.closest("tr").dataset.id;
    });
    this.#body.addEventListener("pointerenter", (event) => {
      this.#pointed = event.pointerType === "mouse";
    });
    this.#body.addEventListener("pointerleave", () => {
      this.#pointed = false;
    });
    for (const name of ["scroll", "resize"]) addEventListener(name, () => this.draw(), { passive: true });
  }

  /** Whether the reader points at a row, has scrolled, or is at one with the keyboard: rows must not move. */
  get isRead() {
    return this.#pointed || !this.#atTop || this.#body.querySelector(":focus-visible") !== null;
  }

  /** Go to the newest row. */
  scrollToTop() {
    if (!this.#atTop) this.element.closest("section").scrollIntoView();
  }

  /** Draw at the next frame; several calls before it draw once. */
  draw() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#render();
    });
  }

  /** Mark the task that is open, or none (null). */
  mark(taskId) {
    this.#current = taskId;
    this.#focused = taskId ?? this.#focused;
    this.#drawn.forEach((drawn, id) => setAttribute(drawn.element, "aria-current", id === taskId && "true"));
  }

  /** Move the focus by some rows, from the row that had it or was opened last. */
  move(step) {
    const { rows } = this.#listing;
    if (rows.length === 0) return;
    const from = rows.findIndex((row) => row.task_id === this.#focused);
    const to = from < 0 ? 0 : Math.min(Math.max(from + step, 0), rows.length - 1);
    this.#reveal(to);
    this.focus(rows[to].task_id);
  }

  /** Give a task's row the focus, if it is drawn. */
  focus(taskId) {
    this.#drawn.get(taskId)?.element.querySelector("a").focus({ preventScroll: true });
  }

  #click(event) {
    const row = event.target.closest("tr[data-id]");
    const elsewhere = event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0;
    if (row === null || elsewhere || String(getSelection())) return;
    event.preventDefault();
    this.#open(row.dataset.id);
  }

  // The masthead, the toolbar and the table's head cover the top of the window.
  #reveal(index) {
    const height = this.#rowHeight();
    const top = this.#body.getBoundingClientRect().top + index * height;
    const covered = this.#headBottom();
    if (top < covered) scrollBy(0, top - Math.max(covered, 0));
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight);
    this.#render();
  }

  // The cells of the head stick to the top, its row does not.
  #headBottom() {
    return this.element.tHead.rows[0].cells[0].getBoundingClientRect().bottom;
  }

  #rowHeight() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 40;
  }

  #render() {
    const { rows } = this.#listing;
    const height = this.#rowHeight();
    const top = this.#body.getBoundingClientRect().top;
    const first = Math.floor(-top / height) - AROUND;
    this.#atTop = top >= this.#headBottom() - 1;
    const start = Math.min(Math.max(0, first), rows.length);
    const end = Math.min(rows.length, Math.max(0, first) + Math.ceil(innerHeight / height) + 2 * AROUND);
    this.element.setAttribute("aria-rowcount", this.#listing.complete ? rows.length + 1 : -1);
    this.#place(rows.slice(start, end), start);
    setHeight(this.#above, start * height);
    setHeight(this.#below, (rows.length - end) * height);
    if (rows.length - end < NEAR) this.#listing.more();
  }

  // Rows that remain are not moved, so that they keep the focus.
  #place(rows, start) {
    const before = this.#drawn;
    this.#drawn = new Map(rows.map((row) => [row.task_id, this.#drawOne(row, before.get(row.task_id))]));
    before.forEach((drawn, id) => this.#drawn.has(id) || drawn.element.remove());
    let previous = this.#above;
    if (!previous.isConnected) fill(this.#body, this.#above, this.#below);
    [...this.#drawn.values()].forEach(({ element }, index) => {
      element.setAttribute("aria-rowindex", start + index + 2);
      if (previous.nextSibling !== element) previous.after(element);
      previous = element;
    });
  }

  #drawOne(row, drawn) {
    if (drawn?.row === row && drawn.version === row.version) return drawn;
    const element =
      drawn?.element ??
      h("tr", { "data-id": row.task_id, "aria-current": row.task_id === this.#current && "true" });
    element.classList.toggle("left", Boolean(row.left));
    const focused = element.contains(document.activeElement);
    fill(element, ...cells(row, this.#addressOf(row.task_id)));
    if (focused) element.querySelector("a").focus({ preventScroll: true });
    return { element, row, version: row.version };
  }
}

function cells(row, address) {
  const name = h("a", { class: "name", href: address, title: row.func_name }, row.func_name);
  const detail = h("span", { class: "id mono", title: row.task_id }, shortId(row.task_id));
  const text = problem(row);
  const brief = text && h("span", { class: "brief" }, text);
  const contents = [
    badge(row.status),
    [name, detail, brief],
    when(row.created_at),
    attempts(row),
    took(row.status, row.started, row.duration),
    tags(row.tags),
    text && h("span", { title: text }, text),
  ];
  return COLUMNS.map(([column], index) => h("td", { class: column }, contents[index]));
}

// The attempts that have begun, the present one included.
function attempts({ status, started, retries_used: retries, max_retries: most }) {
  const waits = status === "pending" || status === "retrying";
  const begun = started ? retries + (waits ? 0 : 1) : 0;
  if (begun === 0) return "–";
  return most === 0 ? begun : `${begun} of ${most + 1}`;
}

function tags(of) {
  const each = Object.entries(of).map(([key, value]) =>
    h("span", { class: "tag", title: `${key}=${value}` }, h("span", { class: "muted" }, key, " "), value),
  );
  return h("span", { class: "tag-line" }, each);
}

function problem({ error, error_type: type, reason, status }) {
  return errorText(type, error) || reasonText(reason, status);
}

function reasonText(reason, status) {
  return reason && status !== "success" ? reason.replaceAll("_", " ") : "";
}

const caption = () => h("caption", { class: "visually-hidden" }, "Tasks, newest first");

function head() {
  const titles = COLUMNS.map(([column, title]) => h("th", { scope: "col", class: column }, title));
  return h("thead", {}, h("tr", { "aria-rowindex": 1 }, titles));
}

const spacer = () => h("tr", { class: "spacer", "aria-hidden": "true" }, h("td"));

function setHeight(row, height) {
  row.hidden = height === 0;
  row.firstChild.style.height = `${height}px`;
}
