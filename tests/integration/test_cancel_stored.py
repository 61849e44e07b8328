"""Tasks that are stored, and that nobody has: an operator can see and end them."""

from __future__ import annotations

import asyncio

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from taskflow import InMemoryLogger, TaskAdmin, TaskManager, TaskStatus
from taskflow.backends import MemoryBackend
from taskflow.core.exceptions import TaskFinishedError, TaskNotCancellableError, TaskNotFoundError
from taskflow.core.models import TERMINAL
from taskflow.core.query import TaskQuery
from taskflow.persistence.rows import RELEASED
from tests.backends import inserts, row

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


async def with_rows(*rows) -> MemoryBackend:
    """A backend that has them."""
    backend = MemoryBackend()
    await backend.commit(inserts(*rows))
    return backend


@pytest.mark.parametrize("status", [PENDING, RETRYING, RUNNING])
@pytest.mark.parametrize("owner", [RELEASED, "gone"])
async def test_a_stored_task_whose_function_is_gone_can_be_cancelled(owner, status):
    backend = await with_rows(row("a", status, owner, func_name="old", idempotency_key="k", max_retries=1))
    events = InMemoryLogger()
    async with TaskManager(snapshot_backend=backend, loggers=[events]) as manager:
        assert manager.waiting == {"old": 1}
        record = await manager.cancel_stored("a")
        assert (record.status, record.reason) == (CANCELLED, "user")
        assert manager.waiting == {}
        stored = await backend.get("a")
        assert (stored.status, stored.owner, stored.held_key) == (CANCELLED, None, None)
    assert [(e.status, e.reason) for e in events.lifecycle_events][-1] == (CANCELLED, "user")


async def test_its_key_is_free_then():
    backend = await with_rows(row("a", owner=RELEASED, func_name="work", idempotency_key="k"))
    manager, ran = TaskManager(snapshot_backend=backend), []

    async with manager:
        await manager.cancel_stored("a")
        manager.task(persist=True, name="work")(ran.append)
        task_id = manager.enqueue(ran.append, 1, idempotency_key="k")
        await manager.drain()
        assert (task_id != "a", ran) == (True, [1])


async def test_a_task_without_persist_can_be_cancelled_as_well():
    backend = MemoryBackend()
    await backend.save([row("a", owner=RELEASED, func_name="old", durable=False)])
    async with TaskManager(snapshot_backend=backend) as manager:
        await manager.cancel_stored("a")
        assert (await backend.get("a")).status is CANCELLED


async def test_a_task_that_an_instance_has_is_left_to_it():
    backend = await with_rows(row("a", RUNNING, "other", func_name="old"))
    await backend.acquire("other")
    async with TaskManager(snapshot_backend=backend) as manager:
        with pytest.raises(TaskNotCancellableError, match="belongs to another instance"):
            await manager.cancel_stored("a")
    assert (await backend.get("a")).status is RUNNING


@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_what_has_ended_cannot_be_cancelled(status):
    backend = await with_rows(row("a", status, func_name="old"))
    async with TaskManager(snapshot_backend=backend) as manager:
        with pytest.raises(TaskFinishedError):
            await manager.cancel_stored("a")


@pytest.mark.parametrize("backend", [None, MemoryBackend()])
async def test_what_nobody_knows_cannot_be_cancelled(backend):
    async with TaskManager(snapshot_backend=backend) as manager:
        with pytest.raises(TaskNotFoundError):
            await manager.cancel_stored("a")


async def test_of_two_operators_one_is_told_that_it_has_ended():
    backend = await with_rows(row("a", owner=RELEASED, func_name="old"))
    async with TaskManager(snapshot_backend=backend) as one, TaskManager(snapshot_backend=backend) as two:
        outcomes = await asyncio.gather(
            one.cancel_stored("a"), two.cancel_stored("a"), return_exceptions=True
        )
    assert sorted(isinstance(outcome, Exception) for outcome in outcomes) == [False, True]
    assert (await backend.get("a")).status is CANCELLED


def test_the_health_shows_what_waits_and_the_api_cancels_it():
    backend = asyncio.run(with_rows(row("a", owner=RELEASED, func_name="old")))
    app = FastAPI()
    manager = TaskManager(snapshot_backend=backend)
    TaskAdmin(app, manager)
    with TestClient(app) as client:
        waiting = "1 stored tasks wait for a function named 'old', which is not registered here"
        health = client.get("/tasks/health")
        assert (health.status_code, health.json()) == (200, {"ok": True, "reasons": [], "waiting": [waiting]})
        answer = client.post("/tasks/a/cancel")
        assert (answer.status_code, answer.json()["task"]["status"]) == (200, "cancelled")
        assert client.get("/tasks/health").json()["waiting"] == []
        assert client.post("/tasks/a/cancel").status_code == 400
        assert client.post("/tasks/b/cancel").status_code == 404
    assert asyncio.run(backend.find(TaskQuery()))[0].status is CANCELLED
