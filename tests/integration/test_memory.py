"""What stays in memory of tasks that have ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import tracemalloc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from pydantic import BaseModel

from taskflow import ManagedBackgroundTasks, TaskManager, TaskStatus

SIZE = 100_000
"""Bytes of each task's argument."""

MANAGERS: dict[str, dict[str, Any]] = {
    "in memory": {},
    "saved": {"snapshot_db": "tasks.db"},
    "requeued": {"snapshot_db": "tasks.db", "requeue_pending": True},
    "encrypted": {"encrypt_args_key": Fernet.generate_key()},
    "durable": {"snapshot_db": "tasks.db"},
}

living: weakref.WeakSet[Image] = weakref.WeakSet()


class Image(BaseModel):
    model_config = {"frozen": True}

    number: int
    data: str

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        living.add(self)


@pytest.fixture(params=MANAGERS)
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskManager:
    monkeypatch.chdir(tmp_path)
    options = MANAGERS[request.param]
    limits = {"max_history_bytes": 20 * SIZE, "max_concurrent_tasks": 1}
    return TaskManager(snapshot_interval=3_600, **limits, **options)


@pytest.fixture
def persist(request: pytest.FixtureRequest) -> bool:
    return "durable" in request.node.callspec.id


@pytest.fixture
def traced() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def run(manager: TaskManager, func: Any, number: int) -> None:
    tasks = ManagedBackgroundTasks(manager)
    tasks.add_task(func, Image(number=number, data=str(number % 10) * SIZE))
    await tasks.committed()
    await tasks()


async def test_the_arguments_of_successful_tasks_are_let_go(
    manager: TaskManager, persist: bool, traced: None
) -> None:
    @manager.task(persist=persist)
    async def resize(image: Image) -> None: ...

    async with manager:
        await run(manager, resize, 0)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100):
            await run(manager, resize, number)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()

        assert {TaskStatus.SUCCESS: 101} == counted(manager)
        assert len(living) <= 1  # the latest one may still be somewhere on the way
        assert after - before < 10 * SIZE


async def test_failed_tasks_keep_their_arguments_within_the_bytes_of_the_history(
    manager: TaskManager, persist: bool, caplog: pytest.LogCaptureFixture, traced: None
) -> None:
    caplog.set_level(logging.CRITICAL, "taskflow")  # what is captured keeps the frames of the tracebacks

    @manager.task(persist=persist)
    async def resize(image: Image) -> None:
        raise ValueError("not an image")

    async with manager:
        await run(manager, resize, 0)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(100):
            await run(manager, resize, number)
            if manager._scheduler is not None:
                await manager._scheduler.flush()  # what is not saved yet stays beyond the history
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        left = manager.store.list()

        assert 10 <= len(left) <= 20
        assert after - before < 30 * SIZE
        assert "9" == manager.arguments_of(left[-1])[0][0].data[0]


async def test_a_task_that_waits_has_large_arguments_once(
    manager: TaskManager, persist: bool, traced: None
) -> None:
    got: list[int] = []
    go = asyncio.Event()

    @manager.task(persist=persist, retries=1)
    async def resize(image: Image) -> None:
        got.append(len(image.data))
        await go.wait()
        if len(got) == 1:
            raise ValueError("again")

    async with manager:
        before, _ = tracemalloc.get_traced_memory()
        ids = [manager.enqueue(resize, Image(number=n, data=str(n % 10) * SIZE)) for n in range(20)]
        for task_id in ids:
            await manager.committed(task_id)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        go.set()
        await manager.drain()

    assert 20 * SIZE <= after - before < 30 * SIZE  # one runs; encrypted, each is a third larger
    assert [SIZE] * 21 == got
    assert {TaskStatus.SUCCESS: 20} == counted(manager)


def counted(manager: TaskManager) -> dict[TaskStatus, int]:
    counts: dict[TaskStatus, int] = {}
    for record in manager.store:
        counts[record.status] = counts.get(record.status, 0) + 1
    return counts
