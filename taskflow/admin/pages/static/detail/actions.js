/**
 * The buttons that retry or cancel one task.
 * @module actions
 */

import { ApiError, cancel, retry } from "../server/api.js";
import { h } from "../core/dom.js";
import { shortId } from "../core/format.js";
import { confirm, notify } from "../core/notices.js";
import { isFinished, isRetryable } from "../core/status.js";

/**
 * The buttons for the actions that a record allows.
 *
 * @param {object} record of the API.
 * @param {function(string)} open shows the task with an id.
 * @param {function} changed is called after an action.
 */
export function actionButtons(record, open, changed) {
  if (isRetryable(record.status) && !record.retried_by) {
    return [button("Retry", "primary", () => retryTask(record, open, changed))];
  }
  return isFinished(record.status) ? [] : [button("Cancel", "danger", () => cancelTask(record, changed))];
}

async function retryTask(record, open, changed) {
  const { task_id: id } = await retry(record.task_id);
  notify(`${record.func_name} runs again as ${shortId(id)}.`, { action: ["Show it", () => open(id)] });
  changed();
}

const CANCELLED = {
  pending: "never runs.",
  retrying: "is not tried again.",
  running: "stops where it awaits; a sync function that has begun cannot be stopped.",
};

async function cancelTask(record, changed) {
  const name = `${record.func_name} (${shortId(record.task_id)})`;
  const text = `${name} ${CANCELLED[record.status]} It can be retried afterwards, from the beginning.`;
  if (!(await confirm("Cancel this task?", text, "Cancel it"))) return;
  await cancel(record.task_id);
  notify(`${record.func_name} was cancelled.`);
  changed();
}

// The button is disabled until the server has answered.
function button(title, look, act) {
  const element = h("button", { type: "button", class: look, on: { click } }, title);
  async function click() {
    element.disabled = true;
    try {
      await act();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      notify(`${title} failed: ${error.message}`, { failed: true });
    } finally {
      element.disabled = false;
    }
  }
  return element;
}
