"""No-op tasks through `ManagedBackgroundTasks`, beside bare `BackgroundTasks` and taskiq in memory.

A request has one task, as most requests do: each system makes its per-request object, adds the task
and runs it.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from fastapi import BackgroundTasks
from taskiq import InMemoryBroker

from taskflow import FileLogger, ManagedBackgroundTasks, TaskManager
from tests.benchmarks.table import Rates, heading, measure, target

TASKS = 5_000
ROUNDS = 15


async def noop() -> None:
    """Nothing: what is measured is everything around it."""


def bare() -> int:
    """FastAPI's own class."""

    async def requests() -> None:
        for _ in range(TASKS):
            tasks = BackgroundTasks()
            tasks.add_task(noop)
            await tasks()

    asyncio.run(requests())
    return TASKS


def taskflow(make_manager: Callable[[], TaskManager]) -> Callable[[], int]:
    """Taskflow with the manager that ``make_manager`` makes."""

    async def requests() -> None:
        manager = make_manager()
        manager.task()(noop)
        async with manager:
            for _ in range(TASKS):
                tasks = ManagedBackgroundTasks(manager)
                tasks.add_task(noop)
                await tasks()

    def work() -> int:
        asyncio.run(requests())
        return TASKS

    return work


def taskiq() -> int:
    """taskiq's in-memory broker, waiting for each task as the others do."""

    async def requests() -> None:
        broker = InMemoryBroker(await_inplace=True)
        task = broker.task(noop)
        await broker.startup()
        for _ in range(TASKS):
            await task.kiq()
        await broker.shutdown()

    asyncio.run(requests())
    return TASKS


def run() -> Rates:
    """Measure and print."""
    heading("Throughput, no-op async tasks, one a request")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "tasks.log"
        file_logger = FileLogger(log, log_lifecycle=True)
        rates = measure(
            {
                "bare BackgroundTasks": bare,
                "taskflow": taskflow(TaskManager),
                "taskflow, 10 slots": taskflow(lambda: TaskManager(max_concurrent_tasks=10)),
                "taskflow, FileLogger(log_lifecycle=True)": taskflow(
                    lambda: TaskManager(loggers=[file_logger])
                ),
                "taskiq InMemoryBroker": taskiq,
            },
            ROUNDS,
        )
        lines = sum(1 for path in Path(folder).iterdir() for _ in path.open())
    for system in rates.rounds:
        rate = rates.rate(system)
        print(f"{system:44} {rate:>9,.0f} tasks/s {1e6 / rate:>7.1f} µs")
    print()
    base, taskiq_name = "bare BackgroundTasks", "taskiq InMemoryBroker"
    print("no observers / bare       ", target(rates.ratio("taskflow", base), 0.25))
    print("no observers / taskiq     ", target(rates.ratio("taskflow", taskiq_name), 2))
    logged = rates.ratio("taskflow, FileLogger(log_lifecycle=True)", taskiq_name)
    print("FileLogger / taskiq       ", target(logged, 1))
    expected = 3 * TASKS * (ROUNDS + 1)
    print(f"lines written              {lines:,} of {expected:,} ({file_logger.dropped:,} dropped)")
    return rates


if __name__ == "__main__":
    run()
