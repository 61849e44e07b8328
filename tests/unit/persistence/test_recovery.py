"""What a manager does with rows that somebody else, or it itself, has left unfinished."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from taskflow import InMemoryLogger, LifecycleEvent, TaskManager, TaskObserver, TaskStatus
from taskflow.core.clock import utcnow
from taskflow.persistence.backend import Change, Outcome
from taskflow.persistence.rows import TaskRow, to_record
from tests.backends import row
from tests.faulty import FaultyBackend
from tests.processes import PATIENCE

QUICK: dict[str, Any] = {"heartbeat_interval": 0.05, "lease_timeout": 0.2, "rescue_interval": 0.02}

PENDING, RUNNING, RETRYING, SUCCESS = (
    TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.SUCCESS,
)  # fmt: skip


async def ends(backend: FaultyBackend, task_id: str) -> TaskRow:
    """The row, once it has ended."""
    async with asyncio.timeout(PATIENCE):
        while (found := await backend.get(task_id)) is None or found.owner is not None:  # noqa: ASYNC110 - it is a row
            await asyncio.sleep(0.005)
    return found


async def leave_behind(backend: FaultyBackend, *rows: TaskRow) -> None:
    """Put rows into the backend, as an instance that is dead would leave them."""
    await backend.commit([Change(each) for each in rows])


class Forgetful(FaultyBackend):
    """Makes the first commit, but never answers."""

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        self.lost_answers = self.calls["commit after the gate"] == 1
        return await super().commit(changes)


async def test_a_task_of_which_nobody_knows_whether_it_was_taken_over_runs():
    backend = Forgetful()
    await leave_behind(backend, row("a"))
    manager = TaskManager(snapshot_backend=backend, **QUICK)
    ran = []
    manager.task(persist=True, name="work")(lambda: ran.append("a"))
    async with manager:
        assert (await ends(backend, "a")).status == SUCCESS
    assert ran == ["a"]


async def test_a_task_that_another_instance_took_over_and_left_again_runs():
    backend = FaultyBackend()
    manager = TaskManager(snapshot_backend=backend, **QUICK)
    going, go = asyncio.Event(), asyncio.Event()
    runs = []

    @manager.task(persist=True, requeue_on_interrupt=True)
    async def work() -> None:
        runs.append(get_status())
        going.set()
        await go.wait()

    def get_status() -> str:
        return manager.store.get(task_id).status.value

    async with manager:
        task_id = manager.enqueue(work)
        await going.wait()
        # Another one takes the task over, puts it back into the queue, and dies.
        stored = await backend.get(task_id)
        await backend.commit([Change(row(task_id, owner="dead"), (stored.owner, RUNNING))])
        looked = backend.calls["claimable"]
        while backend.calls["claimable"] < looked + 3:  # noqa: ASYNC110 - it is a counter
            await asyncio.sleep(0.005)
        go.set()
        assert (await ends(backend, task_id)).status == SUCCESS
    assert runs == ["running", "running"]


async def test_tasks_that_wait_for_their_retry_do_not_keep_others_from_being_taken_over():
    backend = FaultyBackend()
    tomorrow = utcnow() + timedelta(days=1)
    waiting = [row(f"a{n:03}", RETRYING, next_attempt_at=tomorrow, max_retries=1) for n in range(600)]
    failing = [row(f"b{n:03}", max_retries=1, func_name="fail") for n in range(600)]
    await leave_behind(backend, *waiting, *failing, row("z"))
    manager = TaskManager(snapshot_backend=backend, shutdown_timeout=0, **QUICK)

    @manager.task(persist=True)
    async def work() -> None: ...

    @manager.task(persist=True, retries=1, delay=86400)
    async def fail() -> None:
        raise LookupError("not yet")

    async with manager:
        assert (await ends(backend, "z")).status == SUCCESS


LONG: dict[str, Any] = {"rescue_interval": 0.02}
"""Times for tests in which nobody ends a lease."""


async def test_who_comes_back_with_another_lease_has_not_died_of_a_task():
    backend = FaultyBackend()
    await backend.acquire("back.2.....")
    times = [row("a", RUNNING, owner="back.1....", left_by=["back", "gone"], rescues=2)]
    manager = TaskManager(snapshot_backend=backend, max_rescues=2, **LONG)
    await leave_behind(backend, *times)

    @manager.task(persist=True, requeue_on_interrupt=True)
    async def work() -> None: ...

    async with manager:
        ended = to_record(await ends(backend, "a"))
    assert (ended.status, ended.rescues, ended.left_by) == (SUCCESS, 3, ["gone"])


async def test_a_task_in_whose_middle_processes_were_gone_too_often_is_poison_and_nobody_says_died():
    backend = FaultyBackend()
    await leave_behind(backend, row("a", RUNNING, owner="second.1....", left_by=["first"], rescues=1))
    manager = TaskManager(snapshot_backend=backend, max_rescues=2, **LONG)

    @manager.task(persist=True, requeue_on_interrupt=True)
    async def work() -> None: ...

    async with manager:
        ended = to_record(await ends(backend, "a"))
    assert (ended.status, ended.reason) == (TaskStatus.FAILED, "poison")
    assert ended.error == "its processes were gone in the middle of it, 2 times; it is not tried again"


@pytest.mark.parametrize(
    ("status", "reason"), [(PENDING, "requeued"), (RETRYING, "requeued"), (RUNNING, "rescued")]
)
async def test_what_stands_under_a_lease_that_was_released_was_left_at_a_clean_stop(status, reason):
    backend, events = FaultyBackend(), InMemoryLogger()
    await backend.acquire("left")
    await leave_behind(backend, row("a", status, owner="left", max_retries=1))
    await backend.release("left")
    manager = TaskManager(snapshot_backend=backend, loggers=[events], **LONG)

    @manager.task(persist=True, requeue_on_interrupt=True, retries=1)
    async def work() -> None: ...

    async with manager:
        assert (await ends(backend, "a")).status == SUCCESS
    first = events.lifecycle_events[0]
    assert (first.status, first.reason) == (PENDING, reason)


async def test_the_tasks_of_an_instance_that_beats_are_left_alone_and_those_of_a_silent_one_are_not(caplog):
    backend = FaultyBackend()
    manager = TaskManager(snapshot_backend=backend, **QUICK)
    for name in ("beating", "silent"):
        await backend.acquire(name)
        await leave_behind(backend, row(name, owner=name))

    @manager.task(persist=True)
    async def work() -> None: ...

    async def beat() -> None:
        while await backend.renew("beating"):  # noqa: ASYNC110 - it is a heartbeat
            await asyncio.sleep(0.01)

    async with manager:
        beating = asyncio.create_task(beat())
        assert (await ends(backend, "silent")).status == SUCCESS
        looked = backend.calls["claimable"]
        while backend.calls["claimable"] < looked + 20:  # noqa: ASYNC110 - it is a counter
            await asyncio.sleep(0.005)
        assert (await backend.get("beating")).status == PENDING
        beating.cancel()
    assert caplog.text.count("an instance has not been heard of") == 1


class AskedLate(FaultyBackend):
    """Takes a while to open."""

    async def open(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await super().open()


async def test_what_is_enqueued_before_the_start_is_written_under_the_lease_of_the_start():
    backend, events = AskedLate(), InMemoryLogger()
    manager = TaskManager(snapshot_backend=backend, loggers=[events])

    @manager.task(persist=True)
    async def work() -> None: ...

    task_id = manager.enqueue(work)
    async with manager:
        await manager.drain()
        assert (await ends(backend, task_id)).status == SUCCESS
    assert [event.status for event in events.lifecycle_events] == [PENDING, RUNNING, SUCCESS]


async def test_the_end_of_a_task_is_stored_although_its_record_has_left_the_memory_by_then():
    class Crowding(TaskObserver):
        """Ends another task while the end of the first one is being told."""

        def on_lifecycle(self, event: LifecycleEvent) -> None:
            if event.status is SUCCESS and event.func_name == "work":
                manager.cancel(manager.enqueue(other))

    backend = FaultyBackend()
    manager = TaskManager(snapshot_backend=backend, loggers=[Crowding()], max_history=1)

    @manager.task(persist=True)
    async def work() -> None: ...

    @manager.task()
    async def other() -> None: ...

    async with manager:
        task_id = manager.enqueue(work)
        await manager.drain()
        assert manager.store.get(task_id) is None
        assert (await ends(backend, task_id)).status == SUCCESS


async def test_the_end_of_a_task_that_a_shutdown_could_not_store_is_stored_after_the_next_start():
    backend = FaultyBackend()
    manager = TaskManager(snapshot_backend=backend, shutdown_timeout=0, **QUICK)
    going, go = asyncio.Event(), asyncio.Event()

    @manager.task(persist=True)
    async def work() -> None:
        going.set()
        await go.wait()

    await manager.startup()
    task_id = manager.enqueue(work)
    await going.wait()
    backend.down = True
    go.set()
    await manager.drain()
    await manager.shutdown()
    backend.down = False
    assert (await backend.get(task_id)).status == RUNNING
    async with manager:
        assert (await ends(backend, task_id)).status == SUCCESS


async def test_the_last_heartbeat_does_not_bring_a_lease_back_that_was_given_up(monkeypatch):
    backend = FaultyBackend()
    manager = TaskManager(snapshot_backend=backend, **QUICK)
    release = backend.release

    async def slow_release(token: str) -> None:
        await release(token)
        await asyncio.sleep(4 * QUICK["heartbeat_interval"])

    monkeypatch.setattr(backend, "release", slow_release)
    await manager.startup()
    await manager.shutdown()
    assert backend.calls["acquire"] == 1
