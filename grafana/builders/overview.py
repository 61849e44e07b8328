"""*Taskflow / Overview*: is anything wrong, and where?"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builders.limits import ERROR_BUDGET, FAILURE_RATIO, LOOP_LAG, SUCCESS_OBJECTIVE
from grafana.builders.page import OVERVIEW_UID, TASK_UID, Row, assemble, every_task
from grafana.builders.panels import (
    Column,
    Frame,
    Query,
    at_least,
    at_most,
    drill_down,
    graph,
    number,
    tabulation,
)
from grafana.builders.queries import UP, Scope, ratio
from grafana.builders.shared import (
    log_lines,
    queue_wait,
    recovered,
    run_time,
    throughput,
    unfinished,
    wait_limits,
)
from taskflow.metrics.catalogue import (
    BACKEND_OPERATION,
    BUILD_INFO,
    EVENT_LOOP_LAG,
    OBSERVER_DROPPED,
    OBSERVER_ERRORS,
    OBSERVER_QUEUE_SIZE,
    OLDEST_TASK,
    POOL_SLOTS,
    POOL_SLOTS_IN_USE,
    POOL_WAIT,
    POOL_WAITING,
    SNAPSHOT_DURATION,
    SNAPSHOT_FAILURES,
    SNAPSHOT_LAST_SUCCESS,
    SNAPSHOT_RECORDS,
    TASK_DURATION,
    TASK_ERRORS,
    TASK_QUEUE,
    TASK_RETRIES,
    TASKS,
    TASKS_FINISHED,
)

__all__ = ["overview"]

SCOPE = Scope('task=~"$task"')

PENDING, RUNNING, FAILED = 'state="pending"', 'state="running"', 'status="failed"'

NO_BACKEND = "no backend"
"""What panels about snapshots say in an application without one."""

TO_TASK_OF_LINE = drill_down(TASK_UID, "__field.labels.task")
TO_TASK_OF_CELL = drill_down(TASK_UID, "__value.text")


def overview() -> Dashboard:
    """The dashboard."""
    rows = [
        Row("Is anything wrong?", [*work_in_numbers(), *engine_in_numbers()]),
        Row("How much, and how well", [throughput(SCOPE, 12), success(), unfinished(SCOPE, 6)]),
        Row("Which task", [tasks_table(), failing_tasks(), error_types(), retries()]),
        Row("Time", [queue_wait(SCOPE, 12), run_time(SCOPE, 12), oldest_waiting(), longest_running()]),
        Row("Saturation", [pool_use(), pool_waiting(), pool_wait()]),
        Row("Event loop and observers", [loop_lag(), observer_losses(), observer_queues()]),
        Row("Snapshots", [history_age(), flush_time(), records(), backend_time(), backend_outcomes()]),
        Row("Restarts, logs and versions", [recovered(SCOPE, 8), log_lines(SCOPE, 8), versions()]),
    ]
    description = "Is anything wrong with the background tasks, and where?"
    return assemble(OVERVIEW_UID, "Taskflow / Overview", description, every_task(), rows)


def work_in_numbers() -> list[stat.Panel]:
    """Do tasks succeed, and in time?"""
    objective = at_least((1 + SUCCESS_OBJECTIVE) / 2, SUCCESS_OBJECTIVE)
    succeeded = "Of the tasks that succeeded or failed. Red: the objective is missed."
    waited = "How long 95 % of the tasks waited at most for their first start."
    oldest = "How long the oldest task has been waiting for its first start."
    full = "The share of slots or threads that are held, of the fullest pool. At 100 % tasks wait."
    return [
        number(Frame("Success ratio", succeeded, "percentunit", 3, objective), Query(SCOPE.success_ratio())),
        number(
            Frame("Queue wait p95", waited, "s", 3, wait_limits()), Query(SCOPE.quantile(0.95, TASK_QUEUE))
        ),
        number(
            Frame("Oldest waiting task", oldest, "s", 3, wait_limits()),
            Query(SCOPE.highest(OLDEST_TASK, PENDING)),
        ),
        number(
            Frame("Fullest pool", full, "percentunit", 3, at_most(0.8, 1)),
            Query(f"max({_pool_use('job, instance, pool')})"),
        ),
    ]


def engine_in_numbers() -> list[stat.Panel]:
    """Does what carries the tasks work?"""
    down = "Targets that Prometheus cannot scrape now, of those that had Taskflow on them within a day."
    late = "How late the latest event loop runs. Blocking calls in async code make it high."
    lost = "Events of the shown time that an observer never received: its logs or metrics have holes."
    unsaved = "Flushes of the shown time that failed. They are tried again."
    return [
        number(Frame("Targets down", down, "short", 3, at_most(1, 1)), Query(_down())),
        number(
            # Not of all together: one that is blocked would drown among many, and gives fewer samples.
            Frame("Event loop lag p99", late, "s", 3, _lag_limits()),
            Query(f"max({SCOPE.quantile(0.99, EVENT_LOOP_LAG, by='job, instance')})"),
        ),
        number(
            Frame("Lost events", lost, "short", 3, at_most(1, 1), no_value="none"),
            Query(SCOPE.increase(OBSERVER_DROPPED), instant=True),
        ),
        number(
            Frame("Failed snapshots", unsaved, "short", 3, at_most(1, 5), NO_BACKEND),
            Query(SCOPE.increase(SNAPSHOT_FAILURES), instant=True),
        ),
    ]


def _down() -> str:
    # `up` alone is everybody's; that of a target that is down says nothing of Taskflow.
    seen = f"last_over_time({SCOPE.select(BUILD_INFO)}[1d])"
    return f"sum((1 - {SCOPE.select(UP)}) and on (job, instance) {seen})"


def success() -> timeseries.Panel:
    """Whether tasks succeed."""
    meaning = "Of the tasks that succeeded or failed; dashed: the objective."
    objective = at_least(SUCCESS_OBJECTIVE, SUCCESS_OBJECTIVE)
    return graph(
        Frame("Success ratio by job", meaning, "percentunit", 6, objective),
        Query(SCOPE.success_ratio(by="job"), "{{job}}"),
        from_zero=False,
    )


def tasks_table() -> table.Panel:
    """One line per task."""
    meaning = "Every task, at the end of the shown time. A click on a name opens the task's own dashboard."
    failing = at_most(ERROR_BUDGET, FAILURE_RATIO)
    oldest = SCOPE.highest(OLDEST_TASK, PENDING, by="task")
    return tabulation(
        Frame("Tasks", meaning, "short", 24),
        [
            Column("Finished", SCOPE.rate(TASKS_FINISHED, by="task"), "ops"),
            Column("Failure ratio", SCOPE.failure_ratio(by="task"), "percentunit", failing),
            Column("Run time p95", SCOPE.quantile(0.95, TASK_DURATION, by="task"), "s"),
            Column("Queue wait p95", SCOPE.quantile(0.95, TASK_QUEUE, by="task"), "s", wait_limits()),
            Column("Waiting", SCOPE.total(TASKS, PENDING, by="task"), "short"),
            Column("Oldest waiting", oldest, "s", wait_limits()),
        ],
        headings={"task": "Task"},
        links={"Task": TO_TASK_OF_CELL},
        worst="Failure ratio",
    )


def failing_tasks() -> timeseries.Panel:
    """Which tasks fail."""
    meaning = "The ten tasks that fail most in the end, failures a second. A click opens the task."
    return graph(
        Frame("Top failing tasks", meaning, "ops", 8),
        Query(f"topk(10, {SCOPE.rate(TASKS_FINISHED, FAILED, by='task')})", "{{task}}"),
        link=TO_TASK_OF_LINE,
    )


def error_types() -> timeseries.Panel:
    """Why tasks fail."""
    meaning = "The ten most frequent exceptions: failed attempts a second, those that were retried included."
    return graph(
        Frame("Top error types", meaning, "ops", 8),
        Query(f"topk(10, {SCOPE.rate(TASK_ERRORS, by='task, error_type')})", "{{error_type}} in {{task}}"),
        link=TO_TASK_OF_LINE,
    )


def retries() -> timeseries.Panel:
    """Which tasks are about to fail."""
    meaning = "The ten tasks that are retried most, retries a second: trouble that is no failure yet."
    return graph(
        Frame("Retries", meaning, "ops", 8),
        Query(f"topk(10, {SCOPE.rate(TASK_RETRIES, by='task')})", "{{task}}"),
        link=TO_TASK_OF_LINE,
    )


def oldest_waiting() -> timeseries.Panel:
    """What does not start."""
    meaning = "How long the oldest task of each name has been waiting for its first start."
    return graph(
        Frame("Oldest waiting task by task", meaning, "s", 12, wait_limits()),
        Query(f"topk(10, {SCOPE.highest(OLDEST_TASK, PENDING, by='task')})", "{{task}}"),
        link=TO_TASK_OF_LINE,
    )


def longest_running() -> timeseries.Panel:
    """What does not end."""
    meaning = "How long the longest attempt of each name has been running. A line that only rises hangs."
    return graph(
        Frame("Longest running task by task", meaning, "s", 12),
        Query(f"topk(10, {SCOPE.highest(OLDEST_TASK, RUNNING, by='task')})", "{{task}}"),
        link=TO_TASK_OF_LINE,
    )


def _pool_use(by: str) -> str:
    return ratio(SCOPE.total(POOL_SLOTS_IN_USE, by=by), SCOPE.total(POOL_SLOTS, by=by))


def pool_use() -> timeseries.Panel:
    """How full the pools are."""
    meaning = "The share of slots or threads that are held; a pool without a limit has no line."
    return graph(
        Frame("Pool use", meaning, "percentunit", 8, at_most(0.8, 1)),
        Query(_pool_use("instance, pool"), "{{pool}} {{instance}}"),
    )


def pool_waiting() -> timeseries.Panel:
    """Who waits for a pool."""
    meaning = "Tasks that wait for a slot or a thread; in the pool anyio, sync routes too."
    return graph(
        Frame("Waiting for a slot", meaning, "short", 8),
        Query(SCOPE.total(POOL_WAITING, by="instance, pool"), "{{pool}} {{instance}}"),
    )


def pool_wait() -> timeseries.Panel:
    """What the limit of a pool costs."""
    meaning = "How long 95 % of the attempts waited at most for their slot or thread."
    return graph(
        Frame("Slot wait p95", meaning, "s", 8, wait_limits()),
        Query(SCOPE.quantile(0.95, POOL_WAIT, by="pool"), "{{pool}}", exemplars=True),
    )


def loop_lag() -> timeseries.Panel:
    """Whether something blocks the loop."""
    meaning = "How late the event loop of each instance runs. Blocking calls in async code make it high."
    return graph(
        Frame("Event loop lag p99 by instance", meaning, "s", 8, _lag_limits()),
        Query(SCOPE.quantile(0.99, EVENT_LOOP_LAG, by="instance"), "{{instance}}"),
    )


def _lag_limits() -> dashboard.ThresholdsConfig:
    return at_most(LOOP_LAG / 10, LOOP_LAG)


def observer_losses() -> timeseries.Panel:
    """Whether observers see everything."""
    meaning = "Events a second that found an observer's queue full, and exceptions that it raised."
    return graph(
        Frame("Observer losses and errors", meaning, "ops", 8),
        Query(SCOPE.rate(OBSERVER_DROPPED, by="observer"), "{{observer}} lost"),
        Query(SCOPE.rate(OBSERVER_ERRORS, by="observer"), "{{observer}} raised"),
    )


def observer_queues() -> timeseries.Panel:
    """Whether observers keep up."""
    meaning = "Events that wait for an asynchronous observer. A queue holds 10,000, unless told otherwise."
    return graph(
        Frame("Observer queues", meaning, "short", 8, at_most(5_000, 10_000)),
        Query(SCOPE.total(OBSERVER_QUEUE_SIZE, by="observer"), "{{observer}}"),
    )


def history_age() -> timeseries.Panel:
    """Whether the history is saved."""
    meaning = "How long ago a flush last succeeded. It should stay near snapshot_interval."
    age = f"max by (instance) (time() - {SCOPE.select(SNAPSHOT_LAST_SUCCESS)})"
    return graph(
        Frame("Age of the saved history", meaning, "s", 8, no_value=NO_BACKEND), Query(age, "{{instance}}")
    )


def flush_time() -> timeseries.Panel:
    """How long saving takes."""
    return graph(
        Frame("Flush time p95", "How long successful flushes take.", "s", 8, no_value=NO_BACKEND),
        Query(SCOPE.quantile(0.95, SNAPSHOT_DURATION), "p95"),
    )


def records() -> timeseries.Panel:
    """How much is saved."""
    meaning = "Records a second that flushes write, and flushes a second that fail."
    return graph(
        Frame("Records saved", meaning, "ops", 8, no_value=NO_BACKEND),
        Query(SCOPE.rate(SNAPSHOT_RECORDS), "records"),
        Query(SCOPE.rate(SNAPSHOT_FAILURES), "failed flushes"),
    )


def backend_time() -> timeseries.Panel:
    """Whether the backend is slow."""
    slow = SCOPE.quantile(0.99, BACKEND_OPERATION, by="backend, operation")
    return graph(
        Frame("Backend time p99", "How long operations on the backend take.", "s", 12, no_value=NO_BACKEND),
        Query(slow, "{{backend}} {{operation}}"),
    )


def backend_outcomes() -> timeseries.Panel:
    """Whether the backend answers."""
    meaning = "Operations a second. Errors: the backend is down, or refuses."
    return graph(
        Frame("Backend operations by outcome", meaning, "ops", 12, no_value=NO_BACKEND),
        Query(SCOPE.rate(BACKEND_OPERATION, by="outcome", suffix="_count"), "{{outcome}}"),
    )


def versions() -> table.Panel:
    """What is deployed."""
    counted = f"count by (job, version, python) ({SCOPE.select(BUILD_INFO)})"
    return tabulation(
        Frame("Versions", "How many instances run which version of Taskflow and of Python.", "short", 8),
        [Column("Instances", counted, "short")],
        headings={"job": "Job", "version": "Taskflow", "python": "Python"},
    )
