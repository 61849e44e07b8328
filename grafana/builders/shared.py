"""Panels that every dashboard has, each for what that one looks at."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig

from grafana.builders.limits import TASK_WAIT
from grafana.builders.panels import (
    LEVEL_COLOURS,
    STATE_COLOURS,
    STATUS_COLOURS,
    Frame,
    Query,
    at_most,
    graph,
)
from grafana.builders.queries import Scope
from taskflow.metrics.catalogue import (
    TASK_DURATION,
    TASK_LOGS,
    TASK_QUEUE,
    TASKS,
    TASKS_ENQUEUED,
    TASKS_FINISHED,
    TASKS_RECOVERED,
    MetricDefinition,
)

__all__ = ["log_lines", "queue_wait", "recovered", "run_time", "throughput", "unfinished", "wait_limits"]


def wait_limits() -> ThresholdsConfig:
    """Thresholds of waiting times: yellow long before the alert."""
    return at_most(TASK_WAIT / 5, TASK_WAIT)


def throughput(scope: Scope, width: int) -> timeseries.Panel:
    """What comes in, and how it ends."""
    meaning = "Tasks a second. Finished below enqueued for long: a backlog grows."
    return graph(
        Frame("Enqueued and finished", meaning, "ops", width),
        Query(scope.rate(TASKS_ENQUEUED), "enqueued"),
        Query(scope.rate(TASKS_FINISHED, by="status"), "{{status}}"),
        colours=STATUS_COLOURS,
    )


def unfinished(scope: Scope, width: int) -> timeseries.Panel:
    """What is under way."""
    meaning = "Waiting for the first start (pending), running, or waiting for the next attempt (retrying)."
    return graph(
        Frame("Unfinished tasks", meaning, "short", width),
        Query(scope.total(TASKS, by="state"), "{{state}}"),
        stacked=True,
        colours=STATE_COLOURS,
    )


def run_time(scope: Scope, width: int) -> timeseries.Panel:
    """How long tasks take."""
    meaning = "First start to end, retry delays included. A dot is one task: it opens the trace."
    return graph(Frame("Run time", meaning, "s", width), *_quantiles(scope, TASK_DURATION))


def queue_wait(scope: Scope, width: int) -> timeseries.Panel:
    """How long tasks wait."""
    meaning = "Creation to first start, of tasks that have started. A dot is one task: it opens the trace."
    return graph(Frame("Queue wait", meaning, "s", width, wait_limits()), *_quantiles(scope, TASK_QUEUE))


def _quantiles(scope: Scope, histogram: MetricDefinition) -> list[Query]:
    return [
        Query(scope.quantile(rank, histogram), f"p{rank * 100:g}", exemplars=True)
        for rank in (0.5, 0.95, 0.99)
    ]


def recovered(scope: Scope, width: int) -> timeseries.Panel:
    """What restarts and crashes touched."""
    # Not a rate: nearly all come back before the process that takes them is scraped for the first time.
    meaning = (
        "Tasks that came back after a restart or a crash, or were given up, since the processes started."
    )
    return graph(
        Frame("Recovered tasks", meaning, "short", width, no_value="none"),
        Query(scope.total(TASKS_RECOVERED, by="reason"), "{{reason}}"),
    )


def log_lines(scope: Scope, width: int) -> timeseries.Panel:
    """What tasks say."""
    meaning = "Lines a second that tasks write with task_log(). The lines themselves are in Loki."
    return graph(
        Frame("Log lines by level", meaning, "ops", width),
        Query(scope.rate(TASK_LOGS, by="level"), "{{level}}"),
        colours=LEVEL_COLOURS,
    )
