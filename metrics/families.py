"""Counters, gauges and histograms in this process's memory, made from their definitions.

They are ordinary collectors for any ``prometheus_client`` registry. What they do better than the
library's own: a histogram is read in one go, so that its sum and its count always agree and a scrape
of thousands of series stays cheap; and they export no ``_created`` series, which would double every
counter and which Prometheus does not need.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Generic, Protocol, TypeVar

from prometheus_client import Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from taskflow.metrics.catalogue import MetricDefinition

__all__ = ["Counter", "CounterFamily", "Gauge", "GaugeFamily", "Histogram", "HistogramFamily", "empty_family"]


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


def empty_family(definition: MetricDefinition) -> Metric:
    """The family of a definition, without samples."""
    name, text, labels = definition.name, definition.help, definition.labels
    match definition.kind:
        case "counter":
            return CounterMetricFamily(name, text, labels=labels)
        case "gauge":
            return GaugeMetricFamily(name, text, labels=labels, unit=definition.unit)
        case "histogram":
            return HistogramMetricFamily(name, text, labels=labels, unit=definition.unit)
        case "info":
            return InfoMetricFamily(name.removesuffix("_info"), text, labels=())


Child = TypeVar("Child", bound="CounterChild | GaugeChild | HistogramChild")


class Family(ABC, Generic[Child]):
    """The series of one definition, one child per tuple of label values."""

    def __init__(self, definition: MetricDefinition) -> None:
        self.definition = definition
        self._children: dict[tuple[str, ...], Child] = {}
        self._lock = threading.Lock()

    def labels(self, *values: str) -> Child:
        """The child with these label values, in the order of the definition; made at the first call."""
        with self._lock:
            if values not in self._children:
                self._children[values] = self._child(dict(zip(self.definition.labels, values, strict=True)))
            return self._children[values]

    def describe(self) -> Iterable[Metric]:
        """The family without samples: what a registry asks for to find duplicates."""
        return [empty_family(self.definition)]

    def collect(self) -> Iterable[Metric]:
        """The family with the samples of every child."""
        family = empty_family(self.definition)
        with self._lock:
            children = list(self._children.values())
        for child in children:
            family.samples.extend(child.samples(self.definition.name))
        return [family]

    @abstractmethod
    def _child(self, labels: Mapping[str, str]) -> Child: ...


class CounterChild:
    """A `Counter` in memory."""

    __slots__ = ("_labels", "_lock", "_value")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._value = 0.0
        self._lock = threading.Lock()

    def inc(self, amount: float = 1) -> None:
        """Add ``amount``, at least 0."""
        with self._lock:
            self._value += amount

    def samples(self, name: str) -> Iterator[Sample]:
        """The one sample."""
        yield Sample(name, self._labels, self._value)


class GaugeChild:
    """A `Gauge` in memory; it exports nothing before its first value."""

    __slots__ = ("_labels", "_value")

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._value: float | None = None

    def set(self, value: float) -> None:
        """Replace the value."""
        self._value = value

    def samples(self, name: str) -> Iterator[Sample]:
        """The one sample, or none."""
        if self._value is not None:
            yield Sample(name, self._labels, self._value)


class HistogramChild:
    """A `Histogram` in memory."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_labels", "_lock", "_sum")

    def __init__(self, labels: Mapping[str, str], bounds: tuple[float, ...]) -> None:
        self._labels = dict(labels)
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, Exemplar] = {}
        self._lock = threading.Lock()

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count ``amount``; ``exemplar`` labels replace those of the bucket it falls into."""
        bucket = bisect_left(self._bounds, amount)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += amount
            if exemplar is not None:
                self._exemplars[bucket] = Exemplar(exemplar, amount, time.time())

    def samples(self, name: str) -> Iterator[Sample]:
        """The buckets, then count and sum, all of one moment."""
        with self._lock:
            counts, total, exemplars = self._counts.copy(), self._sum, self._exemplars.copy()
        bucket, labels = name + "_bucket", self._labels
        cumulated = [float(count) for count in accumulate(counts)]
        for index, bound in enumerate((*_texts(self._bounds), "+Inf")):
            yield Sample(bucket, {**labels, "le": bound}, cumulated[index], None, exemplars.get(index))
        yield Sample(name + "_count", labels, cumulated[-1])
        yield Sample(name + "_sum", labels, total)


_BOUND_TEXTS: dict[tuple[float, ...], tuple[str, ...]] = {}


def _texts(bounds: tuple[float, ...]) -> tuple[str, ...]:
    if bounds not in _BOUND_TEXTS:
        _BOUND_TEXTS[bounds] = tuple(map(floatToGoString, bounds))
    return _BOUND_TEXTS[bounds]


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
