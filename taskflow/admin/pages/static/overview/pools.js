/**
 * The pools: how many tasks run at once, and how many may.
 * @module pools
 */

import { gauge } from "./charts.js";
import { fill, h, setText } from "../core/dom.js";
import { count } from "../core/format.js";

const NAMES = {
  async: ["Async tasks", "max_concurrent_tasks"],
  thread: ["Sync tasks", "max_sync_threads"],
  anyio: ["Sync routes", "anyio's thread pool, shared with the routes of the application"],
};

/** The pools, in the given element. */
export class Pools {
  #element;
  #rows = new Map();

  constructor(element) {
    this.#element = element;
  }

  /** Show the numbers of an overview. */
  show(overview) {
    for (const pool of overview.pools) {
      if (!this.#rows.has(pool.pool)) this.#rows.set(pool.pool, poolRow(pool.pool));
      this.#rows.get(pool.pool).update(pool);
    }
    if (!this.#element.querySelector("dl")) fill(this.#element, h("dl", { class: "pools" }));
    const list = this.#element.firstChild;
    this.#rows.forEach(({ element }) => element.isConnected || list.append(element));
    this.#element.setAttribute("aria-busy", "false");
  }
}

function poolRow(name) {
  const [title, limit] = NAMES[name] ?? [name, ""];
  const used = h("span");
  const waiting = h("span", { class: "waiting" });
  const bar = gauge();
  const element = h("div", {}, h("dt", { title: limit }, title), h("dd", {}, used, waiting, bar.element));
  const update = ({ slots, in_use: inUse, waiting: queue }) => {
    setText(
      used,
      slots === null ? `${count(inUse)} running, no limit` : `${count(inUse)} of ${count(slots)}`,
    );
    // Tasks that wait for a pool with free places start in a moment.
    setText(waiting, queue && inUse >= slots ? `${count(queue)} waiting` : "");
    bar.element.hidden = slots === null;
    bar.update(slots ? inUse / slots : 0);
  };
  return { element, update };
}
