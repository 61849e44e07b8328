/**
 * Retrying and cancelling one task.
 * @module actions
 */

import { ApiError, cancel, retry } from "../server/api.js";
import { h } from "../core/dom.js";
import { shortId } from "../core/format.js";
import { confirm, notify } from "../core/notices.js";
import { isFinished, isRetryable } from "../core/status.js";

/**
 * The buttons for what can be done with a record.
 *
 * @param {object} record of the API.
 * @param {function(string)} open shows the task with that id.
 * @param {function} changed is called when an action has changed something.
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

// While the server is asked, a second click does nothing.
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
