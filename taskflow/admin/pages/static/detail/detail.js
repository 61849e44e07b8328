/**
 * The panel with all that is known about one task.
 * @module detail
 */

import { actionButtons } from "./actions.js";
import { task } from "../server/api.js";
import { tick, when } from "../core/clock.js";
import { breakable, fill, h, setAttribute } from "../core/dom.js";
import { callArguments, facts, problem, section, traceback } from "./facts.js";
import { icon } from "../core/icons.js";
import { Logs } from "./logs.js";
import { announce } from "../core/notices.js";
import { badge, isFinished } from "../core/status.js";
import { Stream } from "../server/stream.js";
import { Timeline } from "./timeline.js";

const TICK = 200; // milliseconds between two updates of a timeline that grows

/** The panel, in the given element: one task at a time. */
export class Detail {
  #element;
  #show;
  #leave;
  #addressOf;
  #taskId = null;
  #parts = null;
  #stream = null;
  #ticking = null;
  #request = null;

  /**
   * @param {function(string)} show opens another task.
   * @param {function} leave is called when the reader closes the panel.
   * @param {function(string): string} addressOf the address of the page with a task opened.
   */
  constructor(element, { show, leave, addressOf }) {
    this.#element = element;
    this.#show = show;
    this.#leave = leave;
    this.#addressOf = addressOf;
  }

  /** The id of the task that is open, or null. */
  get taskId() {
    return this.#taskId;
  }

  /** Open a task. */
  open(taskId) {
    if (taskId === this.#taskId) return;
    this.close();
    this.#taskId = taskId;
    this.#parts = parts(this.#leave);
    fill(this.#element, this.#parts.head, this.#parts.body);
    setAttribute(this.#element, "aria-busy", "true");
    this.#element.hidden = false;
    cover(narrow.matches);
    this.#parts.title.focus({ preventScroll: true });
    this.#read();
    this.#follow(taskId);
  }

  /** Close the panel. */
  close() {
    this.#taskId = null;
    this.#request?.abort();
    this.#stop();
    fill(this.#element);
    this.#element.hidden = true;
    cover(false);
  }

  /** Read the task again, if one is open. */
  refresh() {
    if (this.#taskId !== null) this.#read();
  }

  // The first `reset` of the stream reads the task again, so that no change is missed between the two.
  #follow(taskId) {
    this.#stream = new Stream(`task_id=${encodeURIComponent(taskId)}`, {
      task: () => this.#read(),
      log: (line) => this.#parts.logs.append(line),
      reset: () => this.#read(),
    });
    this.#ticking = setInterval(
      () => this.#parts.timeline.element.isConnected && this.#parts.timeline.update(),
      TICK,
    );
  }

  #stop() {
    this.#stream?.close();
    clearInterval(this.#ticking);
  }

  async #read() {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    try {
      const record = await task(this.#taskId, request.signal);
      if (!request.signal.aborted) this.#draw(record);
    } catch (error) {
      if (!request.signal.aborted) this.#fail(error);
    }
  }

  #draw(record) {
    const { title, status, buttons, content, timeline, logs } = this.#parts;
    fill(title, breakable(record.func_name));
    fill(status, badge(record.status), when(since(record)));
    this.#drawButtons(buttons, record);
    logs.show(record.logs);
    keepFocus(content, () => fill(content, this.#contents(record)));
    timeline.update(record); // after it is in the page: it needs its width
    setAttribute(this.#element, "aria-busy", "false");
    tick(this.#element);
    if (isFinished(record.status)) this.#stop();
  }

  // Buttons are replaced only if others are needed: a click must not be lost.
  #drawButtons(place, record) {
    const state = `${record.status} ${record.retried_by}`;
    if (place.dataset.state === state) return;
    place.dataset.state = state;
    const retried = (id) => this.#show(id);
    fill(
      place,
      actionButtons(record, retried, () => this.refresh()),
      traceLink(record),
    );
  }

  #contents(record) {
    const { timeline, logs } = this.#parts;
    return [
      problem(record),
      section("Timeline", timeline.element),
      facts(record, (id) => this.#taskLink(id)),
      callArguments(record),
      section("Log", logs.element),
      traceback(record),
    ];
  }

  #taskLink(id) {
    const open = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.#show(id);
    };
    return h("a", { class: "mono", href: this.#addressOf(id), on: { click: open } }, id);
  }

  #fail(error) {
    announce(error.message);
    setAttribute(this.#element, "aria-busy", "false");
    const again = h("button", { type: "button", on: { click: () => this.#read() } }, "Try again");
    const found = error.status !== 404;
    if (!found) this.#stop();
    fill(
      this.#parts.content,
      h(
        "div",
        { class: "message" },
        h("p", {}, found ? error.message : NOT_FOUND),
        found && again,
      ),
    );
  }
}

const NOT_FOUND = "There is no task with this id. It may be older than the history that is kept.";

// When the task entered its state.
function since({ status, ...record }) {
  if (isFinished(status)) return record.end_time;
  if (status === "running") return record.attempt_started;
  return record.failed_attempts.at(-1)?.ended_at ?? record.created_at;
}

// On a phone the panel covers the page: what is behind it must not get the focus.
const narrow = matchMedia("(max-width: 620px)");

function cover(covered) {
  document.querySelectorAll("main, .masthead, .skip").forEach((element) => {
    element.inert = covered;
  });
}

function parts(leave) {
  const title = h("h2", { id: "detail-title", tabindex: -1 }, "Task");
  const status = h("p", { class: "detail-status" });
  const buttons = h("div", { class: "detail-actions" });
  const close = h(
    "button",
    {
      type: "button",
      class: "quiet icon-only",
      "aria-label": "Close (Escape)",
      title: "Close (Esc)",
      on: { click: leave },
    },
    icon("close"),
  );
  const head = h(
    "header",
    { class: "detail-head" },
    h("div", { class: "detail-name" }, title, status),
    buttons,
    close,
  );
  const content = h(
    "div",
    { class: "detail-content" },
    h("div", { class: "skeleton tall" }),
    h("div", { class: "skeleton tall" }),
  );
  const body = h("div", { class: "detail-body", tabindex: -1 }, content);
  return { title, status, buttons, head, content, body, timeline: new Timeline(), logs: new Logs() };
}

// Only web addresses: a `javascript:` address would run in this page.
function traceLink({ trace_url: address }) {
  if (!/^https?:\/\//i.test(address ?? "")) return null;
  return h(
    "a",
    { class: "button", href: address, target: "_blank", rel: "noreferrer" },
    "Trace",
    icon("external"),
  );
}

function keepFocus(root, change) {
  const held = document.activeElement;
  const scrolls = [...root.querySelectorAll(".log-lines, pre")].map((element) => [
    element,
    element.scrollTop,
  ]);
  change();
  scrolls.forEach(([element, top]) => {
    element.scrollTop = top;
  });
  if (held !== document.activeElement && held?.isConnected) held.focus({ preventScroll: true });
}
