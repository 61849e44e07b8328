"""The counters, gauges and histograms of one registry, made from the catalogue when first asked for."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from taskflow.core.names import BoundedNames
from taskflow.metrics.catalogue import (
    SECONDS_BUCKETS,
    TASK_ATTEMPT_DURATION,
    TASK_DURATION,
    MetricDefinition,
)
from taskflow.metrics.families import (
    Counter,
    CounterFamily,
    Gauge,
    GaugeFamily,
    Histogram,
    HistogramFamily,
)
from taskflow.metrics.files import Labelled, file_counter, file_gauge, file_histogram

__all__ = ["FileInstruments", "Instruments", "MemoryInstruments"]

AnyFamily = TypeVar("AnyFamily")
AnyCollector = TypeVar("AnyCollector", bound=Collector)


class Instruments(ABC):
    """Makes series, each once, and limits the number of label values.

    Args:
        buckets: upper bounds, in seconds, of the duration histograms (task and attempt).

    Attributes:
        buckets: as given.
        names: the values of the label ``task``.
        error_types: the values of the label ``error_type``.
    """

    def __init__(self, buckets: Sequence[float] = SECONDS_BUCKETS) -> None:
        self.buckets = tuple(buckets)
        self.names = BoundedNames()
        self.error_types = BoundedNames()
        self._counters: dict[str, Labelled[Counter]] = {}
        self._gauges: dict[str, Labelled[Gauge]] = {}
        self._histograms: dict[str, Labelled[Histogram]] = {}
        self._lock = threading.Lock()

    def counter(self, definition: MetricDefinition, *values: str) -> Counter:
        """The counter with these label values."""
        return self._once(self._counters, definition, self._counter_family).labels(*values)

    def gauge(self, definition: MetricDefinition, *values: str) -> Gauge:
        """The gauge with these label values."""
        return self._once(self._gauges, definition, self._gauge_family).labels(*values)

    def histogram(self, definition: MetricDefinition, *values: str) -> Histogram:
        """The histogram with these label values."""
        if definition in (TASK_DURATION, TASK_ATTEMPT_DURATION):
            definition = replace(definition, buckets=self.buckets)
        return self._once(self._histograms, definition, self._histogram_family).labels(*values)

    @abstractmethod
    def _counter_family(self, definition: MetricDefinition) -> Labelled[Counter]: ...

    @abstractmethod
    def _gauge_family(self, definition: MetricDefinition) -> Labelled[Gauge]: ...

    @abstractmethod
    def _histogram_family(self, definition: MetricDefinition) -> Labelled[Histogram]: ...

    def _once(
        self,
        families: dict[str, AnyFamily],
        definition: MetricDefinition,
        make: Callable[[MetricDefinition], AnyFamily],
    ) -> AnyFamily:
        with self._lock:
            if definition.name not in families:
                families[definition.name] = make(definition)
            return families[definition.name]


class MemoryInstruments(Instruments):
    """Series in this process's memory, exported by a registry.

    Args:
        registry: where the families are registered.
        buckets: see `Instruments`.
    """

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float] = SECONDS_BUCKETS) -> None:
        super().__init__(buckets)
        # A weak reference, because the registry has this object.
        self._registry = weakref.ref(registry)

    def _counter_family(self, definition: MetricDefinition) -> Labelled[Counter]:
        return self._registered(CounterFamily(definition))

    def _gauge_family(self, definition: MetricDefinition) -> Labelled[Gauge]:
        return self._registered(GaugeFamily(definition))

    def _histogram_family(self, definition: MetricDefinition) -> Labelled[Histogram]:
        return self._registered(HistogramFamily(definition))

    def _registered(self, family: AnyCollector) -> AnyCollector:
        registry = self._registry()
        if registry is not None:
            registry.register(family)
        return family


class FileInstruments(Instruments):
    """Series in the files of ``PROMETHEUS_MULTIPROC_DIR``, one set per process, in no registry."""

    def _counter_family(self, definition: MetricDefinition) -> Labelled[Counter]:
        return file_counter(definition)

    def _gauge_family(self, definition: MetricDefinition) -> Labelled[Gauge]:
        return file_gauge(definition)

    def _histogram_family(self, definition: MetricDefinition) -> Labelled[Histogram]:
        return file_histogram(definition)
