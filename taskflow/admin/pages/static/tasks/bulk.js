/**
 * Retries all tasks that match the filter and did not succeed.
 * @module bulk
 */

import { ApiError, page, retry } from "../server/api.js";
import { now } from "../core/clock.js";
import { fill, h, setText } from "../core/dom.js";
import { describe, toQuery } from "./filters.js";
import { count, plural, shortId } from "../core/format.js";
import { announce } from "../core/notices.js";
import { isRetryable } from "../core/status.js";

const AT_ONCE = 4; // requests under way
const PAGE = 200; // records
const EXAMPLES = 3; // ids that are shown for each reason

/** The states to retry: those of the filter that can be retried; without any in the filter, `failed`. */
export function retryableStates(filter) {
  return filter.status.length ? filter.status.filter(isRetryable) : ["failed"];
}

/**
 * Ask the reader, retry the tasks, and show the result.
 *
 * @param {object} filter
 * @param {number?} matching how many tasks match, if that is known.
 * @param {function(string)} open shows a task.
 */
export function retryAll(filter, matching, open) {
  const run = new BulkRetry({ ...filter, status: retryableStates(filter) }, matching);
  const close = h("button", { type: "button" }, "Cancel");
  const start = h("button", { type: "button", class: "primary" }, "Retry them");
  const content = h("div", {}, question(run));
  const dialog = h(
    "dialog",
    { class: "bulk", "aria-labelledby": "bulk-title" },
    h("h2", { id: "bulk-title" }, "Retry all that match?"),
    content,
    h("div", { class: "dialog-end" }, close, start),
  );
  close.addEventListener("click", () => dialog.close());
  start.addEventListener("click", async () => {
    start.remove();
    setText(close, "Stop");
    setText(dialog.querySelector("h2"), "Retrying");
    await run.go(() => fill(content, progress(run)));
    setText(dialog.querySelector("h2"), run.title);
    setText(close, "Close");
    fill(
      content,
      summary(run, (id) => {
        dialog.close();
        open(id);
      }),
    );
    announce(run.title);
  });
  dialog.addEventListener("close", () => {
    run.stop();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal(); // the focus is on Cancel
}

/** One pass over the listing, without tasks that are added after its start. */
class BulkRetry {
  retried = 0;
  before = 0; // had been retried already
  refused = new Map(); // reason → ids
  error = null;
  #stopped = false;
  #started = now();

  constructor(filter, matching) {
    this.filter = filter;
    this.matching = matching;
  }

  get title() {
    if (this.error) return "Could not continue";
    return this.#stopped ? "Stopped" : "Done";
  }

  get done() {
    return this.retried + this.before + this.count;
  }

  /** How many could not be retried. */
  get count() {
    return [...this.refused.values()].reduce((sum, ids) => sum + ids.length, 0);
  }

  get #over() {
    return this.#stopped || this.error !== null;
  }

  stop() {
    this.#stopped = true;
  }

  async go(changed) {
    const query = toQuery(this.filter, this.#started);
    query.set("limit", PAGE);
    if (!query.has("until")) query.set("until", new Date(this.#started).toISOString());
    changed();
    try {
      for (let more = true; more && !this.#over;) {
        const { records, cursor } = await page(query);
        await this.#retryPage(records, changed);
        query.set("cursor", cursor);
        more = cursor !== null;
      }
    } catch (error) {
      this.error = error;
    }
  }

  async #retryPage(records, changed) {
    const queue = records.values();
    const worker = async () => {
      for (const record of queue) {
        if (this.#over) return;
        await this.#retryOne(record.task_id);
        changed();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  }

  async #retryOne(id) {
    try {
      const { task } = await retry(id);
      if (Date.parse(task.created_at) < this.#started) this.before += 1;
      else this.retried += 1;
    } catch (error) {
      // Without a server or a session, all other tasks would fail in the same way.
      if (!(error instanceof ApiError) || [0, 401, 503].includes(error.status)) {
        this.error = error;
        return;
      }
      this.#refuse(error.message.replaceAll(id, "…"), id);
    }
  }

  #refuse(reason, id) {
    this.refused.set(reason, [...(this.refused.get(reason) ?? []), id]);
  }
}

function question({ filter, matching }) {
  const conditions = describe(filter);
  const kind = `${filter.status.join(" or ")} task`;
  const runs = matching === null || matching === 1 ? "runs" : "run";
  const all = `${matching === null ? `Every ${kind}` : plural(matching, kind)} ${runs} again`;
  return [
    h("p", {}, all, conditions.length ? ", matching all of this:" : "."),
    conditions.length > 0 &&
      h(
        "ul",
        { class: "conditions" },
        conditions.map((each) => h("li", {}, each)),
      ),
    h(
      "p",
      { class: "muted" },
      "Each becomes a new task with the same arguments. One that was retried before is left alone.",
    ),
  ];
}

function progress(run) {
  return [
    h("progress", { "aria-label": "Retrying", max: run.matching, value: run.matching && run.done }),
    h("p", {}, `${count(run.retried)} retried`, remarks(run)),
  ];
}

function remarks({ before, count: refused }) {
  return [
    before > 0 && `, ${count(before)} had been retried before`,
    refused > 0 && `, ${count(refused)} could not be`,
  ];
}

function summary(run, open) {
  const link = (id) =>
    h("button", { type: "button", class: "link mono", on: { click: () => open(id) } }, shortId(id));
  const reasons = [...run.refused].map(([reason, ids]) =>
    h(
      "li",
      {},
      `${count(ids.length)} × ${reason} `,
      ids.slice(0, EXAMPLES).map(link),
      ids.length > EXAMPLES && " …",
    ),
  );
  return [
    run.error && h("p", { class: "problem", "data-status": "failed" }, run.error.message),
    h("p", {}, `${plural(run.retried, "task")} retried`, remarks(run), "."),
    reasons.length > 0 && h("ul", { class: "conditions" }, reasons),
  ];
}
