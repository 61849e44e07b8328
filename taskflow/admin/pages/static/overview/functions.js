/**
 * The table of functions: how many tasks of each ran, how many failed, and how long they took.
 * @module functions
 */

import { bars, steps } from "./charts.js";
import { fill, h, setAttribute, setText } from "../core/dom.js";
import { count, duration, percent, rate } from "../core/format.js";
import { icon } from "../core/icons.js";

const MINUTE = 6; // full buckets that the rate is made of
const FEW = 6; // functions that are shown before the reader asks for all
const NONE = "No function is registered, and no task has been added.";
const UNUSED = "no task of this function since this process started";

const COLUMNS = [
  ["name", "Function"],
  ["active", "Active"],
  ["throughput", "Finished"],
  ["rate", "Rate"],
  ["failing", "Failed"],
  ["latency", "Latency (p95)"],
  ["p50", "p50"],
  ["p95", "p95"],
  ["p99", "p99"],
];

/** The table of functions, in the given element. */
export class Functions {
  #element;
  #choose;
  #rows = new Map();
  #body = h("tbody");
  #all = false;
  #chosen = "";
  #more = h("button", { type: "button", class: "link more", on: { click: () => this.#expand() } });

  /** `choose` is called with the name of the function that was pressed. */
  constructor(element, choose) {
    this.#element = element;
    this.#choose = choose;
  }

  /** Show which function the filter lets through; "" for all. */
  press(name) {
    this.#chosen = name;
    this.#rows.forEach((row, each) => setAttribute(row.button, "aria-pressed", String(each === name)));
    this.#limit();
  }

  /** Show the numbers of an overview. */
  show(overview) {
    // The server sends the busiest first. Rows keep their places then: moving rows cannot be read.
    const fresh = overview.tasks.filter((task) => !this.#rows.has(task.func_name));
    fresh.forEach((task) => this.#add(task.func_name));
    const named = new Map(overview.tasks.map((task) => [task.func_name, task]));
    this.#rows.forEach(
      (row, name) => named.has(name) && row.update(named.get(name), overview.bucket_seconds),
    );
    this.#limit();
    if (this.#rows.size === 0) fill(this.#element, h("p", { class: "message small" }, NONE));
    else if (!this.#body.isConnected) this.#draw();
    this.#element.setAttribute("aria-busy", "false");
  }

  #draw() {
    const titles = COLUMNS.map(([column, title]) => h("th", { scope: "col", class: column }, title));
    const head = h("thead", {}, h("tr", {}, titles));
    fill(this.#element, h("table", { class: "functions-table" }, head, this.#body), this.#more);
  }

  #add(name) {
    const row = functionRow(name, () => this.#choose(name));
    this.#rows.set(name, row);
    this.#body.append(row.element);
    this.press(this.#chosen);
  }

  #expand() {
    this.#all = !this.#all;
    this.#limit();
  }

  #limit() {
    let index = 0;
    this.#rows.forEach((row, name) => {
      row.element.hidden = !this.#all && index++ >= FEW && name !== this.#chosen;
    });
    const others = [...this.#rows.values()].filter((row) => row.element.hidden);
    const failing = others.filter((row) => row.element.querySelector(".bad")).length;
    const active = others.filter((row) => row.element.querySelector(".active .status")).length;
    this.#more.hidden = this.#rows.size <= FEW;
    this.#more.classList.toggle("bad", failing > 0);
    const remark = [failing && `, ${count(failing)} with failures`, active && `, ${count(active)} active`]
      .filter(Boolean)
      .join("");
    setText(this.#more, this.#all ? "Show fewer" : `Show ${count(others.length)} more${remark}`);
  }
}

function functionRow(name, press) {
  const button = h(
    "button",
    { type: "button", class: "function", title: `Show only tasks of ${name}`, on: { click: press } },
    name,
  );
  const throughput = bars();
  const latency = steps();
  const texts = Object.fromEntries(
    ["active", "rate", "failing", "p50", "p95", "p99"].map((column) => [column, h("span")]),
  );
  const cells = { ...texts, throughput: throughput.element, latency: latency.element };
  const element = h(
    "tr",
    {},
    h("th", { scope: "row", class: "name" }, button),
    COLUMNS.slice(1).map(([column]) => h("td", { class: column }, cells[column])),
  );
  const update = (task, seconds) => {
    drawActive(texts.active, task.counts);
    updateThroughput(task, seconds, throughput, texts);
    updateLatency(task, seconds, latency, texts);
  };
  return { element, button, update };
}

function updateThroughput(task, seconds, chart, texts) {
  const { throughput: finished, failures } = task;
  const most = Math.max(...finished, 0);
  const whole = total(finished);
  const failed = total(failures);
  setText(texts.rate, whole ? rate(total(finished.slice(-1 - MINUTE, -1)) / (MINUTE * seconds)) : "–");
  setText(texts.failing, whole ? percent(failed / whole) : "–");
  texts.failing.className = failed ? "bad" : "none";
  chart.update({
    values: finished,
    parts: failures,
    top: most,
    scale: most ? rate(most / seconds) : "",
    seconds,
    label:
      `${task.func_name}: ${count(whole)} finished in 10 minutes, ${count(failed)} of them failed; ` +
      `at most ${rate(most / seconds)}`,
    describe: (index) => `${count(finished[index])} finished, ${count(failures[index])} failed`,
  });
}

function updateLatency(task, seconds, chart, texts) {
  for (const name of ["p50", "p95", "p99"]) setText(texts[name], duration(task[name]));
  const known = task.latency_p95.filter((value) => value !== null);
  const top = Math.max(...known, 0);
  chart.update({
    values: task.latency_p95,
    parts: [],
    top,
    scale: top ? duration(top) : "",
    seconds,
    label: known.length
      ? `${task.func_name}: p95 ${duration(known.at(-1))} lately, at most ${duration(top)}`
      : `${task.func_name}: nothing finished in 10 minutes`,
    describe: (index) =>
      task.latency_p95[index] === null ? "nothing finished" : `p95 ${duration(task.latency_p95[index])}`,
  });
}

function drawActive(element, counts) {
  const active = ["running", "pending", "retrying"].filter((state) => counts[state]);
  const unused = total(Object.values(counts)) === 0;
  const text = unused ? UNUSED : active.map((state) => `${count(counts[state])} ${state}`).join(", ");
  if (element.title === text && element.hasChildNodes()) return;
  element.title = text;
  element.classList.toggle("none", unused);
  const nothing = unused ? "unused" : "–";
  fill(element, active.length ? active.map((state) => activeCount(state, counts[state])) : nothing);
}

function activeCount(state, number) {
  const unit = h("span", { class: "visually-hidden" }, ` ${state}`);
  return h("span", { class: "status", "data-status": state }, icon(state), count(number), unit);
}

const total = (numbers) => numbers.reduce((sum, number) => sum + number, 0);
