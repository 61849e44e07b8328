"""What this process sees of its tasks, kept from the event stream: counts, throughput and latencies.

Constant work for each event, and bounded memory: ten minutes of buckets for at most a hundred names.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from taskflow.backend import StatusTotal
from taskflow.models import TERMINAL, TaskRecord, TaskStatus
from taskflow.observers.base import LifecycleEvent, LogEvent

__all__ = ["BUCKETS", "BUCKET_SECONDS", "Activity"]

BUCKET_SECONDS = 10
BUCKETS = 60

MAX_NAMES = 100
OTHER = "other"
"""The name under which those past `MAX_NAMES` are counted together, as in the metrics."""

STEPS = 16
"""Classes of latency per factor of two: a percentile is the middle of its class, 2.2 % off at most."""
SHORTEST = 1e-5
"""Seconds; whatever is shorter belongs to the first class."""

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

LIVE = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING)
FAILED = TaskStatus.FAILED

Clock = Callable[[], float]


class Latencies:
    """Durations, counted in classes that each are a little longer than the one before.

    Attributes:
        counts: how many there are in each class, by `STEPS` times the base-2 logarithm of its seconds.
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[round(math.log2(max(seconds, SHORTEST)) * STEPS)] += 1

    def merge(self, other: Latencies) -> None:
        """Count those of another one too."""
        self.counts.update(other.counts)

    def remove(self, other: Latencies) -> None:
        """Take back those that were merged."""
        self.counts -= other.counts

    def quantile(self, share: float) -> float | None:
        """The seconds that this share of the durations did not exceed; ``None`` without any."""
        rank = math.ceil(share * self.counts.total())
        for latency_class in sorted(self.counts):
            rank -= self.counts[latency_class]
            if rank <= 0:
                return float(2.0 ** (latency_class / STEPS))
        return None

    def percentiles(self) -> dict[str, float | None]:
        """``p50``, ``p95`` and ``p99``."""
        return {name: self.quantile(share) for name, share in QUANTILES.items()}


class Bucket:
    """What ended within some seconds."""

    __slots__ = ("failed", "finished", "latencies", "number", "p95")

    def __init__(self, number: int) -> None:
        self.number = number
        self.finished = 0
        self.failed = 0
        self.latencies = Latencies()
        self.p95: float | None = None


class NamedActivity:
    """The tasks of one name.

    Attributes:
        counts: how many are in each live state now, and how many have ended in each other one.
        latencies: the durations of the last ten minutes.
    """

    def __init__(self, func_name: str, registered: bool) -> None:
        self.func_name = func_name
        self.registered = registered
        self.counts: Counter[TaskStatus] = Counter()
        self.latencies = Latencies()
        self._buckets: deque[Bucket] = deque()

    def ended(self, event: LifecycleEvent, number: int) -> None:
        """Count a task that has ended, in the bucket of that number."""
        bucket = self._current(number)
        bucket.finished += 1
        bucket.failed += event.status is FAILED
        if event.duration is not None:
            bucket.latencies.add(event.duration)
            self.latencies.add(event.duration)

    def _current(self, number: int) -> Bucket:
        if not self._buckets or self._buckets[-1].number != number:
            self.expire(number)
            if self._buckets:
                self._buckets[-1].p95 = self._buckets[-1].latencies.quantile(QUANTILES["p95"])
            self._buckets.append(Bucket(number))
        return self._buckets[-1]

    def expire(self, number: int) -> None:
        """Forget what is ten minutes older than the bucket of that number."""
        while self._buckets and self._buckets[0].number <= number - BUCKETS:
            self.latencies.remove(self._buckets.popleft().latencies)

    def report(self, number: int) -> dict[str, Any]:
        """The last ten minutes, up to the bucket of that number."""
        self.expire(number)
        throughput, failures = [0] * BUCKETS, [0] * BUCKETS
        p95: list[float | None] = [None] * BUCKETS
        for bucket in self._buckets:
            place = bucket.number - number - 1
            throughput[place], failures[place] = bucket.finished, bucket.failed
            p95[place] = bucket.p95
        if self._buckets:  # the only one that may still change
            p95[place] = bucket.latencies.quantile(QUANTILES["p95"])
        return {
            "func_name": self.func_name,
            "registered": self.registered,
            "counts": status_counts(self.counts),
            "throughput": throughput,
            "failures": failures,
            **self.latencies.percentiles(),
            "latency_p95": p95,
        }


class Activity:
    """Reads the event stream; from any thread.

    Args:
        records: the tasks that there are already; those that have not ended are counted as live.
        clock: seconds that never go back.
    """

    def __init__(self, records: Iterable[TaskRecord] = (), clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._names: dict[str, NamedActivity] = {}
        # Entering a state puts a task at the end: the first of each has been in it for longest.
        self._live: dict[TaskStatus, dict[str, tuple[NamedActivity, float]]] = {s: {} for s in LIVE}
        for record in records:
            if not record.finished:
                self._enter(record.task_id, record.status, self._named(record))

    def __call__(self, event: LifecycleEvent | LogEvent) -> None:
        """Take note of an event."""
        if isinstance(event, LogEvent):
            return
        with self._lock:
            self._leave(event.task_id)
            named = self._named(event)
            if event.status in TERMINAL:
                named.counts[event.status] += 1
                named.ended(event, self._bucket_number())
            else:
                self._enter(event.task_id, event.status, named)

    def _named(self, task: LifecycleEvent | TaskRecord) -> NamedActivity:
        named = self._names.get(task.func_name)
        if named is None:
            full = len(self._names) >= MAX_NAMES
            name, registered = (OTHER, False) if full else (task.func_name, task.registered)
            named = self._names.setdefault(name, NamedActivity(name, registered))
        return named

    def _enter(self, task_id: str, status: TaskStatus, named: NamedActivity) -> None:
        self._live[status][task_id] = (named, self._clock())
        named.counts[status] += 1

    def _leave(self, task_id: str) -> None:
        for status, tasks in self._live.items():
            entry = tasks.pop(task_id, None)
            if entry is not None:
                entry[0].counts[status] -= 1
                return

    def _bucket_number(self) -> int:
        return int(self._clock() // BUCKET_SECONDS)

    def by_name(self) -> list[dict[str, Any]]:
        """The activity of each name, the busiest first."""
        with self._lock:
            number = self._bucket_number()
            reports = [named.report(number) for named in self._names.values()]
        return sorted(reports, key=lambda report: (-sum(report["throughput"]), report["func_name"]))

    def totals(self) -> dict[TaskStatus, StatusTotal]:
        """How many tasks are in each state now, or have ended in it."""
        counts: Counter[TaskStatus] = Counter()
        with self._lock:
            for named in self._names.values():
                counts.update(named.counts)
        return {status: StatusTotal(count) for status, count in counts.items()}

    def percentiles(self) -> dict[str, float | None]:
        """``p50``, ``p95`` and ``p99`` of all durations of the last ten minutes."""
        everything = Latencies()
        with self._lock:
            for named in self._names.values():
                named.expire(self._bucket_number())
                everything.merge(named.latencies)
        return everything.percentiles()

    def oldest(self) -> dict[str, float | None]:
        """Seconds that the task has been in each live state which has been there for longest."""
        with self._lock:
            now = self._clock()
            firsts = {status: next(iter(tasks.values()), None) for status, tasks in self._live.items()}
        return {s.value: None if first is None else now - first[1] for s, first in firsts.items()}


def status_counts(counts: Mapping[TaskStatus, int]) -> dict[str, int]:
    """How many there are in every state, zeros too."""
    return {status.value: counts.get(status, 0) for status in TaskStatus}
