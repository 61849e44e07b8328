/**
 * The timeline of a task, to scale: the wait for its start, each attempt, and the waits between attempts.
 * @module timeline
 */

import { now } from "../core/clock.js";
import { fill, h } from "../core/dom.js";
import { duration, errorText, mark, precise } from "../core/format.js";
import { isFinished } from "../core/status.js";

const MARK = 60; // pixels between two marks of the axis, at least
const SHORTEST = 0.0001; // seconds between them
const NOTICEABLE = 0.05; // seconds: shorter waits get no line

/**
 * The phases of a record (of the API), oldest first:
 * `{kind, title, from, to, status, note, live}`. `kind` is `queue`, `run`, `delay` or `slot` (from the end of a
 * delay to the start: a full pool); times are milliseconds since 1970; `status` is how a run ended, `live` that
 * it has not.
 */
export function phases(record, current) {
  const failed = (record.failed_attempts ?? []).map((attempt) => ({
    ...attempt,
    from: precise(attempt.started_at),
    to: precise(attempt.ended_at),
  }));
  const created = precise(record.created_at);
  const last = lastRun(record, failed);
  const starts = [...failed.map((attempt) => attempt.from), ...(last === null ? [] : [last])];
  const end = record.end_time ? precise(record.end_time) : null;
  const found = [queue(created, starts[0] ?? null, end, current)];
  failed.forEach((attempt, index) => {
    found.push(run(index, attempt.from, attempt.to, "failed", errorText(attempt.error_type, attempt.error)));
    found.push(...wait(attempt, starts[index + 1] ?? null, record, end, current));
  });
  if (last !== null) found.push(lastPhase(record, failed.length, last, end, current));
  return found.filter((phase) => phase !== null);
}

// While the task waits for its next attempt, `attempt_started` is still that of the last failed one.
function lastRun(record, failed) {
  if (!record.attempt_started || record.status === "pending") return null;
  const started = precise(record.attempt_started);
  return failed.length && started <= failed.at(-1).from ? null : started;
}

function queue(created, started, end, current) {
  const to = started ?? end ?? current;
  return { kind: "queue", title: "Queued", from: created, to, live: started === null && end === null };
}

const run = (index, from, to, status, note) => ({
  kind: "run",
  title: `Attempt ${index + 1}`,
  from,
  to,
  status,
  note,
  live: false,
});

function lastPhase(record, index, from, end, current) {
  const live = !isFinished(record.status);
  // Without a note: the exception of the last attempt is shown above the timeline.
  return { ...run(index, from, end ?? current, record.status, null), live };
}

function wait(attempt, next, record, end, current) {
  const due = attempt.to + attempt.next_delay * 1000;
  const until = next ?? end ?? Math.max(due, current);
  const live = next === null && end === null;
  const delay = {
    kind: "delay",
    title: "Retry delay",
    from: attempt.to,
    to: Math.min(due, until),
    live: live && current < due,
  };
  const late = until - due > NOTICEABLE * 1000;
  return late ? [delay, { kind: "slot", title: "Waiting to start", from: due, to: until, live }] : [delay];
}

/** Draws the phases of a record. `update` draws them again, with a new record or as time passes. */
export class Timeline {
  element = h("div", { class: "timeline" });
  #record = null;

  update(record = this.#record) {
    this.#record = record;
    const found = phases(record, now());
    const from = found[0].from;
    const span = Math.max(...found.map((phase) => phase.to)) - from || 1;
    const rows = found.map((phase) => [drawPhase(phase, from, span), drawNote(phase)]);
    fill(this.element, h("table", {}, columns(), head(), h("tbody", {}, rows)));
    this.element.append(axis(span, this.element.querySelector(".track").clientWidth / MARK));
  }
}

const columns = () =>
  h("colgroup", {}, h("col", { class: "titles" }), h("col"), h("col", { class: "lengths" }));
const head = () =>
  h(
    "thead",
    { class: "visually-hidden" },
    h(
      "tr",
      {},
      ["Phase", "When", "Took"].map((title) => h("th", { scope: "col" }, title)),
    ),
  );

function drawPhase(phase, from, span) {
  const seconds = Math.max(0, phase.to - phase.from) / 1000;
  const bar = h("span", {
    class: `phase ${phase.kind}`,
    "data-status": phase.status,
    "data-live": phase.live,
  });
  bar.style.left = `${((phase.from - from) / span) * 100}%`;
  bar.style.width = `${((phase.to - phase.from) / span) * 100}%`;
  const ended = phase.status && !phase.live ? ` ${phase.status}` : "";
  const title = h(
    "span",
    {},
    phase.title,
    h("span", { class: "outcome", "data-status": phase.status }, ended),
  );
  const track = h(
    "td",
    { class: "track", title: `starts ${duration((phase.from - from) / 1000)} after the task was added` },
    bar,
  );
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, title),
    track,
    h("td", { class: "took" }, duration(seconds)),
  );
}

function drawNote({ note }) {
  return note && h("tr", { class: "note" }, h("td"), h("td", { colspan: 2 }, h("p", { title: note }, note)));
}

function axis(span, room) {
  const step = niceStep(Math.max(SHORTEST, span / 1000 / Math.max(2, room)));
  const marks = [];
  for (let seconds = 0; seconds <= span / 1000; seconds += step) {
    const element = h("span", { class: "mark" }, mark(seconds));
    element.style.left = `${(seconds * 100_000) / span}%`;
    marks.push(element);
  }
  return h("div", { class: "axis", "aria-hidden": "true" }, h("div", { class: "scale" }, marks));
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400];

// The first step that is long enough: decimal below a second, units of a clock above.
function niceStep(seconds) {
  if (seconds > 1) return STEPS.find((step) => step >= seconds) ?? Math.ceil(seconds / 86_400) * 86_400;
  const magnitude = 10 ** Math.floor(Math.log10(seconds));
  return magnitude * [1, 2, 5, 10].find((step) => step * magnitude >= seconds * 0.999);
}
