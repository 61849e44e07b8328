"""What this process sees of its tasks, from the event stream: counts, throughput and latencies.

Each task that ends costs the same little work. Memory is bounded: ten minutes of buckets for each registered
function, and for 100 names of others.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from taskflow.admin.stats.latencies import QUANTILES, Latencies
from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.core.models import TERMINAL, TaskRecord, TaskStatus
from taskflow.core.names import BoundedNames

__all__ = ["BUCKETS", "BUCKET_SECONDS", "Activity", "NamedActivity", "status_counts"]

BUCKET_SECONDS = 10
BUCKETS = 60

# Globals, because a member of an enum is slow to look up and slow to hash.
PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING
FAILED = TaskStatus.FAILED


class Bucket:
    """The tasks that ended within `BUCKET_SECONDS`."""

    __slots__ = ("_p95", "failed", "finished", "latencies", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.finished = 0
        self.failed = 0
        self.latencies = Latencies()
        self._p95: tuple[int, float | None] = (0, None)

    def p95(self) -> float | None:
        """The 95th percentile in seconds; computed again only if a task was added."""
        if self._p95[0] != self.finished:
            self._p95 = (self.finished, self.latencies.quantile(QUANTILES["p95"]))
        return self._p95[1]


class NamedActivity:
    """The ended tasks of one name.

    Args:
        func_name: the name.
        registered: whether a function is registered under it.

    Attributes:
        ended: how many have ended in each state.
        timed: how many of these had started.
        seconds: how long those took together.
    """

    def __init__(self, func_name: str, registered: bool) -> None:
        self.func_name = func_name
        self.registered = registered
        self.ended: dict[TaskStatus, int] = defaultdict(int)
        self.timed = 0
        self.seconds = 0.0
        self._buckets: deque[Bucket] = deque()

    def add(self, event: LifecycleEvent, number: int) -> None:
        """Count a task that has ended in the bucket of this number."""
        self.count(event.status, event.duration)
        if not self._buckets or self._buckets[-1].number != number:
            self._buckets.append(Bucket(number))
            self._expire(number)
        bucket = self._buckets[-1]
        bucket.finished += 1
        bucket.failed += event.status is FAILED
        if event.duration is not None:
            bucket.latencies.add(event.duration)

    def count(self, status: TaskStatus, duration: float | None) -> None:
        """Count a task without the time at which it ended."""
        self.ended[status] += 1
        if duration is not None:
            self.timed += 1
            self.seconds += duration

    def _expire(self, number: int) -> None:
        while self._buckets and self._buckets[0].number <= number - BUCKETS:
            self._buckets.popleft()

    def latencies(self, number: int) -> Latencies:
        """The durations of the last ten minutes, up to the bucket of this number."""
        self._expire(number)
        return Latencies(bucket.latencies for bucket in self._buckets)

    def series(self, number: int) -> dict[str, Any]:
        """A list of numbers for the last ten minutes each; the bucket of this number comes last."""
        self._expire(number)
        throughput, failures = [0] * BUCKETS, [0] * BUCKETS
        p95: list[float | None] = [None] * BUCKETS
        for bucket in self._buckets:
            place = bucket.number - number - 1
            throughput[place], failures[place], p95[place] = bucket.finished, bucket.failed, bucket.p95()
        return {"throughput": throughput, "failures": failures, "latency_p95": p95}


UnfinishedCounts = Mapping[NamedActivity, Mapping[TaskStatus, int]]


class Activity:
    """Reads the event stream, from any thread, and counts the tasks that end.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._bounded = BoundedNames()
        self._names: dict[str, NamedActivity] = {}

    def __call__(self, event: LifecycleEvent | LogEvent) -> None:
        """Count the task of an event, if the event ends it."""
        if isinstance(event, LogEvent):
            return
        status = event.status
        if status is PENDING or status is RUNNING or status is RETRYING:
            return
        named = self.named(event.func_name, event.registered)
        with self._lock:
            named.add(event, self._bucket_number())

    def take_in(self, record: TaskRecord) -> None:
        """Count a task that had ended before the first event was read."""
        named = self.named(record.func_name, record.registered)
        with self._lock:
            named.count(record.status, record.duration)

    def named(self, func_name: str, registered: bool) -> NamedActivity:
        """The tasks of a name; past `NAME_LIMIT` unregistered names, of all others together."""
        found = self._names.get(func_name)
        if found is not None:
            return found
        bounded = self._bounded.value(func_name, exempt=registered)
        with self._lock:  # other threads iterate over the names
            return self._names.setdefault(bounded, NamedActivity(bounded, registered))

    def _bucket_number(self) -> int:
        return int(self._clock() // BUCKET_SECONDS)

    def by_name(self, unfinished: UnfinishedCounts, registered: Iterable[str] = ()) -> list[dict[str, Any]]:
        """The activity of each name, the busiest first: by what has finished and what is active.

        Args:
            unfinished: by name and state, how many tasks have not ended.
            registered: names of functions that are listed even if no task of theirs was seen.
        """
        with self._lock:
            number = self._bucket_number()
            unused = [NamedActivity(name, registered=True) for name in registered if name not in self._names]
            every = [*self._names.values(), *unused]
            reports = [_report(named, unfinished.get(named, {}), number) for named in every]
        return sorted(reports, key=lambda report: (-_busy(report), report["func_name"]))

    def ended(self) -> dict[TaskStatus, int]:
        """How many tasks have ended in each state."""
        totals: Counter[TaskStatus] = Counter()
        with self._lock:
            for named in self._names.values():
                totals.update(named.ended)
        return dict(totals)

    def mean(self) -> float | None:
        """Mean seconds of the tasks that have started and ended; ``None`` without any."""
        with self._lock:
            timed = sum(named.timed for named in self._names.values())
            seconds = sum(named.seconds for named in self._names.values())
        return seconds / timed if timed else None

    def percentiles(self) -> dict[str, float | None]:
        """``p50``, ``p95`` and ``p99`` of all durations of the last ten minutes."""
        with self._lock:
            number = self._bucket_number()
            return Latencies(named.latencies(number) for named in self._names.values()).percentiles()


def _busy(report: Mapping[str, Any]) -> int:
    active: int = sum(report["counts"][status.value] for status in TaskStatus if status not in TERMINAL)
    finished: int = sum(report["throughput"])
    return active + finished


def _report(named: NamedActivity, unfinished: Mapping[TaskStatus, int], number: int) -> dict[str, Any]:
    return {
        "func_name": named.func_name,
        "registered": named.registered,
        "counts": status_counts({**named.ended, **unfinished}),
        **named.series(number),
        **named.latencies(number).percentiles(),
    }


def status_counts(counts: Mapping[TaskStatus, int]) -> dict[str, int]:
    """How many there are in every state, zeros too."""
    return {status.value: counts.get(status, 0) for status in TaskStatus}
