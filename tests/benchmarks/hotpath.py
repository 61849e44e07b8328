"""Where the time of a task goes: a sampled profile of `ManagedBackgroundTasks`, no-op tasks, one a request.

A timer of the process's CPU time interrupts the main thread, and each sample counts for the innermost
function that belongs to a step. So the shares hardly depend on what else the machine does. What the SDKs
do is counted apart from the observers that call them, and the garbage collector apart from everything.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from fastapi import Depends, FastAPI
from starlette.types import Message

from tests.benchmarks.compare.bare import ID, Bare
from tests.benchmarks.compare.managed import Taskflow
from tests.benchmarks.compare.program import requests
from tests.benchmarks.compare.system import System
from tests.benchmarks.table import heading

TASKS = 50_000
INTERVAL = 0.001
"""Seconds of CPU time between two samples."""

PARTS: Mapping[str, tuple[str, ...]] = {
    "enqueue": ("web", "execution.enqueue", "arguments", "execution.registry", "core.ids"),
    "states and events": (
        "execution.store",
        "execution.stream",
        "core.models",
        "core.clock",
        "persistence",
    ),
    "run": ("execution", "core.running"),
    "fan-out to observers": ("observers.chain", "observers.base", "observers.mailbox"),
    "OpenTelemetryObserver": (
        "observers.opentelemetry",
        "observers.otel",
    ),
    "PrometheusObserver": ("observers.prometheus", "metrics"),
    "FileLogger": ("observers.file", "observers.formatting", "observers.plain", "observers.writer"),
}
"""Which modules of `taskflow` a step is made of; the first that fits counts."""

SDKS = {"opentelemetry": "OpenTelemetry SDK", "prometheus_client": "prometheus_client"}
COLLECTOR = "garbage collector"
REST = "Python and the loop around it"


def collected(phase: str, info: dict[str, int]) -> None:
    """Called by the collector when it begins and ends: a sample that came meanwhile is taken in here."""


def step(frame: FrameType | None) -> str:
    """The step that the innermost of these functions belongs to."""
    while frame is not None:
        if frame.f_code is collected.__code__:
            return COLLECTOR
        name = str(frame.f_globals.get("__name__", ""))
        package, _, module = name.partition(".")
        if package in SDKS:
            return SDKS[package]
        if package == "taskflow":
            for part, modules in PARTS.items():
                if any(module == known or module.startswith(f"{known}.") for known in modules):
                    return part
        frame = frame.f_back
    return REST


@contextmanager
def sampled(samples: Counter[str]) -> Iterator[None]:
    """Count in which step the main thread is, until the block ends."""

    def count(_: int, frame: FrameType | None) -> None:
        samples[step(frame)] += 1

    before = signal.signal(signal.SIGPROF, count)
    # Without it the collector would be charged to whatever made the object that was one too many.
    gc.callbacks.append(collected)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        gc.callbacks.remove(collected)
        signal.signal(signal.SIGPROF, before)


async def profile(folder: Path | None) -> tuple[Counter[str], float, float]:
    """Samples by step; microseconds of a task on the main thread, and on those of exporters and files."""
    samples: Counter[str] = Counter()
    system = Taskflow(folder)
    await system.start()
    await requests(system, 2_000)
    gc.collect()
    gc.freeze()
    process, thread = time.process_time(), time.thread_time()
    with sampled(samples):
        await requests(system, TASKS)
    process, thread = time.process_time() - process, time.thread_time() - thread
    await system.stop()
    return samples, 1e6 * thread / TASKS, 1e6 * (process - thread) / TASKS


def show(title: str, samples: Counter[str], here: float, elsewhere: float) -> None:
    """Print a table in Markdown."""
    total = samples.total()
    print(f"| {title} | µs a task | share |")
    print("|---|--:|--:|")
    for part in [*PARTS, *SDKS.values(), COLLECTOR, REST]:
        if share := samples[part] / total:
            print(f"| {part} | {here * share:.1f} | {share:.0%} |")
    print(f"| **on the main thread** | **{here:.1f}** | **100%** |")
    if elsewhere >= 0.1:
        print(f"| on the threads that export spans and write files | {elsewhere:.1f} | |")
    print()


class Taskless(System):
    """The same route without a task."""

    async def request(self) -> None:
        """Nothing."""

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/")
        async def route() -> dict[str, str]:
            return {"task": ID}

        return app


async def dependency() -> int:
    """What FastAPI solves at the price of one dependency."""
    return 1


class Dependent(Taskless):
    """The same with one dependency, as `Depends(manager.get_tasks)` is."""

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/")
        async def route(_: int = Depends(dependency)) -> dict[str, str]:
            return {"task": ID}

        return app


async def call(app: FastAPI) -> None:
    """One request, as a server hands it to the application."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"bench")],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        pass

    await app(scope, receive, send)


async def request_cost(system: System, count: int = 5_000) -> float:
    """Microseconds of CPU time that a request costs inside the application."""
    app = system.app()
    await system.start()
    times = []
    for _ in range(6):
        gc.collect()
        start = time.process_time()
        for _ in range(count):
            await call(app)
        times.append(time.process_time() - start)
    await system.stop()
    return 1e6 * statistics.median(times[1:]) / count


def run() -> None:
    """Profile with nothing observed, and with everything; then a request without a server."""
    heading("Where the time of a task goes, in CPU time")
    show("nothing observed", *asyncio.run(profile(None)))
    with tempfile.TemporaryDirectory() as folder:
        show("everything observed", *asyncio.run(profile(Path(folder))))
    print("| a request inside the application | µs |")
    print("|---|--:|")
    systems = {
        "a route, nothing else": Taskless,
        "with one task of BackgroundTasks": Bare,
        "with one dependency": Dependent,
        "with one task of Taskflow, by dependency": Taskflow,
    }
    for name, system in systems.items():
        print(f"| {name} | {asyncio.run(request_cost(system())):.0f} |")


if __name__ == "__main__":
    run()
