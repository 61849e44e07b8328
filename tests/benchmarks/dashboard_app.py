"""The app that the dashboard's benchmark watches: it measures its own event loop."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
from fastapi import FastAPI

from taskflow import TaskAdmin, TaskManager, TaskStatus

RECORDS = int(os.environ["BENCH_RECORDS"])
RATE = int(os.environ["BENCH_RATE"])
PAUSE = 0.005
"""Seconds between two looks at the loop's lag, and between two groups of new tasks."""

manager = TaskManager(max_history=RECORDS)
lags: list[float] = []
own: list[float] = []


@manager.task()
async def noop() -> None:
    """Nothing."""


async def measure_lag() -> None:
    """How much later than asked for the loop comes back, all the time.

    And how much of that can be its own doing: no more than the processor time that its thread took.
    """
    loop = asyncio.get_running_loop()
    while True:
        due, used = loop.time() + PAUSE, time.thread_time()
        await asyncio.sleep(PAUSE)
        lags.append(loop.time() - due)
        own.append(min(lags[-1], time.thread_time() - used))


async def enqueue_steadily() -> None:
    """New tasks at the rate asked for, however late this comes to it."""
    loop = asyncio.get_running_loop()
    started, count = loop.time(), 0
    while True:
        await asyncio.sleep(PAUSE)
        while count < (loop.time() - started) * RATE:
            manager.enqueue(noop, tags={"plan": "pro"})
            count += 1


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Fill the history, then go on."""
    for number in range(RECORDS):
        task_id = str(uuid.UUID(int=number))
        manager.store.create(task_id, "noop", tags={"plan": "pro"}, registered=True)
        for status in (TaskStatus.RUNNING, TaskStatus.SUCCESS):
            manager.store.transition(task_id, status)
    tasks = [asyncio.create_task(measure_lag()), asyncio.create_task(enqueue_steadily())]
    yield
    for task in tasks:
        task.cancel()


app = FastAPI(lifespan=lifespan)
TaskAdmin(app, manager)


@app.post("/figures")
async def figures() -> dict[str, list[float] | float]:
    """What was measured: lags since the last time, memory in bytes, seconds of processor time so far."""
    measured: dict[str, list[float] | float] = {"lags": list(lags), "own": list(own)}
    lags.clear()
    own.clear()
    return {**measured, "rss": psutil.Process().memory_info().rss, "cpu": time.process_time()}
