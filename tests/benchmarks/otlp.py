"""What it costs to send spans over OTLP/HTTP, in processor time of all threads: an exporter works in one of
its own, on the same processor.

``python -m tests.benchmarks.otlp`` leaves out the published peer, for which environments are made.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
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
from taskflow.observers import otlp
from tests.benchmarks.compare.environment import PEER, interpreter
from tests.benchmarks.otlp_sink import running_sink
from tests.benchmarks.table import heading, target
from tests.benchmarks.tracing import current_spans, engine_rate, median_ratio
from tests.processes import ROOT

BATCH = 512
BATCHES = 10
TASKS = 10_000
QUEUE = 4 * TASKS
ROUNDS = 5

Processors = Mapping[str, Callable[[str], SpanProcessor]]

OFFICIAL, OURS = "official exporter", "taskflow.observers.otlp"
PROCESSORS: Processors = {
    OFFICIAL: lambda url: BatchSpanProcessor(OTLPSpanExporter(url), max_queue_size=QUEUE),
    OURS: lambda url: otlp.BatchSpanProcessor(otlp.OTLPSpanExporter(url), max_queue_size=QUEUE),
}

RESOURCE = Resource.create(
    {"service.name": "shop", "service.version": "1.0", "deployment.environment": "test"}
)


def cpu(work: Callable[[], object]) -> float:
    """Seconds of processor time that this process needs for ``work``, in all its threads."""
    gc.collect()
    gc.freeze()
    began = time.process_time()
    try:
        work()
        return time.process_time() - began
    finally:
        gc.unfreeze()


def in_turn(works: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """What each call returns, all of them in turn in every round, after a round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            value = work()
            if number:
                found[name].append(value)
    return found


# A batch


async def _tasks(provider: TracerProvider) -> None:
    manager = TaskManager(loggers=[OpenTelemetryObserver(provider)], handle_signals=False)

    @manager.task(retries=1)
    async def send_mail(address: str) -> None:
        task_log("connected to the server", server="mail.example.com", port=587)
        task_log("sent", to=address, bytes=18_233)

    async with manager:
        for number in range(BATCH // 3 + 1):
            tasks = ManagedBackgroundTasks(manager)
            tags = {"customer": f"customer-{number}", "region": "eu-west"}
            tasks.add_task(send_mail, f"someone-{number}@example.com", tags=tags)
            await tasks()


def batch() -> Sequence[ReadableSpan]:
    """The spans of 171 tasks with tags, an attempt and two log lines each."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    asyncio.run(_tasks(provider))
    return exporter.get_finished_spans()[:BATCH]


def exporting(url: str) -> dict[str, list[float]]:
    """Microseconds for each span, from its end until the collector has it."""
    spans = batch()
    processors = {name: make(url) for name, make in PROCESSORS.items()}

    def send(processor: SpanProcessor) -> None:
        for _ in range(BATCHES):
            for span in spans:
                processor.on_end(span)
            assert processor.force_flush()

    works = {
        name: lambda processor=processor: 1e6 * cpu(lambda: send(processor)) / (BATCHES * len(spans))
        for name, processor in processors.items()
    }
    found = in_turn(works)
    for processor in processors.values():
        processor.shutdown()
    return found


# Everything


def _provider(processor: SpanProcessor) -> TracerProvider:
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


def raw_seconds(processor: SpanProcessor) -> float:
    """The SDK alone making the spans of so many tasks, until they are delivered."""
    provider = _provider(processor)
    tracer = provider.get_tracer("benchmark")

    def work() -> None:
        for _ in range(TASKS):
            current_spans(tracer)
        provider.force_flush()

    seconds = cpu(work)
    provider.shutdown()
    return seconds


def observed_seconds(processor: SpanProcessor, folder: Path) -> float:
    """So many tasks that log a line, with spans, metrics and a JSON file, until all is delivered."""
    provider = _provider(processor)
    observers: list[TaskObserver] = [
        OpenTelemetryObserver(provider),
        PrometheusObserver(registry=CollectorRegistry()),
        FileLogger(folder / "tasks.log", log_lifecycle=True, format="json", backup_count=0),
    ]
    seconds = cpu(lambda: asyncio.run(engine_rate(observers)))
    provider.shutdown()
    return seconds


RAW = f"raw SDK, {OFFICIAL}"


def everything(url: str, folder: Path) -> dict[str, list[float]]:
    """Microseconds for each task: of the raw SDK, and of Taskflow with everything on and each exporter."""
    works: dict[str, Callable[[], float]] = {RAW: lambda: raw_seconds(PROCESSORS[OFFICIAL](url))}
    for name, make in PROCESSORS.items():
        works[f"everything, {name}"] = lambda make=make: observed_seconds(make(url), folder)
    return {name: [1e6 * one / TASKS for one in values] for name, values in in_turn(works).items()}


# The published peer


def exported(system: str, url: str) -> float:
    """Microseconds for each task of a system in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [interpreter(system), "-m", "tests.benchmarks.compare.exported", system, folder, url]
        answer = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    return 1e6 * float(answer["cpu_seconds"]) / int(answer["tasks"])


def beside_the_peer(url: str) -> dict[str, list[float]]:
    """Taskflow with everything on and its own exporter; the peer with one span a task and the official."""
    return in_turn({name: lambda name=name: exported(name, url) for name in ("Taskflow", "Peer")})


def _rows(found: Mapping[str, Sequence[float]], base: str, unit: str) -> Iterable[str]:
    for name, values in found.items():
        spread = f"{min(values):6.1f} – {max(values):6.1f}"
        ratio = median_ratio(list(found[base]), list(values))
        yield f"{name:44} {statistics.median(values):6.1f} µs a {unit} ({spread}) {ratio:6.2f} ×"


def measure() -> None:
    """What needs no environment of its own."""
    with running_sink() as url, tempfile.TemporaryDirectory() as folder:
        heading("Sending spans over OTLP/HTTP, processor time of all threads")
        print(*_rows(exporting(url), OFFICIAL, "span"), sep="\n", end="\n\n")
        found = everything(url, Path(folder))
        print(*_rows(found, RAW, "task"), sep="\n")
        reached = median_ratio(found[RAW], found[f"everything, {OURS}"])
        print(f"everything with {OURS} / {RAW}: {target(reached, 1.4)}")


def run() -> None:
    """Measure and print."""
    measure()
    with running_sink() as url:
        found = beside_the_peer(url)
    print("", *_rows(found, "Peer", "task"), sep="\n")
    reached = median_ratio(found["Peer"], found["Taskflow"])
    print(f"Taskflow, everything / {PEER.replace('==', ' ')}, one span: {target(reached, 3)}")


if __name__ == "__main__":
    measure()
