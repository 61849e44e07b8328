/**
 * The state of the page in its address: the filter, and the open task.
 * @module address
 */

import { fromAddress, toAddress } from "../tasks/filters.js";

/** The filter, and the id of the open task or null. */
export function read() {
  const taskId = new URLSearchParams(location.search).get("task");
  return { filter: fromAddress(location.search), taskId };
}

/** The address for a filter and an open task (or null), relative to this page. */
export function addressOf(filter, taskId) {
  const parameters = toAddress(filter);
  if (taskId) parameters.set("task", taskId);
  return `?${parameters}`;
}

/** Write them to the address; with `replace` the back button does not lead to the address before. */
export function write(filter, taskId, replace = false) {
  history[replace ? "replaceState" : "pushState"](null, "", addressOf(filter, taskId));
}
