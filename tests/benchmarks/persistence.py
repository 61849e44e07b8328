"""What persistence costs an application, on an SQLite file in a folder for temporary files."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import psutil

from taskflow import SqliteBackend, TaskManager, TaskStatus
from taskflow.core.query import Cursor, TaskQuery, microseconds
from tests.benchmarks import rows
from tests.benchmarks.durable import durable_rate
from tests.benchmarks.rows import HISTORY, Latency
from tests.benchmarks.table import heading
from tests.benchmarks.throughput import noop

REQUESTS = (1, 32, 200)
"""Requests that are under way at once."""

ROUNDS = 5
CHANGED = 20_000
RECENT = 10_000
STORED = 100_000
"""Tasks that a stop leaves, and that the next start finds."""

FAILED, SUCCESS = TaskStatus.FAILED, TaskStatus.SUCCESS


async def succeeded(path: Path) -> int:
    """How many tasks have, by the file itself."""
    backend = SqliteBackend(path)
    totals = await backend.count()
    await backend.close()
    return totals[SUCCESS].count if SUCCESS in totals else 0


async def flush_seconds(path: Path) -> tuple[float, float]:
    """Seconds for a flush of `CHANGED` records that have all changed, and for the next one."""
    manager = TaskManager(snapshot_db=str(path), max_history=CHANGED)
    for _ in range(CHANGED):
        task_id = str(uuid4())
        manager.store.create(task_id, "noop", tags={"customer": "17"}, registered=True)
        for status in (TaskStatus.RUNNING, SUCCESS):
            manager.store.transition(task_id, status)
    scheduler = manager._scheduler
    assert scheduler is not None
    times = [time.perf_counter()]
    for _ in range(2):
        await scheduler.flush()
        times.append(time.perf_counter())
    await manager.shutdown()
    assert await succeeded(path) == CHANGED
    return times[1] - times[0], times[2] - times[1]


def start_alone(path: Path) -> tuple[float, int]:
    """Seconds until a manager has started, and bytes that its process then has more: one of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        return processes.submit(_start, path).result()


def _start(path: Path) -> tuple[float, int]:
    async def start() -> tuple[float, int]:
        manager, process = TaskManager(snapshot_db=str(path)), psutil.Process(os.getpid())
        before, began = process.memory_info().rss, time.perf_counter()
        async with manager:
            return time.perf_counter() - began, process.memory_info().rss - before

    return asyncio.run(start())


async def listings(path: Path) -> dict[str, Latency]:
    """How long a manager takes that has finished tasks in memory, too, and that caches nothing."""
    manager = TaskManager(snapshot_db=str(path), merged_list_ttl=0, max_history=RECENT)
    manager.task()(noop)
    middle = Cursor(microseconds(rows.START + timedelta(seconds=HISTORY / 2)), "")
    failed = TaskQuery(status=[FAILED], after=middle)
    async with manager:
        for _ in range(RECENT):
            manager.enqueue(noop)
        await manager.drain()
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "merged_list(), 1,000 tasks": manager.merged_list,
            "merged_list(limit=100)": lambda: manager.merged_list(limit=100),
            "page of 100 in the middle": lambda: manager.history.page(TaskQuery(after=middle)),
            "page of 100 that failed": lambda: manager.history.page(failed),
        }
        return {name: await rows.latency(call) for name, call in calls.items()}


async def hand_over(path: Path, tasks: int) -> float:
    """Seconds that a stop takes while so many durable tasks wait."""
    manager = TaskManager(snapshot_db=str(path), max_concurrent_tasks=1, shutdown_timeout=0)

    manager.task(persist=True)(noop)

    async def hold_the_slot() -> None:
        await asyncio.Event().wait()

    await manager.startup()
    manager.enqueue(hold_the_slot)
    ids = [manager.enqueue(noop) for _ in range(tasks)]
    for task_id in ids:
        await manager.committed(task_id)
    began = time.perf_counter()
    await manager.shutdown()
    return time.perf_counter() - began


async def take_over(path: Path, tasks: int) -> tuple[float, float]:
    """Seconds until a manager has started that finds so many, and until all of them have ended."""
    manager = TaskManager(snapshot_db=str(path))
    manager.task(persist=True)(noop)
    began = time.perf_counter()
    async with manager:
        started = time.perf_counter() - began
        while await succeeded(path) < tasks:  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(1)
        return started, time.perf_counter() - began


def many_stored(path: Path) -> None:
    """Measure a stop and a start with very many durable tasks that wait, and print."""
    heading(f"SQLite: {STORED:,} durable tasks that wait, over a restart")
    print(f"stop   {asyncio.run(hand_over(path, STORED)):8.2f} s")
    started, ended = asyncio.run(take_over(path, STORED))
    rate = f"{STORED / ended:,.0f} tasks/s"
    print(f"start  {started:8.2f} s   (target < 1)   all have run after {ended:.1f} s, {rate}")


def run() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        durable(folder)
        history(folder)
        many_stored(folder / "stored.db")
        asyncio.run(backend(folder))
        long_history(folder / "long.db")


def durable(folder: Path) -> None:
    """Measure durable tasks and print."""
    heading("SQLite: durable tasks, three commits each")
    for requests in REQUESTS:
        tasks = min(10_000, 500 * requests)
        paths = [folder / f"durable-{requests}-{number}.db" for number in range(ROUNDS)]
        rates = [asyncio.run(durable_rate(partial(SqliteBackend, path), requests, tasks)) for path in paths]
        wanted = "" if requests == 1 else "   (target ≥ 5,000)"
        print(f"{requests:3} requests at once {statistics.median(rates):>9,.0f} tasks/s{wanted}")


def history(folder: Path) -> None:
    """Measure the flush and print."""
    heading(f"SQLite: a flush of {CHANGED:,} records")
    times = [asyncio.run(flush_seconds(folder / f"flush-{number}.db")) for number in range(ROUNDS)]
    changed, unchanged = (statistics.median(each) for each in zip(*times, strict=True))
    print(f"all of them changed   {changed:8.3f} s   (target < 1)")
    print(f"none of them changed  {unchanged:8.6f} s")


async def backend(folder: Path) -> None:
    """Measure `SqliteBackend` alone and print."""
    backend = SqliteBackend(folder / "changes.db")
    await backend.open()
    heading("SQLite alone: changes of durable tasks in groups, and rows of history")
    for group in (1, 10, rows.GROUP, rows.BATCH):
        cost = await rows.change_cost(backend, tasks=min(rows.TASKS, 200 * group), group=group)
        print(f"groups of {group:3}   {cost:7.1f} µs a change   {1e6 / cost / 3:8,.0f} tasks/s")
    print(f"history       {await rows.save_seconds(backend):7.2f} s for {rows.TASKS:,} rows")
    await backend.close()


def long_history(path: Path) -> None:
    """Measure what a long history costs, and print."""
    heading(f"SQLite: a history of {HISTORY:,} tasks")
    asyncio.run(_questions(path))
    for name, found in asyncio.run(listings(path)).items():
        print(f"{name:36} {found.median:8.1f} ms   slowest {found.slowest:8.1f} ms   (target < 50 ms)")
    seconds, grown = start_alone(path)
    print(f"start-up {seconds:.3f} s   (target < 1)   and {grown / 2**20:.1f} MiB   (target < 50)")


async def _questions(path: Path) -> None:
    backend = SqliteBackend(path)
    await rows.fill(backend)
    for name, found in (await rows.answers(backend)).items():
        print(f"{name:36} {found.median:8.1f} ms   slowest {found.slowest:8.1f} ms   {found.rows:4} rows")
    await backend.close()


if __name__ == "__main__":
    run()
