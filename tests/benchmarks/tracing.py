"""What tracing costs: tasks with everything on, against the raw OpenTelemetry SDK making the same spans.

``python -m tests.benchmarks.tracing`` prints the parts.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
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

TASKS = 10_000
ROUNDS = 5
REQUEST = 100
"""Tasks of one request."""


@dataclass(frozen=True)
class Measurement:
    """Median rate of one set-up over all rounds.

    Attributes:
        name: what was switched on.
        rate: tasks per second.
        ratio: rate as a share of the raw SDK's in the same run; ``None`` where that says nothing.
    """

    name: str
    rate: float
    ratio: float | None = None


class NullExporter(SpanExporter):
    """Takes the spans and forgets them: an exporter's own work is the same for both sides."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def make_provider() -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(NullExporter(), max_queue_size=4 * TASKS))
    return provider


async def noop() -> None:
    pass


async def logging_noop() -> None:
    task_log("sent")


def raw_sdk(tracer: trace.Tracer) -> None:
    """The spans and the event of one task, as its author would write them without Taskflow.

    The run span is made current, as ours is: spans of the task's code belong below it.
    """
    task_id = str(uuid.uuid4())
    attributes = {"taskflow.task.name": "noop", "taskflow.task.id": task_id}
    enqueue = tracer.start_span("enqueue noop", kind=SpanKind.PRODUCER, attributes=attributes)
    enqueue.end()
    with tracer.start_as_current_span(
        "run noop",
        context=trace.set_span_in_context(enqueue),
        kind=SpanKind.CONSUMER,
        attributes={**attributes, "code.function.name": "tests.noop", "taskflow.queue_duration": 0.001},
    ) as run:
        run.add_event("sent", {"log.severity": "info"})
        run.set_attributes({"taskflow.task.status": "success", "taskflow.task.attempts": 1})


async def raw_sdk_rate() -> float:
    """Tasks' worth of spans per second that the SDK alone makes."""
    provider = make_provider()
    tracer = provider.get_tracer("benchmark")
    began = time.perf_counter()
    for _ in range(TASKS):
        raw_sdk(tracer)
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
        return TASKS / (time.perf_counter() - began)


async def observed_rate(
    folder: Path, *, spans: bool = False, metrics: bool = False, file: bool = False
) -> float:
    """`engine_rate` with a fresh observer of each kind that is wanted."""
    provider = make_provider()
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
            "raw SDK: 2 spans, 1 event": lambda: asyncio.run(raw_sdk_rate()),
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
    medians = {name: statistics.median(values) for name, values in rates.items()}
    raw = next(iter(medians.values()))
    return [Measurement(name, rate, rate / raw) for name, rate in medians.items()]


def clean(setup: Callable[[], float]) -> float:
    """Run ``setup`` so that the garbage collector does not charge it for what was there before."""
    gc.collect()
    gc.freeze()
    try:
        return setup()
    finally:
        gc.unfreeze()


def main() -> None:
    """Print the table."""
    for found in measure():
        ratio = "" if found.ratio is None else f"{found.ratio:6.2f} ×"
        print(f"{found.name:32} {found.rate:9,.0f} tasks/s  {1e6 / found.rate:6.1f} µs {ratio}")


if __name__ == "__main__":
    main()
