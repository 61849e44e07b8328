"""Gauges of what waits and runs now, and how full the pools are; read at each scrape."""

from __future__ import annotations

import math
import platform
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from anyio import CapacityLimiter
from prometheus_client import Metric

from taskflow.core.models import TaskStatus
from taskflow.core.names import BoundedNames
from taskflow.metrics.catalogue import (
    BUILD_INFO,
    OBSERVER_DROPPED,
    OBSERVER_ERRORS,
    OBSERVER_QUEUE_SIZE,
    OLDEST_TASK,
    POOL_SLOTS,
    POOL_SLOTS_IN_USE,
    POOL_WAITING,
    TASKS,
    MetricDefinition,
)
from taskflow.metrics.families import GaugeFamily, SeriesFamily
from taskflow.version import __version__

__all__ = ["Reading", "Saturation", "SaturationSource"]


class TaskLevel(Protocol):
    """The tasks of one name that are in one state."""

    @property
    def func_name(self) -> str:
        """The name."""

    @property
    def registered(self) -> bool:
        """Whether a function is registered under it."""

    @property
    def status(self) -> TaskStatus:
        """The state."""

    @property
    def count(self) -> int:
        """How many tasks."""

    @property
    def since(self) -> float | None:
        """When the oldest entered the state, in seconds of the monotonic clock; ``None`` without a task."""


class TaskLevels(Protocol):
    """What knows how many tasks have not ended."""

    def read(self) -> Iterable[TaskLevel]:
        """The levels now, from any thread."""


class LiveTasks(Protocol):
    """What counts the unfinished tasks."""

    def levels(self) -> TaskLevels:
        """The counts, kept from the first call on."""


class PoolLevel(Protocol):
    """How full a pool is, by its own counters."""

    @property
    def name(self) -> str:
        """``async`` or ``thread``."""

    @property
    def size(self) -> int | None:
        """Slots or threads; ``None`` if unlimited."""

    @property
    def in_use(self) -> int:
        """Those that are held."""

    @property
    def waiting(self) -> int:
        """Attempts that wait for one."""


class ObserverLevel(Protocol):
    """How one observer keeps up."""

    @property
    def observer(self) -> str:
        """A name that is unique in its chain."""

    @property
    def errors(self) -> int:
        """Exceptions that it raised, since its start."""

    @property
    def dropped(self) -> int:
        """Events that it never received, since its start."""

    @property
    def queue_size(self) -> int:
        """Events that wait for it."""


class ObserverLevels(Protocol):
    """What knows the observers."""

    def stats(self) -> Sequence[ObserverLevel]:
        """One entry per observer, from any thread."""


class Named(Protocol):
    """A registered function."""

    @property
    def name(self) -> str:
        """What its tasks are called."""


class SaturationSource(Protocol):
    """What a `TaskManager` offers to be read from any thread."""

    @property
    def registry(self) -> Iterable[Named]:
        """Its functions."""

    @property
    def store(self) -> LiveTasks:
        """Its tasks."""

    @property
    def pools(self) -> Sequence[PoolLevel]:
        """Its pools."""

    @property
    def logger(self) -> ObserverLevels | None:
        """Its observers."""


class Reading(NamedTuple):
    """One value, as it is now."""

    definition: MetricDefinition
    labels: tuple[str, ...]
    value: float


Seen = dict[tuple[MetricDefinition, str], int]
"""Totals by metric and observer."""

STATES = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING)
DEFINITIONS = (
    TASKS,
    OLDEST_TASK,
    POOL_SLOTS,
    POOL_SLOTS_IN_USE,
    POOL_WAITING,
    OBSERVER_ERRORS,
    OBSERVER_DROPPED,
    OBSERVER_QUEUE_SIZE,
    BUILD_INFO,
)
"""What the collector exports, in this order."""


class Saturation:
    """A custom collector for any number of managers. Their counts are added; of ages, the oldest counts.

    References to managers are weak: the gauges of one that is gone disappear, the counters of its
    observers stay.

    Args:
        names: the values of the label ``task``.
    """

    def __init__(self, names: BoundedNames) -> None:
        self._names = names
        self._sources: WeakKeyDictionary[SaturationSource, Seen] = WeakKeyDictionary()
        self._totals: Seen = {}
        self._limiters: list[CapacityLimiter] = []
        self._lock = threading.Lock()

    def watch(self, source: SaturationSource) -> None:
        """Read ``source`` from now on."""
        with self._lock:
            self._sources.setdefault(source, {})
        source.store.levels()  # from now on they are counted

    def watch_limiter(self, limiter: CapacityLimiter) -> None:
        """Read an anyio limiter from now on: the one of a loop's threads for sync routes; once per loop."""
        with self._lock:
            self._limiters.append(limiter)

    def forget_limiter(self, limiter: CapacityLimiter) -> None:
        """Stop reading it."""
        with self._lock:
            self._limiters.remove(limiter)

    def describe(self) -> Iterable[Metric]:
        """The families without samples: what a registry asks for to find duplicates."""
        return [SeriesFamily(definition) for definition in DEFINITIONS]

    def collect(self) -> Iterable[Metric]:
        """The families with what is read now."""
        families = {definition.name: GaugeFamily(definition) for definition in DEFINITIONS}
        for definition, labels, value in self.read():
            families[definition.name].labels(*labels).set(value)
        return [metric for family in families.values() for metric in family.collect()]

    def read(self) -> list[Reading]:
        """All present values."""
        with self._lock:
            sources = list(self._sources)
            return [
                *self._tasks(sources),
                *_pools([*(pool for source in sources for pool in source.pools), *self._anyio_pools()]),
                *self._observers(sources),
                Reading(BUILD_INFO, (__version__, platform.python_version()), 1.0),
            ]

    def _tasks(self, sources: Iterable[SaturationSource]) -> Iterator[Reading]:
        now = time.monotonic()
        counts: Counter[tuple[str, TaskStatus]] = Counter()
        entered: dict[tuple[str, TaskStatus], float] = {}
        for level in (level for source in sources for level in source.store.levels().read()):
            key = (self._names.value(level.func_name, exempt=level.registered), level.status)
            counts[key] += level.count
            if level.since is not None:
                entered[key] = min(entered.get(key, now), level.since)
        # Zeros too: with gaps in a series, sums and graphs would be wrong.
        for key in product(self._names.known(), STATES):
            labels = (key[0], key[1].value)
            yield Reading(TASKS, labels, float(counts[key]))
            yield Reading(OLDEST_TASK, labels, now - entered.get(key, now))

    def _anyio_pools(self) -> Iterator[_Pool]:
        for limiter in self._limiters:
            level = limiter.statistics()
            size = None if math.isinf(level.total_tokens) else int(level.total_tokens)
            yield _Pool("anyio", size, level.borrowed_tokens, level.tasks_waiting)

    def _observers(self, sources: Iterable[SaturationSource]) -> Iterator[Reading]:
        queued: Counter[str] = Counter()
        for source in sources:
            for level in source.logger.stats() if source.logger is not None else ():
                seen = self._sources[source]
                self._count(seen, OBSERVER_ERRORS, level.observer, level.errors)
                self._count(seen, OBSERVER_DROPPED, level.observer, level.dropped)
                queued[level.observer] += level.queue_size
        for observer, size in queued.items():
            yield Reading(OBSERVER_QUEUE_SIZE, (observer,), float(size))
        for (definition, observer), total in self._totals.items():
            yield Reading(definition, (observer,), float(total))

    def _count(self, seen: Seen, definition: MetricDefinition, observer: str, total: int) -> None:
        """Add the increase since the last reading: a counter must not fall when its manager is gone."""
        key = (definition, observer)
        new = total - seen.get(key, 0)
        seen[key] = total
        self._totals[key] = self._totals.get(key, 0) + max(new, 0)


class _Pool(NamedTuple):
    name: str
    size: int | None
    in_use: int
    waiting: int


def _pools(levels: Iterable[PoolLevel]) -> Iterator[Reading]:
    by_name: dict[str, list[PoolLevel]] = defaultdict(list)
    for level in levels:
        by_name[level.name].append(level)
    for name, pools in by_name.items():
        sizes = [pool.size for pool in pools if pool.size is not None]
        if len(sizes) == len(pools):
            yield Reading(POOL_SLOTS, (name,), float(sum(sizes)))
        yield Reading(POOL_SLOTS_IN_USE, (name,), float(sum(pool.in_use for pool in pools)))
        yield Reading(POOL_WAITING, (name,), float(sum(pool.waiting for pool in pools)))
