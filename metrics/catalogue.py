"""Every metric that Taskflow exports, defined once, as data.

The observer, the saturation collector, the multiprocess gauges, the table of `docs/metrics.md` and the
Grafana dashboards are made from or checked against this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["CATALOGUE", "MetricDefinition", "definition_of"]

Kind = Literal["counter", "gauge", "histogram", "info"]
Source = Literal["events", "scrape", "timer", "persistence"]
MultiprocessMode = Literal["livesum", "livemax", "livemostrecent"]

# Up to half an hour: waits beyond the last bucket cannot be measured.
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds, in seconds, for how long tasks run and wait."""

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds, in seconds, for loop lag and backend operations, which should take milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDefinition:
    """One metric.

    Attributes:
        name: as it is exported, ``_total`` and ``_info`` included.
        kind: its Prometheus type.
        help: what it counts or measures, in one sentence.
        labels: label names, in the order of the values.
        source: who feeds it: ``events`` (the event stream), ``scrape`` (read when scraped),
            ``timer`` (sampled), or ``persistence`` (absent without a backend).
        question: what the metric answers, in words, and ``promql`` the same as a query.
        buckets: upper bounds of a histogram, without ``+Inf``.
        multiprocess_mode: how the values of several processes become one; for gauges and info.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    source: Source = "events"
    question: str
    promql: str
    buckets: tuple[float, ...] = ()
    multiprocess_mode: MultiprocessMode = "livesum"

    @property
    def unit(self) -> str:
        """The OpenMetrics unit: the last word of the name, if it is a unit."""
        return "seconds" if self.name.endswith("_seconds") else ""


TASKS_ENQUEUED = MetricDefinition(
    name="taskflow_tasks_enqueued_total",
    kind="counter",
    help="Tasks enqueued; those that came back after a restart are in taskflow_tasks_recovered_total.",
    labels=("task",),
    question="How many tasks a second does each name bring?",
    promql="sum by (task) (rate(taskflow_tasks_enqueued_total[5m]))",
)

TASKS_FINISHED = MetricDefinition(
    name="taskflow_tasks_finished_total",
    kind="counter",
    help="Tasks that ended: success, failed, interrupted or cancelled.",
    labels=("task", "status"),
    question="What share of the tasks fails in the end?",
    promql=(
        'sum by (task) (rate(taskflow_tasks_finished_total{status="failed"}[5m]))'
        " / sum by (task) (rate(taskflow_tasks_finished_total[5m]))"
    ),
)

TASK_RETRIES = MetricDefinition(
    name="taskflow_task_retries_total",
    kind="counter",
    help="Retries scheduled after a failed attempt.",
    labels=("task",),
    question="How many retries does a task need on average?",
    promql=(
        "sum by (task) (rate(taskflow_task_retries_total[5m]))"
        " / sum by (task) (rate(taskflow_tasks_finished_total[5m]))"
    ),
)

TASK_ERRORS = MetricDefinition(
    name="taskflow_task_errors_total",
    kind="counter",
    help="Failed attempts, those that were retried included, by exception class.",
    labels=("task", "error_type"),
    question="Which exceptions are the most frequent?",
    promql="topk(10, sum by (task, error_type) (rate(taskflow_task_errors_total[5m])))",
)

TASK_LOGS = MetricDefinition(
    name="taskflow_task_logs_total",
    kind="counter",
    help="Lines written with task_log().",
    labels=("task", "level"),
    question="Which tasks log errors?",
    promql='sum by (task) (rate(taskflow_task_logs_total{level="error"}[5m]))',
)

TASKS_RECOVERED = MetricDefinition(
    name="taskflow_tasks_recovered_total",
    kind="counter",
    help="Tasks found again after a restart or a crash: requeued, rescued, or given up as poison.",
    labels=("task", "reason"),
    question="How many tasks did crashes and restarts touch today?",
    promql="sum by (reason) (increase(taskflow_tasks_recovered_total[1d]))",
)

TASK_DURATION = MetricDefinition(
    name="taskflow_task_duration_seconds",
    kind="histogram",
    help="From the first start of a task to its end, retry delays included.",
    labels=("task", "status"),
    question="How long does a successful task take, at the 95th percentile?",
    promql=(
        "histogram_quantile(0.95, sum by (le, task)"
        ' (rate(taskflow_task_duration_seconds_bucket{status="success"}[5m])))'
    ),
    buckets=SECONDS_BUCKETS,
)

TASK_ATTEMPT_DURATION = MetricDefinition(
    name="taskflow_task_attempt_duration_seconds",
    kind="histogram",
    help="One attempt: success, failed (retried or not), interrupted or cancelled.",
    labels=("task", "outcome"),
    question="Do failing attempts fail at once or after a timeout?",
    promql=(
        "histogram_quantile(0.5, sum by (le, task)"
        ' (rate(taskflow_task_attempt_duration_seconds_bucket{outcome="failed"}[5m])))'
    ),
    buckets=SECONDS_BUCKETS,
)

TASK_QUEUE = MetricDefinition(
    name="taskflow_task_queue_seconds",
    kind="histogram",
    help="From the creation of a task to its first start.",
    labels=("task",),
    question="How long do tasks wait before they start, at the 95th percentile?",
    promql="histogram_quantile(0.95, sum by (le, task) (rate(taskflow_task_queue_seconds_bucket[5m])))",
    buckets=SECONDS_BUCKETS,
)

TASKS = MetricDefinition(
    name="taskflow_tasks",
    kind="gauge",
    help="Unfinished tasks now: pending, running or retrying.",
    labels=("task", "state"),
    source="scrape",
    question="What is waiting, and what is running?",
    promql="sum by (task, state) (taskflow_tasks)",
)

OLDEST_TASK = MetricDefinition(
    name="taskflow_oldest_task_seconds",
    kind="gauge",
    help="How long the oldest task of a state has been in it; 0 if there is none.",
    labels=("task", "state"),
    source="scrape",
    question="Is a task stuck?",
    promql='max by (task) (taskflow_oldest_task_seconds{state="running"}) > 600',
    multiprocess_mode="livemax",
)

POOL_SLOTS = MetricDefinition(
    name="taskflow_pool_slots",
    kind="gauge",
    help="Slots or threads of a pool; absent where they are unlimited.",
    labels=("pool",),
    source="scrape",
    question="How full is each pool?",
    promql="taskflow_pool_slots_in_use / taskflow_pool_slots",
)

POOL_SLOTS_IN_USE = MetricDefinition(
    name="taskflow_pool_slots_in_use",
    kind="gauge",
    help="Slots or threads of a pool that are held now.",
    labels=("pool",),
    source="scrape",
    question="How many tasks run at once, at most?",
    promql="max_over_time(taskflow_pool_slots_in_use[1h])",
)

POOL_WAITING = MetricDefinition(
    name="taskflow_pool_waiting",
    kind="gauge",
    help="Tasks (pool anyio: sync routes and other calls, too) that wait for a slot or a thread now.",
    labels=("pool",),
    source="scrape",
    question="Is a pool too small?",
    promql="min_over_time(taskflow_pool_waiting[5m]) > 0",
)

POOL_WAIT = MetricDefinition(
    name="taskflow_pool_wait_seconds",
    kind="histogram",
    help="How long an attempt waited for its slot or thread.",
    labels=("pool",),
    question="What does the limit of the pool cost, at the 95th percentile?",
    promql="histogram_quantile(0.95, sum by (le, pool) (rate(taskflow_pool_wait_seconds_bucket[5m])))",
    buckets=SECONDS_BUCKETS,
)

EVENT_LOOP_LAG = MetricDefinition(
    name="taskflow_event_loop_lag_seconds",
    kind="histogram",
    help="How much later than asked the event loop woke a sleeping timer; sampled four times a second.",
    source="timer",
    question="Does something block the event loop?",
    promql="histogram_quantile(0.99, sum by (le) (rate(taskflow_event_loop_lag_seconds_bucket[5m])))",
    buckets=LATENCY_BUCKETS,
)

OBSERVER_ERRORS = MetricDefinition(
    name="taskflow_observer_errors_total",
    kind="counter",
    help="Exceptions that an observer raised.",
    labels=("observer",),
    source="scrape",
    question="Is an observer broken?",
    promql="increase(taskflow_observer_errors_total[15m]) > 0",
)

OBSERVER_DROPPED = MetricDefinition(
    name="taskflow_observer_dropped_events_total",
    kind="counter",
    help="Events that an observer never received, because its queue was full.",
    labels=("observer",),
    source="scrape",
    question="Is an observer too slow for its events?",
    promql="rate(taskflow_observer_dropped_events_total[5m]) > 0",
)

OBSERVER_QUEUE_SIZE = MetricDefinition(
    name="taskflow_observer_queue_size",
    kind="gauge",
    help="Events that wait for an asynchronous observer now.",
    labels=("observer",),
    source="scrape",
    question="Does an observer fall behind?",
    promql="deriv(taskflow_observer_queue_size[5m]) > 0",
)

SNAPSHOT_DURATION = MetricDefinition(
    name="taskflow_snapshot_duration_seconds",
    kind="histogram",
    help="Successful flushes of the history to the backend.",
    source="persistence",
    question="How long does a flush take, at the 95th percentile?",
    promql="histogram_quantile(0.95, sum by (le) (rate(taskflow_snapshot_duration_seconds_bucket[15m])))",
    buckets=LATENCY_BUCKETS,
)

SNAPSHOT_RECORDS = MetricDefinition(
    name="taskflow_snapshot_records_total",
    kind="counter",
    help="Records written by flushes.",
    source="persistence",
    question="How many records a second reach the backend?",
    promql="sum(rate(taskflow_snapshot_records_total[15m]))",
)

SNAPSHOT_FAILURES = MetricDefinition(
    name="taskflow_snapshot_failures_total",
    kind="counter",
    help="Flushes that failed; they are tried again.",
    source="persistence",
    question="Do flushes fail?",
    promql="increase(taskflow_snapshot_failures_total[15m]) > 0",
)

SNAPSHOT_LAST_SUCCESS = MetricDefinition(
    name="taskflow_snapshot_last_success_timestamp_seconds",
    kind="gauge",
    help="When a flush last succeeded, as a Unix time; absent before the first.",
    source="persistence",
    question="How old is the saved history?",
    promql="time() - taskflow_snapshot_last_success_timestamp_seconds",
    multiprocess_mode="livemostrecent",
)

BACKEND_OPERATION = MetricDefinition(
    name="taskflow_backend_operation_seconds",
    kind="histogram",
    help="Operations on the backend, by outcome: success or error.",
    labels=("backend", "operation", "outcome"),
    source="persistence",
    question="Which backend operation is slow, at the 99th percentile?",
    promql=(
        "histogram_quantile(0.99, sum by (le, backend, operation)"
        " (rate(taskflow_backend_operation_seconds_bucket[5m])))"
    ),
    buckets=LATENCY_BUCKETS,
)

BUILD_INFO = MetricDefinition(
    name="taskflow_build_info",
    kind="info",
    help="Versions of Taskflow and of Python; always 1.",
    labels=("version", "python"),
    source="scrape",
    question="Which versions run where?",
    promql="count by (version, python) (taskflow_build_info)",
    multiprocess_mode="livemax",
)

CATALOGUE: tuple[MetricDefinition, ...] = (
    TASKS_ENQUEUED,
    TASKS_FINISHED,
    TASK_RETRIES,
    TASK_ERRORS,
    TASK_LOGS,
    TASKS_RECOVERED,
    TASK_DURATION,
    TASK_ATTEMPT_DURATION,
    TASK_QUEUE,
    TASKS,
    OLDEST_TASK,
    POOL_SLOTS,
    POOL_SLOTS_IN_USE,
    POOL_WAITING,
    POOL_WAIT,
    EVENT_LOOP_LAG,
    OBSERVER_ERRORS,
    OBSERVER_DROPPED,
    OBSERVER_QUEUE_SIZE,
    SNAPSHOT_DURATION,
    SNAPSHOT_RECORDS,
    SNAPSHOT_FAILURES,
    SNAPSHOT_LAST_SUCCESS,
    BACKEND_OPERATION,
    BUILD_INFO,
)
"""All of them, in the order of the documentation."""


def definition_of(name: str) -> MetricDefinition:
    """The definition with this name. Raises `KeyError` if there is none."""
    return _BY_NAME[name]


_BY_NAME = {definition.name: definition for definition in CATALOGUE}
