/**
 * The rows of the table: what it shows of a task, without traceback and log lines, which need much memory.
 *
 * `created`, `started` and `changed` are milliseconds since 1970.
 *
 * @module rows
 */

const SHOWN = 300; // characters of an error

/** The row of a record of the API. */
export function ofRecord(record) {
  return {
    ...common(record),
    started: time(record.start_time),
    changed: Math.max(
      ...[record.created_at, record.attempt_started, record.end_time, lastFailure(record)].map(time),
    ),
  };
}

/** The row for an event of the stream; `before` is the present row of the task, or null. */
export function ofEvent(event, before) {
  const changed = time(event.timestamp);
  const starts = event.status === "running" && !before?.started;
  return {
    ...common({ ...event, created_at: event.created_at ?? before?.created_at ?? event.timestamp }),
    ...(event.status === "success" ? NO_ERROR : latestError(event, before)),
    started: starts ? changed : (before?.started ?? startOf(event, changed)),
    changed,
  };
}

/** The order of the listing: the newest first; among those of one moment by id. */
export function compare(a, b) {
  return b.created - a.created || order(b.created_at, a.created_at) || order(b.task_id, a.task_id);
}

function common(source) {
  return {
    task_id: source.task_id,
    func_name: source.func_name,
    status: source.status,
    created_at: source.created_at,
    created: time(source.created_at),
    retries_used: source.retries_used,
    max_retries: source.max_retries,
    duration: source.duration,
    error: source.error?.slice(0, SHOWN) ?? null,
    error_type: source.error_type ?? null,
    tags: source.tags ?? {},
    reason: source.reason,
  };
}

const NO_ERROR = { error: null, error_type: null };

function latestError(event, before) {
  const { error, error_type } = event.error_type ? event : (before ?? event);
  return { error: error ?? null, error_type: error_type ?? null };
}

const order = (a, b) => (a < b ? -1 : Number(a > b));
const time = (text) => (text ? Date.parse(text) : 0);
const lastFailure = (record) => record.failed_attempts?.at(-1)?.ended_at;
const startOf = (event, changed) => (event.duration === null ? 0 : changed - event.duration * 1000);
