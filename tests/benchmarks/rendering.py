"""How long the samples of a scrape take to write: by Taskflow, and by prometheus_client's own metrics.

`taskflow.metrics.families` and `taskflow.metrics.exposition` do what prometheus_client does as well.
They are worth having only while they write a scrape in at most half of its time.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase

from taskflow.metrics.catalogue import SECONDS_BUCKETS, MetricDefinition
from taskflow.metrics.exposition import encode
from taskflow.metrics.files import FileFamily
from taskflow.metrics.instruments import Instruments, MemoryInstruments
from taskflow.observers.prometheus import TaskSeries

WANTED = 2.0
"""How many times as fast as prometheus_client's own the text has to be written."""

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
CLASSIC = "text/plain;version=0.0.4"


class ClientInstruments(Instruments):
    """The same series as those of `MemoryInstruments`, kept and exported by prometheus_client alone."""

    def __init__(self, registry: CollectorRegistry, buckets: Sequence[float] = SECONDS_BUCKETS) -> None:
        super().__init__(buckets)
        self._registry = registry

    def _counter_family(self, definition: MetricDefinition) -> FileFamily[prometheus_client.Counter]:
        return FileFamily(self._made(prometheus_client.Counter, definition))

    def _gauge_family(self, definition: MetricDefinition) -> FileFamily[prometheus_client.Gauge]:
        return FileFamily(self._made(prometheus_client.Gauge, definition))

    def _histogram_family(self, definition: MetricDefinition) -> FileFamily[prometheus_client.Histogram]:
        return FileFamily(self._made(prometheus_client.Histogram, definition, buckets=definition.buckets))

    def _made(self, kind: type[MetricWrapperBase], definition: MetricDefinition, **options: object):
        names = definition.name, definition.help, definition.labels
        return kind(*names, unit=definition.unit, registry=self._registry, **options)


@dataclass(frozen=True)
class RenderingCost:
    """Milliseconds of writing the same samples, median of the rounds, and what the two have in common.

    Attributes:
        ours: by Taskflow's families, the pauses for other threads included.
        theirs: by prometheus_client's metrics and its ``generate_latest``.
        ratio: median over the rounds of theirs by ours in the same round.
        cpu_ratio: the same of the processor time alone, which requests have to wait for.
        lines: samples in the text.
    """

    ours: float
    theirs: float
    ratio: float
    cpu_ratio: float
    lines: int


def rendering_cost(accept: str, names: int, rounds: int) -> RenderingCost:
    """Write the samples of ``names`` task names in both ways, in turns.

    Raises:
        AssertionError: the two texts are not equal, byte for byte.
    """
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fill(MemoryInstruments(ours), names)
    fill(ClientInstruments(theirs), names)
    generate, _ = choose_encoder(accept)
    with no_created_series():
        text = encode(ours, accept)[0]
        assert text == generate(theirs)
        times = [
            (timed(lambda: encode(ours, accept)), timed(lambda: generate(theirs))) for _ in range(rounds)
        ]
    return RenderingCost(
        ours=statistics.median(one.wall for one, _ in times) * 1e3,
        theirs=statistics.median(other.wall for _, other in times) * 1e3,
        ratio=statistics.median(other.wall / one.wall for one, other in times),
        cpu_ratio=statistics.median(other.cpu / one.cpu for one, other in times),
        lines=sum(1 for line in text.splitlines() if not line.startswith(b"#")),
    )


def fill(instruments: Instruments, names: int) -> None:
    """What a `PrometheusObserver` keeps of tasks of so many names that each went well once."""
    for number in range(names):
        series = TaskSeries(instruments, f"task_number_{number}")
        series.enqueued.inc()
        series.queue.observe(0.001)
        series.finished["success"].inc()
        series.duration["success"].observe(0.2)
        series.attempt["success"].observe(0.2)


@contextmanager
def no_created_series() -> Iterator[None]:
    """Without prometheus_client's ``_created`` series, which Taskflow does not have."""
    prometheus_client.disable_created_metrics()
    try:
        yield
    finally:
        prometheus_client.enable_created_metrics()


@dataclass(frozen=True)
class Times:
    """Seconds of one call: as a clock shows them, and those of this thread on a processor."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Times:
    """Do it once, after the garbage of others is gone."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return Times(time.perf_counter() - wall, time.thread_time() - cpu)
