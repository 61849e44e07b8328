"""Milliseconds of processor time for a GET while tasks wait; its path and their number are the arguments."""

import asyncio
import gc
import statistics
import sys
import time

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from taskflow import PrometheusObserver, TaskAdmin, TaskManager

GETS = 7

manager = TaskManager(
    loggers=[PrometheusObserver(CollectorRegistry())],
    max_concurrent_tasks=1,
    shutdown_timeout=0.1,
    handle_signals=False,
)
app = FastAPI()
TaskAdmin(app, manager)


@manager.task()
async def forever() -> None:
    """Holds the only slot."""
    await asyncio.Event().wait()


async def cost(http: httpx.AsyncClient, path: str) -> float:
    """Milliseconds of one."""
    began = time.process_time()
    (await http.get(path)).raise_for_status()
    return 1e3 * (time.process_time() - began)


async def main(path: str, number: int) -> None:
    """Let them wait, measure, print."""
    await manager.startup()
    for count in range(number):
        manager.enqueue(forever)
        if count % 1_000 == 0:
            await asyncio.sleep(0)
    assert manager.logger is not None
    await manager.logger.flush()
    gc.collect()
    gc.freeze()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as http:
        await cost(http, path)
        print(statistics.median([await cost(http, path) for _ in range(GETS)]), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
