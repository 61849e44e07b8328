/**
 * The filter: which tasks to show. It is kept in the page's address, which can be shared.
 *
 * A filter is a plain object with the keys of `NONE`.
 *
 * @module filters
 */

import { STATUSES } from "../core/status.js";

/** The filter that shows all tasks. */
export const NONE = Object.freeze({
  status: [],
  func_name: "",
  tag: "",
  q: "",
  last: "",
  since: "",
  until: "",
});

/** Periods up to now to choose from: value of `last` → name and seconds. */
export const PERIODS = {
  "15m": ["Last 15 minutes", 900],
  "1h": ["Last hour", 3_600],
  "24h": ["Last 24 hours", 86_400],
  "7d": ["Last 7 days", 604_800],
};

const TEXTS = ["func_name", "tag", "q", "since", "until"];

/** Read the filter from the query of an address; unknown parts are left out. */
export function fromAddress(search) {
  const parameters = new URLSearchParams(search);
  const last = parameters.get("last") ?? "";
  return {
    ...Object.fromEntries(TEXTS.map((name) => [name, parameters.get(name) ?? ""])),
    status: parameters.getAll("status").filter((status) => STATUSES.includes(status)),
    last: last in PERIODS ? last : "",
  };
}

/** The query of an address for a filter. */
export function toAddress(filter) {
  const parameters = texts(filter, [...TEXTS, "last"]);
  filter.status.forEach((status) => parameters.append("status", status));
  return parameters;
}

/** The query of the API for a filter; `now` in milliseconds since 1970. */
export function toQuery(filter, now) {
  const parameters = texts(filter, ["func_name", "tag", "q"]);
  filter.status.forEach((status) => parameters.append("status", status));
  const { since, until } = bounds(filter, now);
  if (since !== null) parameters.set("since", new Date(since).toISOString());
  if (until !== null) parameters.set("until", new Date(until).toISOString());
  return parameters;
}

/** Whether a row matches a filter, by the same rules as the server's. */
export function matches(filter, row, now) {
  const { since, until } = bounds(filter, now);
  return (
    (filter.status.length === 0 || filter.status.includes(row.status)) &&
    (!filter.func_name || row.func_name === filter.func_name) &&
    (!filter.tag ||
      labels(row).some((label) => label === filter.tag || label.startsWith(`${filter.tag}=`))) &&
    (since === null || row.created >= since) &&
    (until === null || row.created < until) &&
    (!filter.q || searched(row).includes(filter.q.toLowerCase()))
  );
}

/** Whether a filter shows all tasks. */
export const isNone = (filter) => toAddress(filter).size === 0;

/** A filter in words, one text for each condition. */
export function describe(filter) {
  const since = filter.since && `from ${filter.since.replace("T", " ")}`;
  const until = filter.until && `until ${filter.until.replace("T", " ")}`;
  return [
    filter.func_name && `function ${filter.func_name}`,
    filter.tag && `tag ${filter.tag}`,
    filter.q && `“${filter.q}” in name, id, tags or error`,
    filter.last && PERIODS[filter.last][0].toLowerCase(),
    since,
    until,
  ].filter(Boolean);
}

function texts(filter, names) {
  return new URLSearchParams(names.filter((name) => filter[name]).map((name) => [name, filter[name]]));
}

function bounds(filter, now) {
  if (filter.last) return { since: now - PERIODS[filter.last][1] * 1000, until: null };
  return { since: moment(filter.since), until: moment(filter.until) };
}

function moment(text) {
  const parsed = Date.parse(text);
  return Number.isNaN(parsed) ? null : parsed;
}

const labels = (row) => Object.entries(row.tags).map(([key, value]) => `${key}=${value}`);

const searched = (row) =>
  [row.func_name, row.task_id, ...labels(row), row.error ?? ""].join("\n").toLowerCase();
