"""*Taskflow / Task*: how is this one task doing?"""

from __future__ import annotations

from grafana_foundation_sdk.builders import heatmap, stat, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builders.limits import ERROR_BUDGET, FAILURE_RATIO, SUCCESS_OBJECTIVE
from grafana.builders.page import TASK_UID, Row, assemble, one_task
from grafana.builders.panels import (
    STATE_COLOURS,
    STATUS_COLOURS,
    Frame,
    Query,
    at_least,
    at_most,
    graph,
    number,
    spectrum,
)
from grafana.builders.queries import RATE_WINDOW, Scope, ratio
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
    OLDEST_TASK,
    TASK_ATTEMPT_DURATION,
    TASK_DURATION,
    TASK_ERRORS,
    TASK_QUEUE,
    TASK_RETRIES,
    TASKS,
    TASKS_FINISHED,
    MetricDefinition,
)

__all__ = ["task"]

SCOPE = Scope('task="$task"')

PENDING, RUNNING = 'state="pending"', 'state="running"'


def task() -> Dashboard:
    """The dashboard."""
    rows = [
        Row("Now", [*work_in_numbers(), *load_in_numbers()]),
        Row("Rate", [throughput(SCOPE, 12), unfinished(SCOPE, 6), recovered(SCOPE, 6)]),
        Row("Errors", [failures(), error_types(), log_lines(SCOPE, 8)]),
        Row("Duration", [run_time(SCOPE, 12), run_times()]),
        Row("Attempts", [attempts(), attempt_time(), retries_per_task()]),
        Row("Waiting", [queue_wait(SCOPE, 8), queue_waits(), oldest()]),
    ]
    description = "One task: its rate, its errors, its duration, its attempts, and how long it waits."
    return assemble(TASK_UID, "Taskflow / Task", description, one_task(), rows)


def work_in_numbers() -> list[stat.Panel]:
    """Rate, errors, duration."""
    objective = at_least((1 + SUCCESS_OBJECTIVE) / 2, SUCCESS_OBJECTIVE)
    succeeded = "Of the runs that succeeded or failed."
    return [
        number(
            Frame("Finished", "Tasks a second, however they ended.", "ops", 4),
            Query(SCOPE.rate(TASKS_FINISHED)),
        ),
        number(Frame("Success ratio", succeeded, "percentunit", 4, objective), Query(SCOPE.success_ratio())),
        number(
            Frame("Run time p95", "How long 95 % of the tasks took at most.", "s", 4),
            Query(SCOPE.quantile(0.95, TASK_DURATION)),
        ),
    ]


def load_in_numbers() -> list[stat.Panel]:
    """What is under way."""
    waiting = "How long the oldest task has been waiting for its first start."
    return [
        number(Frame("Running", "Attempts under way.", "short", 4), Query(SCOPE.total(TASKS, RUNNING))),
        number(
            Frame("Waiting", "Tasks that wait for their first start.", "short", 4),
            Query(SCOPE.total(TASKS, PENDING)),
        ),
        number(
            Frame("Oldest waiting task", waiting, "s", 4, wait_limits()),
            Query(SCOPE.highest(OLDEST_TASK, PENDING)),
        ),
    ]


def failures() -> timeseries.Panel:
    """How many fail in the end."""
    meaning = "The share that fails after its last attempt. The upper dashed line is where the alert fires."
    limits = at_most(ERROR_BUDGET, FAILURE_RATIO)
    return graph(
        Frame("Failure ratio", meaning, "percentunit", 8, limits),
        Query(SCOPE.failure_ratio(by="instance"), "{{instance}}"),
    )


def error_types() -> timeseries.Panel:
    """What is raised."""
    meaning = "Failed attempts a second by exception, those that were retried included."
    return graph(
        Frame("Error types", meaning, "ops", 8),
        Query(SCOPE.rate(TASK_ERRORS, by="error_type"), "{{error_type}}"),
        stacked=True,
    )


def run_times() -> heatmap.Panel:
    """How run times are spread."""
    meaning = "How many tasks took how long. Two bands are two kinds of run, which no quantile shows."
    return spectrum(Frame("Run times", meaning, "s", 12), _growth(TASK_DURATION))


def queue_waits() -> heatmap.Panel:
    """How waiting times are spread."""
    meaning = "How many tasks waited how long for their first start."
    return spectrum(Frame("Queue waits", meaning, "s", 8), _growth(TASK_QUEUE))


def _growth(histogram: MetricDefinition) -> str:
    return SCOPE.increase(histogram, by="le", suffix="_bucket", window=RATE_WINDOW)


def attempts() -> timeseries.Panel:
    """How attempts end."""
    meaning = "Attempts a second. A failed one that is retried counts here, and not as a failed task."
    return graph(
        Frame("Attempts by outcome", meaning, "ops", 8),
        Query(SCOPE.rate(TASK_ATTEMPT_DURATION, by="outcome", suffix="_count"), "{{outcome}}"),
        stacked=True,
        colours=STATUS_COLOURS,
    )


def attempt_time() -> timeseries.Panel:
    """How long attempts take."""
    meaning = "Failures as long as a timeout are timeouts; failures at once are refusals, or bugs."
    return graph(
        Frame("Attempt time p95", meaning, "s", 8),
        Query(SCOPE.quantile(0.95, TASK_ATTEMPT_DURATION, by="outcome"), "{{outcome}}", exemplars=True),
        colours=STATUS_COLOURS,
    )


def retries_per_task() -> timeseries.Panel:
    """How much is done again."""
    per_task = ratio(SCOPE.rate(TASK_RETRIES), SCOPE.rate(TASKS_FINISHED))
    meaning = "How many retries a finished task needed on average."
    return graph(
        Frame("Retries per task", meaning, "short", 8, at_most(0.5, 1)), Query(per_task, "retries per task")
    )


def oldest() -> timeseries.Panel:
    """What hangs."""
    meaning = "How long the oldest task has been pending, in its attempt, or waiting for a retry."
    return graph(
        Frame("Oldest task by state", meaning, "s", 8),
        Query(SCOPE.highest(OLDEST_TASK, by="state"), "{{state}}"),
        colours=STATE_COLOURS,
    )
