"""Microseconds of processor time that a task takes, one a request, with nothing observed."""

import asyncio
import gc
import time

from taskflow import ManagedBackgroundTasks, TaskManager

TASKS = 20_000

manager = TaskManager(handle_signals=False)


@manager.task()
async def noop() -> None:
    """Nothing."""


async def requests(count: int) -> None:
    """So many, with one task each."""
    for _ in range(count):
        tasks = ManagedBackgroundTasks(manager)
        tasks.add_task(noop)
        await tasks()


async def main() -> None:
    """Warm up, measure, print."""
    async with manager:
        await requests(2_000)
        gc.collect()
        gc.freeze()
        began = time.process_time()
        await requests(TASKS)
        print(1e6 * (time.process_time() - began) / TASKS)


asyncio.run(main())
