"""What tracing costs: tasks with everything on, against the raw OpenTelemetry SDK making the same spans.

``python -m tests.benchmarks.tracing`` prints the parts.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry

from taskflow import (
    FileLogger,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskManager,
    TaskObserver,
    task_log,
)
from tests.benchmarks.exporting import NullExporter, make_provider
from tests.benchmarks.table import heading

TASKS = 10_000
QUEUE = 4 * TASKS
"""Spans that may wait for the exporter."""
ROUNDS = 5
RAW = "raw SDK: 2 spans, 1 event"
REQUEST = 100
"""Tasks of one request."""


@dataclass(frozen=True)
class Measurement:
    """Median rate of one set-up over all rounds.

    Attributes:
        name: what was switched on.
        rate: tasks per second.
        ratio: rate as a share of the raw SDK's in the same round.
    """

    name: str
    rate: float
    ratio: float


async def noop() -> None:
    pass


async def logging_noop() -> None:
    task_log("sent")


ATTRIBUTES = {"taskflow.task.name": "noop", "taskflow.task.id": "01234567-89ab-4def-8123-456789abcdef"}
RUN_ATTRIBUTES = {**ATTRIBUTES, "code.function.name": "tests.noop", "taskflow.queue_duration": 0.001}


def enqueue_span(tracer: trace.Tracer) -> Context:
    """Make the enqueue span of one task; returns the context to run it in."""
    enqueue = tracer.start_span("enqueue noop", kind=SpanKind.PRODUCER, attributes=ATTRIBUTES)
    enqueue.end()
    return trace.set_span_in_context(enqueue)


def fill(run: trace.Span) -> None:
    """What happens to the run span of one task."""
    run.add_event("sent", {"log.severity": "info"})
    run.set_attributes({"taskflow.task.status": "success", "taskflow.task.attempts": 1})


def bare_spans(tracer: trace.Tracer) -> None:
    """One task in the fewest calls: nothing that the task's code does would be below its run span."""
    context = enqueue_span(tracer)
    run = tracer.start_span("run noop", context, SpanKind.CONSUMER, RUN_ATTRIBUTES)
    fill(run)
    run.end()


def current_spans(tracer: trace.Tracer) -> None:
    """One task as the SDK's users write it, with the run span current, as ours is."""
    context = enqueue_span(tracer)
    with tracer.start_as_current_span("run noop", context, SpanKind.CONSUMER, RUN_ATTRIBUTES) as run:
        fill(run)


async def raw_sdk_rate(make_spans: Callable[[trace.Tracer], None] = current_spans) -> float:
    """Tasks' worth of spans per second that the SDK alone makes."""
    provider = make_provider(NullExporter(), queue=QUEUE)
    tracer = provider.get_tracer("benchmark")
    began = time.perf_counter()
    for _ in range(TASKS):
        make_spans(tracer)
    provider.force_flush()
    rate = TASKS / (time.perf_counter() - began)
    provider.shutdown()
    return rate


async def engine_rate(observers: Sequence[TaskObserver], *, log: bool = True) -> float:
    """Tasks per second, from ``add_task`` to the end, with these observers."""
    manager = TaskManager(loggers=list(observers), handle_signals=False)
    function = manager.task(name="noop")(logging_noop if log else noop)
    async with manager:
        began = time.perf_counter()
        for _ in range(TASKS // REQUEST):
            tasks = ManagedBackgroundTasks(manager)
            for _ in range(REQUEST):
                tasks.add_task(function)
            await tasks()
        if manager.logger is not None:
            await manager.logger.flush()  # what was put off is not for free
        return TASKS / (time.perf_counter() - began)


async def observed_rate(
    folder: Path, *, spans: bool = False, metrics: bool = False, file: bool = False
) -> float:
    """`engine_rate` with a fresh observer of each kind that is wanted."""
    provider = make_provider(NullExporter(), queue=QUEUE)
    observers: list[TaskObserver] = []
    if spans:
        observers.append(OpenTelemetryObserver(provider))
    if metrics:
        observers.append(PrometheusObserver(registry=CollectorRegistry()))
    if file:
        # Without rotation: one rename a round would be measured as noise.
        observers.append(FileLogger(folder / "tasks.log", log_lifecycle=True, format="json", backup_count=0))
    try:
        return await engine_rate(observers)
    finally:
        provider.shutdown()


def measure(rounds: int = ROUNDS) -> list[Measurement]:
    """The raw SDK, the engine alone, each observer alone, and everything, in turn in every round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setups: dict[str, Callable[[], float]] = {
            RAW: lambda: asyncio.run(raw_sdk_rate()),
            "raw SDK, spans never current": lambda: asyncio.run(raw_sdk_rate(bare_spans)),
            "tasks, nothing on": lambda: asyncio.run(engine_rate([], log=False)),
            "tasks that log, nothing on": lambda: asyncio.run(engine_rate([])),
            "… + spans": lambda: asyncio.run(observed_rate(folder, spans=True)),
            "… + Prometheus": lambda: asyncio.run(observed_rate(folder, metrics=True)),
            "… + JSON file with lifecycle": lambda: asyncio.run(observed_rate(folder, file=True)),
            "… + everything": lambda: asyncio.run(observed_rate(folder, spans=True, metrics=True, file=True)),
        }
        rates: dict[str, list[float]] = {name: [] for name in setups}
        for _ in range(rounds):
            for setup_name, setup in setups.items():
                rates[setup_name].append(clean(setup))
    return [
        Measurement(name, statistics.median(values), median_ratio(values, rates[RAW]))
        for name, values in rates.items()
    ]


def median_ratio(values: list[float], references: list[float]) -> float:
    """Compared round by round: a machine that is busy for a while slows both sides."""
    return statistics.median(value / reference for value, reference in zip(values, references, strict=True))


def clean(setup: Callable[[], float]) -> float:
    """Run ``setup`` so that the garbage collector does not charge it for what was there before."""
    gc.collect()
    gc.freeze()
    try:
        return setup()
    finally:
        gc.unfreeze()


def run() -> None:
    """Measure and print."""
    heading("Everything observed, against the raw OpenTelemetry SDK")
    for found in measure():
        print(f"{found.name:32} {found.rate:9,.0f} tasks/s {1e6 / found.rate:6.1f} µs {found.ratio:6.2f} ×")


if __name__ == "__main__":
    run()
