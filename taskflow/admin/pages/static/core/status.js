/**
 * The states of a task.
 * @module status
 */

import { h } from "./dom.js";
import { icon } from "./icons.js";

/** All states, in the order in which a task goes through them. */
export const STATUSES = ["pending", "running", "retrying", "success", "failed", "interrupted", "cancelled"];

const TERMINAL = new Set(["success", "failed", "interrupted", "cancelled"]);
const RETRYABLE = new Set(["failed", "interrupted", "cancelled"]);

/** Whether a task in this state has ended. */
export const isFinished = (status) => TERMINAL.has(status);

/** Whether a task in this state may be run again. */
export const isRetryable = (status) => RETRYABLE.has(status);

/** Icon and name of a state, in its colour. */
export const badge = (status) => h("span", { class: "status", "data-status": status }, icon(status), status);
