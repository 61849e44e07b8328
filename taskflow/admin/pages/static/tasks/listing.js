/**
 * The listing: the pages that were read so far, updated by the live stream.
 * @module listing
 */

import { page } from "../server/api.js";
import { now } from "../core/clock.js";
import { matches, toQuery } from "./filters.js";
import { compare, ofEvent, ofRecord } from "./rows.js";
import { isFinished } from "../core/status.js";

const PAGE = 100; // records
const SURPLUS = 400; // rows that may be added to those that were read until the oldest ones are dropped

/**
 * Attributes:
 * `rows` what to show, newest first; `filter`; `state` is `loading`, `ready` or `failed` (`error` says why);
 * `complete` whether there is nothing more to read; `held` how many new tasks are not shown yet.
 */
export class Listing {
  rows = [];
  state = "loading";
  error = null;
  complete = false;
  #filter;
  #rowOf = new Map();
  #held = new Set();
  #meanwhile = []; // events of the stream that came while a page was loading
  #next = {}; // parameters of the query for the next page
  #read = 0;
  #request = null;
  #failed = null; // repeats the request that failed
  #changed;
  #following;

  /**
   * @param {object} filter
   * @param {function} changed is called after every change.
   * @param {function} following returns whether new tasks may be inserted now.
   */
  constructor(filter, changed, following) {
    this.#filter = filter;
    this.#changed = changed;
    this.#following = following;
  }

  get filter() {
    return this.#filter;
  }

  get held() {
    return this.#held.size;
  }

  /** Show the tasks that match another filter. */
  show(filter) {
    this.#filter = filter;
    this.#forget();
    return this.reload();
  }

  /** Read the first page again; the present rows stay until it has arrived. */
  reload() {
    return this.#turn({}, () => this.#forget());
  }

  /** Read the next page, unless a page is loading or there is none. */
  async more() {
    if (!this.complete && this.#request === null && this.state === "ready") await this.#turn(this.#next);
  }

  /** Whether something is being read. */
  get isReading() {
    return this.#request !== null;
  }

  /** Repeat the request that failed. */
  again() {
    return this.#failed?.();
  }

  /** Apply an event of the stream. */
  apply(event) {
    if (this.#request !== null) this.#meanwhile.push(event);
    this.#apply(event);
    this.#changed();
  }

  async #turn(from, prepare = () => {}) {
    const request = this.#begin();
    this.#failed = () => this.#turn(from, prepare);
    const found = await this.#fetch(request, from);
    if (found === null || request.signal.aborted) return;
    prepare();
    this.#add(found.records.map(ofRecord).filter((row) => !this.#rowOf.has(row.task_id)));
    this.#settle(found.cursor);
    this.#meanwhile.forEach((event) => this.#apply(event));
    this.#changed();
  }

  #apply(event) {
    const before = this.#rowOf.get(event.task_id) ?? null;
    const row = ofEvent(event, before);
    if (before !== null) this.#update(before, row);
    else if (matches(this.#filter, row, now())) this.#arrive(row);
  }

  // An event may be older than the record that was read: it is ignored then.
  #update(before, row) {
    if (row.changed < before.changed || (isFinished(before.status) && !isFinished(row.status))) return;
    const fits = matches(this.#filter, row, now());
    if (!fits && this.#following()) this.#remove(before);
    else Object.assign(before, row, { left: !fits, version: (before.version ?? 0) + 1 });
  }

  #arrive(row) {
    if (this.#isBelow(row)) return;
    if (!this.#following()) {
      this.#held.add(row.task_id);
      return;
    }
    this.#insert(row);
    if (this.rows.length > this.#read + SURPLUS && this.#request === null) this.#cut();
  }

  // Such a row comes with a later page.
  #isBelow(row) {
    return !this.complete && this.rows.length > 0 && compare(row, this.rows.at(-1)) > 0;
  }

  #insert(row) {
    const place = this.rows.findIndex((each) => compare(row, each) < 0);
    this.rows.splice(place < 0 ? this.rows.length : place, 0, row);
    this.#rowOf.set(row.task_id, row);
  }

  // While the list follows new tasks, its end is not read: it is dropped, and loaded again when the reader
  // scrolls there. Rows of the same millisecond are loaded twice then, and recognised by their ids.
  #cut() {
    this.rows.splice(PAGE).forEach((row) => this.#rowOf.delete(row.task_id));
    this.#read = PAGE;
    this.#next = { until: new Date(this.rows.at(-1).created + 1).toISOString() };
    this.complete = false;
  }

  #remove(row) {
    this.rows.splice(this.rows.indexOf(row), 1);
    this.#rowOf.delete(row.task_id);
  }

  #add(rows) {
    this.rows.push(...rows);
    rows.forEach((row) => this.#rowOf.set(row.task_id, row));
    this.#read = this.rows.length;
  }

  #forget() {
    this.rows = [];
    this.#rowOf.clear();
    this.#held.clear();
  }

  #begin() {
    this.#request?.abort();
    this.#request = new AbortController();
    this.#meanwhile = [];
    this.#changed();
    return this.#request;
  }

  async #fetch(request, from) {
    if (this.rows.length === 0) this.state = "loading";
    const query = toQuery(this.#filter, now());
    query.set("limit", PAGE);
    Object.entries(from).forEach(([name, value]) => query.set(name, value));
    try {
      return await page(query, request.signal);
    } catch (error) {
      if (!request.signal.aborted) this.#fail(error);
      return null;
    }
  }

  #settle(cursor) {
    this.#next = { cursor };
    this.complete = cursor === null;
    this.#request = null;
    this.state = "ready";
    this.error = null;
  }

  #fail(error) {
    this.#request = null;
    this.state = "failed";
    this.error = error;
    this.#changed();
  }
}
