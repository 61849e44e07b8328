"""Memory per finished task, and its bound over many tasks."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc

import psutil

from taskflow import ManagedBackgroundTasks, TaskManager
from tests.benchmarks.table import heading
from tests.benchmarks.throughput import noop

HISTORY = 10_000
MANY = 1_000_000


async def run_tasks(manager: TaskManager, count: int) -> None:
    """No-op tasks, one a request."""
    for _ in range(count):
        tasks = ManagedBackgroundTasks(manager)
        tasks.add_task(noop)
        await tasks()


def bytes_per_record() -> float:
    """Bytes that a finished record of a no-op task keeps, as tracemalloc counts them."""
    manager = TaskManager(max_history=HISTORY)
    asyncio.run(run_tasks(manager, 100))
    gc.collect()
    tracemalloc.start()
    asyncio.run(run_tasks(manager, HISTORY - 100))
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / (HISTORY - 100)


def growth() -> tuple[int, int]:
    """Resident bytes after the history was filled once, and after a million tasks."""
    process = psutil.Process(os.getpid())
    manager = TaskManager(max_history=HISTORY)
    asyncio.run(run_tasks(manager, 2 * HISTORY))
    filled = process.memory_info().rss
    asyncio.run(run_tasks(manager, MANY - 2 * HISTORY))
    return filled, process.memory_info().rss


def run() -> None:
    """Measure and print."""
    heading("Memory")
    print(f"a finished record         {bytes_per_record():,.0f} bytes (target ≤ 2,048)")
    filled, after = growth()
    print(f"process, history full     {filled / 2**20:,.1f} MiB (max_history={HISTORY:,})")
    print(f"process, 1,000,000 tasks  {after / 2**20:,.1f} MiB ({(after - filled) / 2**20:+,.1f} MiB)")


if __name__ == "__main__":
    run()
