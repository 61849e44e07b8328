"""Series in the files that the processes of one server share: prometheus_client's multiprocess mode."""

from __future__ import annotations

import os
from typing import Generic, Protocol, TypeVar

import prometheus_client
from prometheus_client.metrics import MetricWrapperBase

from taskflow.metrics.catalogue import MetricDefinition
from taskflow.metrics.families import Counter, Gauge, Histogram

__all__ = ["Labelled", "file_counter", "file_gauge", "file_histogram", "multiprocess_directory"]

Series = TypeVar("Series", covariant=True)
Metric = TypeVar("Metric", bound=MetricWrapperBase)


def multiprocess_directory() -> str | None:
    """The directory in which the processes of one server share their metrics; ``None`` if they do not.

    The variable is prometheus_client's, which reads it when it is imported: set it before Python starts.
    """
    return os.environ.get("PROMETHEUS_MULTIPROC_DIR") or None


class Labelled(Protocol[Series]):
    """A family: gives out one series per tuple of label values."""

    def labels(self, *values: str) -> Series:
        """The series with these values, in the order of the definition."""


class FileFamily(Generic[Metric]):
    """A metric of prometheus_client as a `Labelled`. Without labels, the metric itself is the only series."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def labels(self, *values: str) -> Metric:
        """The series with these values, in the order of the definition."""
        return self._metric.labels(*values) if values else self._metric


# registry=None: what is in the files is read from the files. The metric objects know
# only their own process.


def file_counter(definition: MetricDefinition) -> Labelled[Counter]:
    """A family of counters: those of all processes add up, also of those that have ended."""
    return FileFamily(
        prometheus_client.Counter(definition.name, definition.help, definition.labels, registry=None)
    )


def file_gauge(definition: MetricDefinition) -> Labelled[Gauge]:
    """A family of gauges: those of living processes are joined as the definition says."""
    return FileFamily(
        prometheus_client.Gauge(
            definition.name,
            definition.help,
            definition.labels,
            registry=None,
            multiprocess_mode=definition.multiprocess_mode,
        )
    )


def file_histogram(definition: MetricDefinition) -> Labelled[Histogram]:
    """A family of histograms: as counters."""
    return FileFamily(
        prometheus_client.Histogram(
            definition.name,
            definition.help,
            definition.labels,
            registry=None,
            buckets=definition.buckets,
        )
    )
