"""Counters, gauges and histograms in this process's memory, made from their definitions.

They are ordinary collectors for any ``prometheus_client`` registry, with three differences from the
library's own: a histogram is read under one lock, so that its sum and its count always agree; each series
caches its labels as text, so that scrapes of thousands of series are fast; and there are no ``_created``
series, which Prometheus does not need and which would double the number of series.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import accumulate
from typing import Generic, Protocol, TypeVar

from prometheus_client import Metric
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from taskflow.metrics.catalogue import MetricDefinition
from taskflow.metrics.text import exemplar_text, float_text, label_text

__all__ = [
    "Counter",
    "CounterFamily",
    "Gauge",
    "GaugeFamily",
    "Histogram",
    "HistogramFamily",
    "SeriesFamily",
]


class Counter(Protocol):
    """One series that only grows."""

    def inc(self, amount: float = 1) -> None:
        """Add ``amount``, at least 0."""


class Gauge(Protocol):
    """One series that has a value."""

    def set(self, value: float) -> None:
        """Replace the value."""


class Histogram(Protocol):
    """One set of bucket, sum and count series."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count ``amount``; ``exemplar`` labels replace those of the bucket it falls into."""


class Series(Protocol):
    """The samples of one tuple of label values, as objects and as text."""

    def samples(self, name: str) -> Iterable[Sample]:
        """As prometheus_client passes them on; ``name`` is the definition's."""

    def text(self, name: str, *, exemplars: bool) -> str:
        """As lines of the exposition formats."""


class SeriesFamily(Metric):
    """A family that can be written without making `Sample` objects, which would be most of the work.

    Args:
        definition: the metric.
        series: its children.
    """

    def __init__(self, definition: MetricDefinition, series: Sequence[Series] = ()) -> None:
        name = definition.name.removesuffix("_total" if definition.kind == "counter" else "_info")
        super().__init__(name, definition.help, definition.kind, definition.unit)
        self.definition = definition
        self.series = series

    @property
    def samples(self) -> list[Sample]:
        """The samples, made now."""
        return [sample for series in self.series for sample in series.samples(self.definition.name)]

    @samples.setter
    def samples(self, value: list[Sample]) -> None:
        """`Metric` begins with an empty list."""


Child = TypeVar("Child", bound=Series)


class Family(ABC, Generic[Child]):
    """The series of one definition, one child per tuple of label values."""

    def __init__(self, definition: MetricDefinition) -> None:
        self.definition = definition
        self._children: dict[tuple[str, ...], Child] = {}
        self._lock = threading.Lock()

    def labels(self, *values: str) -> Child:
        """The child with these label values, in the order of the definition; made at the first call."""
        child = self._children.get(values)
        if child is not None:
            return child
        with self._lock:
            if values not in self._children:
                self._children[values] = self._child(dict(zip(self.definition.labels, values, strict=True)))
            return self._children[values]

    def describe(self) -> Iterable[Metric]:
        """The family without samples: what a registry asks for to find duplicates."""
        return [SeriesFamily(self.definition)]

    def collect(self) -> Iterable[Metric]:
        """The family with the samples of every child."""
        return [SeriesFamily(self.definition, self.children())]

    def children(self) -> list[Child]:
        """Every child so far."""
        with self._lock:
            return list(self._children.values())

    @abstractmethod
    def _child(self, labels: Mapping[str, str]) -> Child: ...


FOLDED_AT = 512
"""Observations of a series that are kept until they are folded, if no scrape comes before."""


class Folding(ABC):
    """A series that keeps what was observed, and folds it into its value at a scrape, or when it is much.

    Observing takes no lock, and waits for nobody. That nothing is lost or counted twice rests on the
    interpreter's own lock: appending to a list, copying the beginning of one and deleting that beginning are
    one step each. Threads only append; whoever holds the lock of the series copies so many and deletes as
    many, so that what is appended in between stays for the next time.
    """

    __slots__ = ("_fresh", "_lock")

    def __init__(self) -> None:
        self._fresh: list[float] = []
        self._lock = threading.Lock()

    def _fold_if_free(self) -> None:
        """Fold now, unless another thread does."""
        if self._lock.acquire(blocking=False):
            try:
                self._fold()
            finally:
                self._lock.release()

    def _fold(self) -> None:
        """Take everything into the value; under the lock."""
        fresh = self._fresh[:]
        if fresh:
            del self._fresh[: len(fresh)]
            self._take(fresh)

    @abstractmethod
    def _take(self, fresh: list[float]) -> None:
        """Take these into the value, in this order."""


class CounterChild(Folding):
    """A `Counter` in memory."""

    __slots__ = ("_label_text", "_labels", "_value")

    def __init__(self, labels: Mapping[str, str]) -> None:
        super().__init__()
        self._labels = dict(labels)
        self._label_text = label_text(labels)
        self._value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add ``amount``, at least 0."""
        fresh = self._fresh
        fresh.append(amount)
        if len(fresh) >= FOLDED_AT:
            self._fold_if_free()

    def _take(self, fresh: list[float]) -> None:
        self._value += sum(fresh)

    def samples(self, name: str) -> Iterable[Sample]:
        """The one sample."""
        yield Sample(name, self._labels, self._read())

    def text(self, name: str, *, exemplars: bool) -> str:
        """The one line."""
        return f"{name}{self._label_text} {float_text(self._read())}\n"

    def _read(self) -> float:
        with self._lock:
            self._fold()
            return self._value


class GaugeChild:
    """A `Gauge` in memory; it exports nothing while it has no value."""

    __slots__ = ("_labels", "_value")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._value: float | None = None

    def set(self, value: float | None) -> None:
        """Replace the value; ``None`` takes it away."""
        self._value = value

    def samples(self, name: str) -> Iterable[Sample]:
        """The one sample, or none."""
        value = self._value
        if value is not None:
            yield Sample(name, self._labels, value)

    def text(self, name: str, *, exemplars: bool) -> str:
        """The one line, or none."""
        value = self._value
        # The text of the labels is not cached: most gauges are made anew for each scrape.
        return "" if value is None else f"{name}{label_text(self._labels)} {float_text(value)}\n"


class HistogramChild(Folding):
    """A `Histogram` in memory."""

    __slots__ = (
        "_bounds",
        "_bucket_texts",
        "_counts",
        "_exemplars",
        "_label_text",
        "_labels",
        "_sum",
    )

    def __init__(self, labels: Mapping[str, str], bounds: tuple[float, ...]) -> None:
        super().__init__()
        self._labels = dict(labels)
        self._label_text = label_text(labels)
        self._bucket_texts = [label_text({**labels, "le": bound}) for bound in _bound_texts(bounds)]
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, tuple[dict[str, str], float, float]] = {}

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count ``amount``; ``exemplar`` labels replace those of the bucket it falls into."""
        fresh = self._fresh
        fresh.append(amount)
        if exemplar is not None:
            # The `Exemplar` object is only made when it is read: most are replaced before.
            self._exemplars[bisect_left(self._bounds, amount)] = (exemplar, amount, time.time())
        if len(fresh) >= FOLDED_AT:
            self._fold_if_free()

    def _take(self, fresh: list[float]) -> None:
        self._sum += sum(fresh)
        fresh.sort()
        low = 0
        for bucket, bound in enumerate(self._bounds):
            high = bisect_right(fresh, bound, low)
            self._counts[bucket] += high - low
            low = high
            if low == len(fresh):
                return
        self._counts[-1] += len(fresh) - low

    def samples(self, name: str) -> Iterable[Sample]:
        """The buckets, then count and sum, all of one moment."""
        counts, total, exemplars = self._read()
        for index, bound in enumerate(_bound_texts(self._bounds)):
            labels = {**self._labels, "le": bound}
            yield Sample(f"{name}_bucket", labels, float(counts[index]), None, exemplars.get(index))
        yield Sample(f"{name}_count", self._labels, float(counts[-1]))
        yield Sample(f"{name}_sum", self._labels, total)

    def text(self, name: str, *, exemplars: bool) -> str:
        """The same as lines."""
        counts, total, kept = self._read()
        tails = {i: exemplar_text(exemplar) for i, exemplar in kept.items()} if exemplars else {}
        buckets = [
            f"{name}_bucket{labels} {float_text(count)}{tails.get(index, '')}\n"
            for index, (labels, count) in enumerate(zip(self._bucket_texts, counts, strict=True))
        ]
        count = f"{name}_count{self._label_text} {float_text(counts[-1])}\n"
        return "".join(buckets) + count + f"{name}_sum{self._label_text} {float_text(total)}\n"

    def _read(self) -> tuple[list[int], float, dict[int, Exemplar]]:
        """Cumulated counts, sum and exemplars of one moment."""
        kept = self._exemplars.copy()  # first: the amounts of these are among the fresh ones already
        with self._lock:
            self._fold()
            counts, total = list(accumulate(self._counts)), self._sum
        return counts, total, {bucket: Exemplar(*exemplar) for bucket, exemplar in kept.items()}


@cache
def _bound_texts(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*map(floatToGoString, bounds), "+Inf")


class CounterFamily(Family[CounterChild]):
    """Counters."""

    def _child(self, labels: Mapping[str, str]) -> CounterChild:
        return CounterChild(labels)


class GaugeFamily(Family[GaugeChild]):
    """Gauges."""

    def _child(self, labels: Mapping[str, str]) -> GaugeChild:
        return GaugeChild(labels)


class HistogramFamily(Family[HistogramChild]):
    """Histograms."""

    def _child(self, labels: Mapping[str, str]) -> HistogramChild:
        return HistogramChild(labels, self.definition.buckets)
