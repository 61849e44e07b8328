"""Counters and histograms of the event stream, for Prometheus."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isfinite
from typing import Generic, TypeVar

from prometheus_client import REGISTRY, CollectorRegistry

from taskflow.core.events import BackendEvent, LifecycleEvent, LogEvent
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.metrics.catalogue import (
    POOL_WAIT,
    SECONDS_BUCKETS,
    TASK_ATTEMPT_DURATION,
    TASK_DURATION,
    TASK_ERRORS,
    TASK_LOGS,
    TASK_QUEUE,
    TASK_RETRIES,
    TASKS_ENQUEUED,
    TASKS_FINISHED,
    TASKS_RECOVERED,
)
from taskflow.metrics.export import export_of
from taskflow.metrics.families import Counter, Histogram
from taskflow.metrics.instruments import Instruments
from taskflow.metrics.persistence import PersistenceMetrics
from taskflow.metrics.saturation import SaturationSource
from taskflow.observers.base import TaskObserver

__all__ = ["PrometheusObserver"]

RECOVERIES = frozenset({"requeued", "rescued", "lease_expired", "poison"})
"""The reasons of tasks that another process left unfinished."""

UNKNOWN = "unknown"

# Globals, because looking up and hashing members of an enum is slow, and these are compared at every
# event.
PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING
FAILED = TaskStatus.FAILED


class PrometheusObserver(TaskObserver):
    """Counts and times every task. `taskflow.metrics.catalogue` says what is exported.

    Observers of several managers may use one registry: they share its metrics, and their tasks add up.
    Two of *one* manager on one registry would count each task twice, and are an error.

    Args:
        registry: where the metrics are registered; prometheus_client's global one if ``None``.
        buckets: upper bounds, in seconds, of the histograms of task and attempt durations, rising.

    Raises:
        ConfigurationError: the buckets are not positive and rising, or not those that the registry
            already has; or it is no registry.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        buckets: Sequence[float] = SECONDS_BUCKETS,
    ) -> None:
        super().__init__(min_level="debug")  # every line counts
        self.registry = REGISTRY if registry is None else registry
        if not isinstance(self.registry, CollectorRegistry):
            raise ConfigurationError("registry", registry, "must be a prometheus_client CollectorRegistry")
        self._export = export_of(self.registry, _check_buckets(buckets))
        self._instruments = self._export.instruments
        self._series: dict[str, TaskSeries] = {}
        self._source: Callable[[], SaturationSource | None] = lambda: None
        self._pool_waits = Children(lambda pool: self._instruments.histogram(POOL_WAIT, pool))

    @property
    def persistence(self) -> PersistenceMetrics:
        """The recorder for flushes and backend operations; its metrics appear at the first use."""
        return self._export.persistence

    def watch(self, source: SaturationSource) -> None:
        """Export the saturation of the manager that this observer belongs to.

        Raises:
            ConfigurationError: the manager has another `PrometheusObserver` on this registry.
        """
        self._export.watch(source, self)
        self._source = weakref.ref(source)

    async def startup(self) -> None:
        """Export every registered function from zero on; sample the loop's lag, and read anyio's limiter."""
        source = self._source()
        for entry in source.registry if source is not None else ():
            self._task(entry.name, registered=True)
        self._export.join_loop()

    async def close(self) -> None:
        """Stop sampling. The metrics stay."""
        await self._export.leave_loop()

    def on_log(self, event: LogEvent) -> None:
        """Count the line."""
        series = self._series.get(event.func_name) or self._task(event.func_name)
        series.logs[event.level].inc()

    def on_backend(self, event: BackendEvent) -> None:
        """Time the operation; of a flush, count the records or the failure."""
        if event.operation != "flush":
            outcome = "success" if event.error is None else "error"
            self.persistence.operation(event.backend, event.operation, outcome, event.seconds)
        elif event.error is None:
            self.persistence.flush_finished(event.records or 0, event.seconds)
        else:
            self.persistence.flush_failed()

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Count the change of state, and observe its durations."""
        series = self._series.get(event.func_name) or self._task(event.func_name, event.registered)
        status = event.status
        reason = event.reason
        if reason is None:
            if status is PENDING:  # otherwise it was requeued or rescued
                series.enqueued.inc()
        elif reason in RECOVERIES:
            series.recovered[reason].inc()
        if status is RUNNING:
            self._started(series, event)
        elif status is RETRYING:
            series.retries.inc()
            self._attempt_failed(series, event, _exemplar(event))
        elif status is not PENDING:
            self._ended(series, event)

    def _started(self, series: TaskSeries, event: LifecycleEvent) -> None:
        exemplar = _exemplar(event)
        if event.queue_duration is not None:
            series.queue.observe(event.queue_duration, exemplar)
        if event.pool is not None and event.slot_wait is not None:
            self._pool_waits[event.pool].observe(event.slot_wait, exemplar)

    def _ended(self, series: TaskSeries, event: LifecycleEvent) -> None:
        exemplar = _exemplar(event)
        status = str(event.status)  # the same as .value, twice as fast
        series.finished[status].inc()
        if event.duration is not None:
            series.duration[status].observe(event.duration, exemplar)
        if event.status is FAILED:
            self._attempt_failed(series, event, exemplar)
        elif event.attempt_duration is not None:
            series.attempt[status].observe(event.attempt_duration, exemplar)

    def _attempt_failed(
        self, series: TaskSeries, event: LifecycleEvent, exemplar: dict[str, str] | None
    ) -> None:
        if event.attempt_duration is None:
            return  # poison: no attempt of this process failed
        series.attempt[FAILED.value].observe(event.attempt_duration, exemplar)
        series.errors[self._instruments.error_types.value(event.error_type or UNKNOWN)].inc()

    def _task(self, func_name: str, registered: bool = False) -> TaskSeries:
        label = self._instruments.names.value(func_name, exempt=registered)
        # By the label, not by the name: the dictionary must not grow with the number of names.
        if label not in self._series:
            self._series[label] = TaskSeries(self._instruments, label)
        return self._series[label]


Child = TypeVar("Child")


class Children(dict[str, Child], Generic[Child]):
    """Series by the value of their last label, made when first used: a look-up in a registry is slow.

    Args:
        make: the series for a value.
    """

    def __init__(self, make: Callable[[str], Child]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, value: str) -> Child:
        child = self[value] = self._make(value)
        return child


class TaskSeries:
    """Every event-fed series of one task name.

    Args:
        instruments: makes the series.
        task: the value of the label ``task``.
    """

    __slots__ = (
        "attempt",
        "duration",
        "enqueued",
        "errors",
        "finished",
        "logs",
        "queue",
        "recovered",
        "retries",
    )

    def __init__(self, instruments: Instruments, task: str) -> None:
        counter, histogram = instruments.counter, instruments.histogram
        self.enqueued = counter(TASKS_ENQUEUED, task)
        self.retries = counter(TASK_RETRIES, task)
        self.queue = histogram(TASK_QUEUE, task)
        self.finished: Children[Counter] = Children(lambda status: counter(TASKS_FINISHED, task, status))
        self.errors: Children[Counter] = Children(lambda error: counter(TASK_ERRORS, task, error))
        self.logs: Children[Counter] = Children(lambda level: counter(TASK_LOGS, task, level))
        self.recovered: Children[Counter] = Children(lambda reason: counter(TASKS_RECOVERED, task, reason))
        self.duration: Children[Histogram] = Children(lambda status: histogram(TASK_DURATION, task, status))
        self.attempt: Children[Histogram] = Children(
            lambda outcome: histogram(TASK_ATTEMPT_DURATION, task, outcome)
        )
        # From zero on: increase() does not see the step from "no series" to 1.
        for status in TaskStatus:
            if status in TERMINAL:
                self.finished[status.value]
        for reason in sorted(RECOVERIES):
            self.recovered[reason]


def _exemplar(event: LifecycleEvent) -> dict[str, str] | None:
    """The trace id of the event's span, if it is sampled; traces that are not sampled are not stored."""
    span = event.span
    return {"trace_id": span.trace_id} if span is not None and span.sampled else None


def _check_buckets(buckets: Sequence[float]) -> tuple[float, ...]:
    allowed = "must be positive, finite seconds, each above the one before; +Inf is added"
    try:
        bounds = tuple(float(bound) for bound in buckets)
    except (TypeError, ValueError):
        raise ConfigurationError("buckets", buckets, allowed) from None
    finite = all(isfinite(bound) and bound > 0 for bound in bounds)
    if not bounds or not finite or any(low >= high for low, high in pairwise(bounds)):
        raise ConfigurationError("buckets", bounds, allowed)
    return bounds
