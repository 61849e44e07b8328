/**
 * The parts of the panel that show fields of the record.
 * @module facts
 */

import { now, took, whenExactly } from "../core/clock.js";
import { breakable, h } from "../core/dom.js";
import { icon } from "../core/icons.js";
import { announce } from "../core/notices.js";

const REASONS = {
  shutdown: "The process stopped before the task ended.",
  not_dispatched: "The response failed before the task could start.",
  duplicate: "Another task held its idempotency key first.",
  requeued: "It was put back in the queue when the application started again.",
  rescued: "It was taken over from a process that has ended.",
  lease_expired: "It was taken over from an instance that did not renew its lease.",
  poison: "Its process was lost too often while the task ran.",
  user: "An operator cancelled it.",
  lease_lost: "Another instance took it over while this one did not answer.",
  store_lost: "Somebody deleted its row from the store.",
  request_cancelled: "Its request was cancelled, and no TaskManager had been started to own it.",
};

/** A part of the panel with a title. */
export function section(title, ...contents) {
  return h("section", { class: "part" }, h("h3", {}, title), contents);
}

/** Why the task is in its state: its reason and its exception; null without both. */
export function problem({ error, error_type: type, reason, status }) {
  const why = REASONS[reason] ?? reason;
  const raised = error || type; // many exceptions have no text
  if (!raised && !why) return null;
  return h(
    "div",
    { class: "problem", "data-status": raised ? "failed" : status },
    why && h("p", {}, why),
    raised && h("p", { class: "error-text" }, type && h("strong", {}, kind(type, error)), error),
  );
}

const kind = (type, error) => (error ? [breakable(`${type}:`), " "] : breakable(type));

/** Fields of the task as names and values; `link` makes a link to another task. */
export function facts(record, link) {
  const known = [
    ["Id", copyable(record.task_id)],
    ["Added", whenExactly(record.created_at)],
    ["Started", whenExactly(record.start_time)],
    ["Ended", record.end_time && whenExactly(record.end_time)],
    ["Duration", record.start_time && took(record.status, Date.parse(record.start_time), record.duration)],
    ["Retries", record.max_retries > 0 && `${record.retries_used} of ${record.max_retries} used`],
    ["Next attempt", record.next_attempt_at && due(record.next_attempt_at)],
    ["Retry of", record.retry_of && link(record.retry_of)],
    ["Retried by", record.retried_by && link(record.retried_by)],
    ["Duplicate of", record.duplicate_of && link(record.duplicate_of)],
    ["Idempotency key", record.idempotency_key && h("span", { class: "mono" }, record.idempotency_key)],
    ["Durable", record.durable && "yes, it survives a crash"],
    ["Trace", record.trace_id && copyable(record.trace_id)],
    ["Tags", tags(record.tags)],
  ];
  const rows = known
    .filter(([, value]) => value)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  return section("Facts", h("dl", { class: "facts" }, rows));
}

const due = (moment) =>
  Date.parse(moment) < now() ? "as soon as there is a free place" : whenExactly(moment);

/** The arguments of the call, if the application shows them. */
export function callArguments({ arguments: call, arguments_error: error }) {
  if (document.documentElement.dataset.args !== "true") return null;
  if (!call) return section("Arguments", h("p", { class: "muted" }, error ?? "They were not kept."));
  const all = [...call.args.map((value, index) => [index + 1, value]), ...Object.entries(call.kwargs)];
  if (all.length === 0) return section("Arguments", h("p", { class: "muted" }, "None."));
  const rows = all.map(([name, value]) =>
    h("div", {}, h("dt", { class: "mono" }, name), h("dd", { class: "mono" }, value)),
  );
  return section("Arguments", h("dl", { class: "facts arguments" }, rows));
}

/** The traceback of the latest exception. */
export function traceback({ stacktrace }) {
  if (!stacktrace) return null;
  const text = h("pre", { class: "traceback", tabindex: 0, "aria-label": "Traceback" }, stacktrace);
  return section("Traceback", copyButton(stacktrace, "Copy the traceback"), text);
}

function tags(of) {
  const all = Object.entries(of);
  return (
    all.length > 0 &&
    all.map(([key, value]) => h("span", { class: "tag" }, h("span", { class: "muted" }, key, " "), value))
  );
}

const copyable = (text) => [h("span", { class: "mono" }, text), copyButton(text, "Copy")];

function copyButton(text, title) {
  const copy = () =>
    copyText(text).then(
      () => announce("Copied"),
      () => announce("The browser did not allow copying"),
    );
  return h(
    "button",
    { type: "button", class: "quiet icon-only copy", "aria-label": title, title, on: { click: copy } },
    icon("copy"),
  );
}

// Browsers have `navigator.clipboard` only for https and localhost.
async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = h("textarea", { class: "visually-hidden" }, text);
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  if (!copied) throw new Error("not allowed");
}
