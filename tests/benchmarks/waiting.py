"""What a backlog costs whoever looks: a scrape, an overview and a page, with few tasks waiting and many."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from taskflow import PrometheusObserver, TaskAdmin, TaskManager
from tests.benchmarks.table import heading

FEW, MANY = 1_000, 1_000_000
ROUNDS = 15
PATHS = {"a scrape": "/metrics", "an overview": "/tasks/overview", "the first page": "/tasks"}


async def wait() -> None:
    """Never called: its tasks are enqueued and not dispatched."""


def backlog(count: int) -> tuple[TaskManager, FastAPI]:
    """A manager that has not started, with that many tasks, and the app of its dashboard."""
    manager, app = TaskManager(loggers=[PrometheusObserver(CollectorRegistry())]), FastAPI()
    manager.task()(wait)
    TaskAdmin(app, manager)
    for _ in range(count):
        manager.enqueue(wait)
    return manager, app


async def milliseconds(call: Callable[[], Awaitable[object]]) -> float:
    """Median milliseconds of processor time of a call; the first one does not count."""
    times = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        await call()
        times.append(1e3 * (time.process_time() - start))
    return statistics.median(times[1:])


async def looks(app: FastAPI) -> dict[str, float]:
    """Milliseconds of each way to look."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http:
        return {name: await milliseconds(lambda path=path: http.get(path)) for name, path in PATHS.items()}


def enqueue_cost(count: int) -> tuple[float, float]:
    """Microseconds of processor time, and bytes, of one more task when so many wait."""
    manager, _ = backlog(count)
    gc.collect()
    start = time.process_time()
    for _ in range(FEW):
        manager.enqueue(wait)
    seconds = time.process_time() - start
    tracemalloc.start()
    for _ in range(FEW):
        manager.enqueue(wait)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return 1e6 * seconds / FEW, held / FEW


def run() -> None:
    """Measure and print."""
    heading(f"Looking at {FEW:,} and at {MANY:,} waiting tasks")
    results = []
    for count in (FEW, MANY):
        manager, app = backlog(count)
        gc.collect()
        gc.freeze()
        results.append(asyncio.run(looks(app)))
        del manager, app
        gc.unfreeze()
        gc.collect()
    for name in PATHS:
        few, many = (result[name] for result in results)
        print(f"{name:15} {few:7.2f} ms  {many:7.2f} ms  {many / few:5.2f} × (target ≤ 2 ×)")
    for count in (FEW, MANY // 2):
        micros, held = enqueue_cost(count)
        print(f"one more task when {count:,} wait: {micros:.1f} µs, {held:,.0f} bytes")


if __name__ == "__main__":
    run()
