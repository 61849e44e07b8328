"""Durable tasks on their way to a backend that answers when the test lets it."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from taskflow import CommitError, LifecycleEvent, TaskManager, TaskObserver
from taskflow.execution.stream import EventStream
from taskflow.persistence.backend import Change
from taskflow.persistence.health import BackendVitals
from taskflow.persistence.journal import Journal
from taskflow.persistence.lease import Instance
from taskflow.persistence.rows import to_record
from tests.backends import record, row
from tests.faulty import FaultyBackend
from tests.processes import PATIENCE


def refuse_nothing(task):
    raise AssertionError(f"{task.record} was refused or lost")


async def test_what_is_being_written_when_it_closes_is_waited_for():
    backend = FaultyBackend()
    instance = Instance(backend, BackendVitals(backend.kind, EventStream()))
    journal = Journal(instance, refuse_nothing, refuse_nothing)
    journal.start()
    for task_id in ("first", "second"):
        task = journal.open(record(task_id))
        journal.write_ahead(task)
        if task_id == "first":
            await task.start_is_stored()
            backend.gate.clear()
    while backend.calls["commit"] < 2:  # noqa: ASYNC110 - it is a counter
        await asyncio.sleep(0)
    closing = asyncio.create_task(journal.drained())
    await asyncio.sleep(0)
    assert not closing.done()
    backend.gate.set()
    await closing
    await journal.close()
    assert await backend.get("second") is not None


async def test_what_was_being_written_when_everything_on_the_loop_was_cancelled_is_written_when_it_closes():
    # asyncio.run does that before the lifespan's shutdown, if a server leaves without it.
    backend = FaultyBackend()
    instance = Instance(backend, BackendVitals(backend.kind, EventStream()))
    journal = Journal(instance, refuse_nothing, refuse_nothing)
    before = asyncio.all_tasks()
    journal.start()
    backend.gate.clear()
    for task_id in ("first", "second"):
        journal.write_ahead(journal.open(record(task_id)))
        while backend.calls["commit"] < 1:  # noqa: ASYNC110 - it is a counter
            await asyncio.sleep(0)
    for task in asyncio.all_tasks() - before:
        task.cancel()
    backend.gate.set()
    async with asyncio.timeout(PATIENCE):
        await journal.drained()
    await journal.close()
    assert [(await backend.get(task_id)) is not None for task_id in ("first", "second")] == [True, True]


@pytest.mark.parametrize("there", [row("a", owner="other"), row("b", owner="other", idempotency_key="k")])
async def test_a_task_that_was_refused_is_settled_although_there_is_nothing_more_to_store(there):
    backend = FaultyBackend()
    await backend.commit([Change(there)])
    instance = Instance(backend, BackendVitals(backend.kind, EventStream()))
    journal = Journal(instance, lambda task: None, refuse_nothing)
    journal.start()
    task = journal.open(record("a", idempotency_key="k"))
    journal.write_ahead(task)
    async with asyncio.timeout(PATIENCE):
        assert not await task.start_is_stored()
    assert task.holder == there.task_id
    await journal.close()


@asynccontextmanager
async def one_after_another(backend):
    """Two managers of one backend, with a function of which each tells what it was called with."""
    ran = []
    managers = [TaskManager(snapshot_backend=backend) for _ in range(2)]
    for manager in managers:
        manager.task(persist=True, name="work")(ran.append)
    async with managers[0], managers[1]:
        yield *managers, ran


async def test_a_task_that_lost_its_key_is_stored_before_it_counts_as_committed():
    backend = FaultyBackend()
    async with one_after_another(backend) as (first, second, ran):
        winner = first.enqueue(ran.append, "first", idempotency_key="k")
        await first.committed(winner)
        loser = second.enqueue(ran.append, "second", idempotency_key="k")
        await second.committed(loser)
        stored = to_record(await backend.get(loser))
        assert (stored.status, stored.reason, stored.duplicate_of) == ("cancelled", "duplicate", winner)
    assert ran == ["first"]


async def test_a_task_that_lost_its_key_and_cannot_be_stored_is_not_committed():
    backend = FaultyBackend()
    async with one_after_another(backend) as (first, second, ran):
        winner = first.enqueue(ran.append, "first", idempotency_key="k")
        await first.drain()
        commit = backend.commit

        async def commit_once(changes):
            outcomes = await commit(changes)
            backend.down = True
            return outcomes

        backend.commit = commit_once
        loser = second.enqueue(ran.append, "second", idempotency_key="k")
        with pytest.raises(CommitError):
            await second.committed(loser)
        backend.down, backend.commit = False, commit
    stored = to_record(await backend.get(loser))
    assert (stored.status, stored.duplicate_of) == ("cancelled", winner)
    assert ran == ["first"]


class Slow(TaskObserver):
    """Takes its time with the next event once ``told`` is cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.told, self.go = threading.Event(), threading.Event()
        self.told.set()

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        if not self.told.is_set():
            self.told.set()
            self.go.wait(PATIENCE)


@pytest.fixture
async def found():
    """A backend, what finds a task by its key while that is enqueued and commits wait, and the journal."""
    backend, slow = FaultyBackend(), Slow()
    manager = TaskManager(snapshot_backend=backend, loggers=[slow])
    manager.task(persist=True, name="work")(work := lambda: None)

    @asynccontextmanager
    async def find():
        backend.gate.clear()
        slow.told.clear()
        first = asyncio.create_task(asyncio.to_thread(manager.enqueue, work, idempotency_key="k"))
        await asyncio.to_thread(slow.told.wait, PATIENCE)
        task_id = manager.enqueue(work, idempotency_key="k")
        committed = asyncio.create_task(manager.committed(task_id))
        await asyncio.sleep(0)
        slow.go.set()
        assert await first == task_id
        yield task_id, committed
        backend.gate.set()

    async with manager:
        yield backend, find, manager._persistence.journal


async def test_who_finds_a_task_by_its_key_while_it_is_enqueued_waits_until_it_is_stored(found):
    backend, find, _ = found
    async with find() as (task_id, committed):
        assert not committed.done()
        backend.gate.set()
        await committed
        assert await backend.get(task_id) is not None


async def test_who_finds_a_task_by_its_key_that_cannot_be_stored_is_told_so(found):
    _, find, journal = found
    journal.suspend("it is away")
    async with find() as (_, committed):
        with pytest.raises(CommitError):
            await committed
    journal.resume()
