/**
 * The dashboard's page: creates the parts, and connects them.
 * @module dashboard
 */

import { addressOf, read, write } from "./address.js";
import { hasLogin, overview } from "../server/api.js";
import { hasBeen, start, synchronise } from "../core/clock.js";
import { Connection } from "./connection.js";
import { Detail } from "../detail/detail.js";
import { publishHeight } from "../core/dom.js";
import { NONE } from "../tasks/filters.js";
import { Functions } from "../overview/functions.js";
import { Health } from "../overview/health.js";
import { icon } from "../core/icons.js";
import { listen, showHelp } from "./keyboard.js";
import { Pools } from "../overview/pools.js";
import { States } from "../overview/states.js";
import { Stream } from "../server/stream.js";
import { Tasks } from "../tasks/tasks.js";
import { themeSwitch } from "./themeswitch.js";
import { Toolbar } from "../tasks/toolbar.js";

const place = (id) => document.getElementById(id);
const title = document.title;

const FIRST_WAIT = 1_000; // milliseconds to wait for the stream; without it, everything is read then

let { filter } = read();

const states = new States(place("states"), toggleState);
const functions = new Functions(place("functions"), (name) =>
  setFilter({ ...filter, func_name: filter.func_name === name ? "" : name }),
);
const pools = new Pools(place("pools"));
const health = new Health(place("health"), place("trouble"));
const toolbar = new Toolbar(place("filters"), setFilter);
const tasks = new Tasks(filter, {
  open,
  clear: () => setFilter(NONE),
  addressOf: (id) => addressOf(filter, id),
  seen: (names) => toolbar.names(names),
});
const detail = new Detail(place("detail"), { show: open, leave, addressOf: (id) => addressOf(filter, id) });
const connection = new Connection(() => stream.reconnect());
const stream = new Stream("", {
  task: (event) => {
    hasBeen(event.timestamp);
    tasks.apply(event);
  },
  overview: (numbers) => {
    hasBeen(numbers.now);
    showOverview(numbers);
  },
  reset: readAll,
  state: (state, error) => {
    connection.show(state, error);
    if (state === "live") tasks.recover();
  },
});
const firstWait = setTimeout(readAll, FIRST_WAIT);

function showOverview(numbers) {
  [states, functions, pools, health].forEach((part) => part.show(numbers));
  tasks.counts(numbers.counts);
  toolbar.names(numbers.tasks.map((task) => task.func_name));
}

// If the overview cannot be read, the stream is lost as well, and the page says so.
function readAll() {
  clearTimeout(firstWait);
  tasks.reload();
  detail.refresh();
  overview().then(showFresh, () => {});
}

function showFresh(numbers) {
  synchronise(numbers.now);
  showOverview(numbers);
}

function showFilter() {
  states.press(filter.status);
  functions.press(filter.func_name);
  toolbar.show(filter);
}

function setFilter(chosen, typing = false) {
  const grows = typing && (filter.q !== "" || filter.tag !== "");
  filter = chosen;
  write(filter, detail.taskId, grows);
  showFilter();
  tasks.show(filter);
}

function toggleState(state) {
  const others = filter.status.filter((each) => each !== state);
  const status = state === null ? [] : others.length < filter.status.length ? others : [...others, state];
  setFilter({ ...filter, status });
}

function open(taskId) {
  write(filter, taskId);
  showTask(taskId);
}

function leave() {
  write(filter, null);
  showTask(null);
}

function showTask(taskId) {
  const before = detail.taskId;
  if (taskId === null) {
    detail.close();
    if (before !== null) tasks.table.focus(before); // so that the keyboard continues there
  } else {
    detail.open(taskId);
  }
  tasks.mark(taskId);
  document.title = taskId === null ? title : `${taskId.slice(0, 8)} – ${title}`;
}

function escape(event) {
  if (event.target.matches("input")) event.target.blur();
  else if (detail.taskId !== null) leave();
}

addEventListener("popstate", () => {
  const address = read();
  const changed = String(addressOf(filter, null)) !== addressOf(address.filter, null);
  filter = address.filter;
  showFilter();
  showTask(address.taskId);
  if (changed) tasks.show(filter);
});

listen({
  "/": () => toolbar.focus(),
  "?": showHelp,
  j: () => tasks.table.move(1),
  k: () => tasks.table.move(-1),
  ArrowDown: () => tasks.table.move(1),
  ArrowUp: () => tasks.table.move(-1),
  n: () => tasks.showNew(),
  p: () => tasks.pause(),
  Escape: escape,
});

publishHeight(place("banners"), "--banners", document.documentElement);
themeSwitch(place("theme"));
place("help").append(icon("keyboard"));
place("help").addEventListener("click", showHelp);
place("account").hidden = !hasLogin;
start();
showFilter();
if (read().taskId !== null) showTask(read().taskId);
document.documentElement.dataset.started = "true";
