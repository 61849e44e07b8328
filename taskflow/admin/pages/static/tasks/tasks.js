/**
 * The part of the page with the table: when new tasks are inserted, and what is shown without rows.
 * @module tasks
 */

import { retryAll, retryableStates } from "./bulk.js";
import { fill, h, publishHeight, setAttribute, setText } from "../core/dom.js";
import { isNone } from "./filters.js";
import { plural } from "../core/format.js";
import { icon } from "../core/icons.js";
import { Listing } from "./listing.js";
import { announce } from "../core/notices.js";
import { Table } from "./table.js";

const LOOKED_AT = 100; // rows whose names of functions are offered in the filter

const FIRST_TASK = `@task_manager.task(retries=3)
async def send_email(address: str): ...

@app.post("/signup")
async def signup(
    address: str,
    tasks=Depends(task_manager.get_tasks),
):
    tasks.add_task(send_email, address)`;

/** The listing and the controls around it. */
export class Tasks {
  #list = document.getElementById("list");
  #news = document.getElementById("news");
  #open;
  #clear;
  #seen;
  #paused = false;
  #opened = false;
  #counts = {};
  #frame = null;
  #listing;
  #table;
  #foot = h("div", { class: "list-end" });
  #pause = h("button", { type: "button", on: { click: () => this.pause() } });
  #bulk = h("button", { type: "button", on: { click: () => this.#retryAll() } });
  #newer = h("button", { type: "button", on: { click: () => this.showNew() } });

  /**
   * @param {object} filter the first filter.
   * @param {object} actions `open(id)`, `clear()` the filter, `addressOf(id)`, and `seen(names)` for the
   *   names of functions that are in the list.
   */
  constructor(filter, { open, clear, addressOf, seen }) {
    this.#open = open;
    this.#clear = clear;
    this.#seen = seen;
    this.#listing = new Listing(
      filter,
      () => this.draw(),
      () => this.#follows,
    );
    this.#table = new Table(this.#listing, open, addressOf);
    fill(document.getElementById("list-actions"), this.#pause, this.#bulk);
    fill(this.#news, this.#newer);
    for (const name of ["scroll", "focusout", "pointerout"])
      addEventListener(name, () => this.#catchUp(), { passive: true });
    const toolbar = document.querySelector(".toolbar");
    publishHeight(toolbar, "--toolbar", toolbar.parentElement); // the table's head stays in sight below it
    this.draw();
  }

  /** The table, for the keyboard. */
  get table() {
    return this.#table;
  }

  get #follows() {
    return !this.#paused && !this.#opened && !this.#table.isRead;
  }

  /** Show the tasks that match another filter. */
  async show(filter) {
    await this.#listing.show(filter);
    if (this.#listing.state !== "ready") return;
    const { rows, complete } = this.#listing;
    announce(
      rows.length ? `${plural(rows.length, "task")}${complete ? "" : ", and more"}` : "No tasks match",
    );
  }

  /** Apply an event of the stream. */
  apply(event) {
    this.#listing.apply(event);
  }

  /** Mark the task that is open, or none (null). */
  mark(taskId) {
    this.#opened = taskId !== null;
    this.#table.mark(taskId);
    this.#catchUp();
  }

  /** Take the number of tasks in each state. */
  counts(counts) {
    this.#counts = counts;
    this.#drawBulk();
  }

  /** Read everything again. */
  reload() {
    this.#listing.reload();
  }

  /** Show the new tasks that were held back. */
  showNew() {
    if (this.#listing.held === 0) return;
    this.#listing.reload();
    this.#table.scrollToTop();
  }

  /** Let the list stand still, or follow what happens again. */
  pause() {
    this.#paused = !this.#paused;
    this.draw();
    this.#catchUp();
  }

  #catchUp() {
    if (this.#listing.held && this.#follows && !this.#listing.isReading) this.#listing.reload();
  }

  /** Try again what could not be read. */
  recover() {
    if (this.#listing.state === "failed") this.#listing.again();
  }

  /** Draw soon, once, however often it is asked for. */
  draw() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null;
      this.#draw();
    });
  }

  #draw() {
    const { rows, held } = this.#listing;
    this.#seen(new Set(rows.slice(0, LOOKED_AT).map((row) => row.func_name)));
    fill(this.#pause, icon(this.#paused ? "play" : "pause"), this.#paused ? "Follow" : "Pause");
    this.#pause.title = this.#paused ? "Show new tasks as they come (p)" : "Let the list stand still (p)";
    this.#newer.hidden = held === 0;
    fill(this.#newer, icon("up"), plural(held, "new task"));
    this.#drawBulk();
    setAttribute(this.#list, "aria-busy", String(this.#listing.state === "loading"));
    if (rows.length === 0) fill(this.#list, this.#instead());
    else this.#drawTable();
  }

  #drawBulk() {
    const states = retryableStates(this.#listing.filter);
    const none = this.#total(states) === 0 || this.#listing.rows.length === 0;
    this.#bulk.hidden = none || this.#matching(states) === 0;
    setText(this.#bulk, `Retry ${states.join(", ")}…`);
  }

  #retryAll() {
    const { filter } = this.#listing;
    retryAll(filter, this.#matching(retryableStates(filter)), this.#open);
  }

  // Known if the filter has no other conditions than states, or if all matching tasks have been read.
  #matching(states) {
    const { filter, rows, complete } = this.#listing;
    if (isNone({ ...filter, status: [] })) return this.#total(states);
    return complete ? rows.filter((row) => states.includes(row.status)).length : null;
  }

  #total(states) {
    return states.reduce((sum, state) => sum + (this.#counts[state] ?? 0), 0);
  }

  #drawTable() {
    if (!this.#table.element.isConnected) fill(this.#list, this.#table.element, this.#foot);
    const { state, complete, rows } = this.#listing;
    if (state === "failed") fill(this.#foot, this.#failure());
    else
      setText(this.#foot, complete ? `${plural(rows.length, "task")}, that is all` : "Loading older tasks …");
    this.#table.draw();
  }

  #instead() {
    const { state, filter } = this.#listing;
    if (state === "loading")
      return h(
        "div",
        { class: "skeletons", role: "status", "aria-label": "Loading tasks" },
        SKELETON.map(() => h("div", { class: "skeleton" })),
      );
    if (state === "failed")
      return h("div", { class: "message" }, h("h3", {}, "The tasks could not be loaded"), this.#failure());
    return isNone(filter) ? noTasks() : this.#noMatch();
  }

  #failure() {
    const again = h("button", { type: "button", on: { click: () => this.#listing.again() } }, "Try again");
    return [h("p", {}, this.#listing.error.message), again];
  }

  #noMatch() {
    const clear = h("button", { type: "button", on: { click: () => this.#clear() } }, "Clear filters");
    return h(
      "div",
      { class: "message" },
      h("h3", {}, "No tasks match"),
      h("p", {}, "New ones will appear here as they come."),
      clear,
    );
  }
}

const SKELETON = Array.from({ length: 10 });

function noTasks() {
  return h(
    "div",
    { class: "message" },
    h("h3", {}, "No tasks yet"),
    h("p", {}, "They will appear here as soon as the application adds one:"),
    h("pre", { tabindex: 0, "aria-label": "Example" }, FIRST_TASK),
  );
}
