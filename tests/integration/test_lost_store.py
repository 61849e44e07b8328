"""A store that was emptied, and a row that somebody has deleted, while tasks are under way."""

import asyncio
import logging

import pytest

from taskflow import TaskManager, TaskStatus
from taskflow.backends import MemoryBackend, SqliteBackend
from taskflow.core.query import TaskQuery

RUNNING, SUCCESS, INTERRUPTED = TaskStatus.RUNNING, TaskStatus.SUCCESS, TaskStatus.INTERRUPTED


async def under_way(manager: TaskManager, gate: asyncio.Event) -> tuple[str, str]:
    """A task that runs until the gate opens, and one that waits for its place."""
    started = asyncio.Event()

    @manager.task(persist=True)
    async def work(number: int) -> None:
        started.set()
        await gate.wait()

    ids = tuple(manager.enqueue(work, number) for number in range(2))
    for task_id in ids:
        await manager.committed(task_id)
    await started.wait()
    return ids  # type: ignore[return-value]  # two


async def test_tasks_are_stored_again_when_the_store_was_emptied(tmp_path, caplog):
    path, gate = tmp_path / "tasks.db", asyncio.Event()
    manager = TaskManager(snapshot_backend=SqliteBackend(path), max_concurrent_tasks=1)
    other = TaskManager(snapshot_backend=SqliteBackend(path))
    async with manager:
        running, pending = await under_way(manager, gate)
        for file in tmp_path.glob("tasks.db*"):
            file.unlink()
        async with other:  # makes the file anew
            gate.set()
            await manager.drain()
            await manager.shutdown()
            page = await other.history.page(TaskQuery())

    assert {running: SUCCESS, pending: SUCCESS} == {r.task_id: r.status for r in page.records}
    assert 1 == sum("the store was emptied" in r.message for r in caplog.records)


async def test_what_waits_is_stored_again_before_it_is_told_anything():
    backend, gate = MemoryBackend(), asyncio.Event()
    manager = TaskManager(snapshot_backend=backend, max_concurrent_tasks=1)
    async with manager:
        running, pending = await under_way(manager, gate)
        backend._rows.clear()
        backend._incarnation = "another"
        note = manager.enqueue(asyncio.sleep, 0)
        manager.cancel(note)
        gate.set()
        await manager.drain()
        rows = {row.task_id: row.status for row in await backend.find(TaskQuery())}

    assert {running: SUCCESS, pending: SUCCESS} == {i: rows[i] for i in (running, pending)}


async def test_a_task_whose_row_was_deleted_stops_and_says_why(caplog: pytest.LogCaptureFixture):
    backend, gate = MemoryBackend(), asyncio.Event()
    manager = TaskManager(snapshot_backend=backend, max_concurrent_tasks=1)
    async with manager:
        _, pending = await under_way(manager, gate)
        record = manager.store.get(pending)
        assert record is not None
        del backend._rows[pending]
        gate.set()
        await manager.drain()

    assert (INTERRUPTED, "store_lost") == (record.status, record.reason)
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert [f"task work ({pending}) stops: somebody has deleted its row from the store"] == warnings
