"""A shutdown with many unfinished tasks: the event loop turns meanwhile, and nothing of them begins."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from taskflow import ManagedBackgroundTasks, TaskManager, TaskStatus
from taskflow.backends import MemoryBackend
from taskflow.execution.gate import Gate

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

HOUR = 3600.0
MANY = 60
AT_ONCE = 5


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0)


def statuses(manager: TaskManager) -> list[TaskStatus]:
    return [record.status for record in manager.store.list()]


@pytest.fixture
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskflow.execution.driver.AT_ONCE", AT_ONCE)


@pytest.fixture
def one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskflow.execution.driver.AT_ONCE", 1)


@contextlib.asynccontextmanager
async def counted(manager: TaskManager) -> Any:
    """A list of how many records ended, and how many executions, in each turn of the loop that had any."""
    turns: list[tuple[int, int]] = []

    async def count() -> None:
        before = (0, 0)
        while True:
            ended = sum(record.finished for record in manager.store.list())
            now = (ended, MANY - len(manager.driver.executions))
            if now != before:
                turns.append((now[0] - before[0], now[1] - before[1]))
            before = now
            await asyncio.sleep(0)

    task = asyncio.create_task(count())
    yield turns
    task.cancel()


async def wait_for_a_place(manager: TaskManager) -> None:
    for _ in range(MANY):
        manager.enqueue(asyncio.Event().wait)
    await until(lambda: manager.pools[0].waiting == MANY - 1)


async def wait_for_a_retry(manager: TaskManager) -> None:
    @manager.task(retries=1, delay=HOUR)
    async def fail() -> None:
        raise LookupError

    for _ in range(MANY):
        manager.enqueue(fail)
    await until(lambda: statuses(manager) == [RETRYING] * MANY)


async def wait_for_their_request(manager: TaskManager) -> None:
    tasks = ManagedBackgroundTasks(manager)
    for _ in range(MANY):
        tasks.add_task(asyncio.Event().wait)


async def wait_for_each_other(manager: TaskManager) -> asyncio.Task[None]:
    tasks = ManagedBackgroundTasks(manager)
    for _ in range(MANY):
        tasks.add_task(asyncio.Event().wait)
    request = asyncio.create_task(tasks())
    await until(lambda: RUNNING in statuses(manager))
    return request


async def wait_for_each_other_in_a_lane(manager: TaskManager) -> asyncio.Task[None]:
    manager.dispatch = "detached"
    return await wait_for_each_other(manager)


WAITING = [
    wait_for_a_place,
    wait_for_a_retry,
    wait_for_their_request,
    wait_for_each_other,
    wait_for_each_other_in_a_lane,
]


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("timeout", [0.0, HOUR / 2])
@pytest.mark.parametrize("waiting", WAITING)
async def test_the_loop_turns_after_a_few_of_many_tasks_that_wait(waiting: Any, timeout: float):
    manager = TaskManager(max_concurrent_tasks=1, shutdown_timeout=timeout)
    await manager.startup()
    request = await waiting(manager)
    if timeout and RUNNING in statuses(manager):
        asyncio.get_running_loop().call_soon(manager._shutdown.hurry)
    async with counted(manager) as turns:
        await manager.shutdown()
    if request is not None:
        await request
    records, executions = zip(*turns, strict=True)

    assert [INTERRUPTED] * MANY == statuses(manager)
    assert (MANY, MANY) == (sum(records), sum(executions))
    assert max(records) <= 2 * AT_ONCE
    assert max(executions) <= 2 * AT_ONCE


@pytest.mark.usefixtures("few_at_once")
async def test_the_loop_turns_after_a_few_of_many_functions_that_do_not_stop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("taskflow.execution.shutdown.GRACE", 0.0)
    manager = TaskManager(shutdown_timeout=0.0)
    gate = asyncio.Event()

    async def refuse() -> None:
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()

    await manager.startup()
    for _ in range(MANY):
        manager.enqueue(refuse)
    await until(lambda: statuses(manager) == [RUNNING] * MANY)
    async with counted(manager) as turns:
        await manager.shutdown()
    gate.set()

    assert [INTERRUPTED] * MANY == statuses(manager)
    assert max(ended for ended, _ in turns) <= 2 * AT_ONCE


@pytest.mark.usefixtures("one_at_once")
async def test_nothing_begins_while_others_are_interrupted_and_leave_their_place():
    manager = TaskManager(max_concurrent_tasks=1, shutdown_timeout=0.0)
    began: list[int] = []

    async def work(number: int) -> None:
        began.append(number)
        await asyncio.Event().wait()

    async with manager:
        for number in range(MANY):
            manager.enqueue(work, number)
        await until(lambda: manager.pools[0].waiting == MANY - 1)

    assert [0] == began
    assert [INTERRUPTED] * MANY == statuses(manager)


@pytest.mark.usefixtures("one_at_once")
async def test_nothing_begins_in_the_place_of_what_ends_by_itself_meanwhile():
    manager = TaskManager(max_concurrent_tasks=1, shutdown_timeout=0.0)
    gate = asyncio.Event()
    await manager.startup()
    tasks = ManagedBackgroundTasks(manager)
    undriven = [tasks.add_task(gate.wait) for _ in range(MANY)]  # the first to be interrupted
    running = manager.enqueue(gate.wait)
    waiting = [manager.enqueue(asyncio.sleep, 0) for _ in range(3)]
    await until(lambda: manager.pools[0].waiting == 3)
    stopping = asyncio.create_task(manager.shutdown())
    await until(lambda: manager.driver.executions[undriven[-1]].stop)
    gate.set()
    await stopping

    ended = [manager.store.get(task_id) for task_id in (running, *waiting)]
    assert [SUCCESS, *[INTERRUPTED] * 3] == [record and record.status for record in ended]


@pytest.mark.usefixtures("one_at_once")
@pytest.mark.parametrize("dispatch", ["request", "detached"])
async def test_nothing_later_of_a_request_begins_meanwhile(dispatch: Any):
    manager = TaskManager(shutdown_timeout=0.0, dispatch=dispatch)
    began: list[int] = []

    async def work(number: int) -> None:
        began.append(number)
        await asyncio.Event().wait()

    async with manager:
        tasks = ManagedBackgroundTasks(manager)
        for number in range(MANY):
            tasks.add_task(work, number)
        host = asyncio.create_task(tasks())
        await until(lambda: began)
    await host

    assert [0] == began
    assert [INTERRUPTED] * MANY == statuses(manager)


@pytest.mark.usefixtures("one_at_once")
async def test_a_start_that_is_stored_after_the_deadline_is_none(monkeypatch: pytest.MonkeyPatch):
    manager = TaskManager(
        snapshot_backend=MemoryBackend(), requeue_pending=True, shutdown_timeout=0.0, handle_signals=False
    )
    entered: list[int] = []
    asked, stored = asyncio.Event(), asyncio.Event()

    @manager.task()
    async def wait() -> None:
        await asyncio.Event().wait()

    @manager.task(persist=True)
    async def once() -> None:
        entered.append(1)

    async def start_is_stored(self: Gate) -> bool:
        asked.set()
        await stored.wait()
        return True

    monkeypatch.setattr("taskflow.persistence.journal.DurableTask.start_is_stored", start_is_stored)
    await manager.startup()
    others = [manager.enqueue(wait) for _ in range(MANY)]
    task_id = manager.enqueue(once)
    await asked.wait()
    stopping = asyncio.create_task(manager.shutdown())
    await until(lambda: any(manager.driver.executions[other].stop for other in others))
    stored.set()
    await stopping
    row = await manager._persistence.backend.get(task_id)  # type: ignore[union-attr]

    assert [] == entered
    assert PENDING == (row and row.status)


@pytest.mark.usefixtures("one_at_once")
async def test_nothing_begins_while_what_nobody_drives_is_given_up():
    began: list[int] = []

    async def work(number: int) -> None:
        began.append(number)

    async with TaskManager() as manager:
        tasks = ManagedBackgroundTasks(manager)
        for number in range(MANY):
            tasks.add_task(work, number)
        await asyncio.gather(manager.driver.abandon_all(), tasks())

        assert [] == began
        assert [INTERRUPTED] * MANY == statuses(manager)


async def test_who_waits_for_a_task_that_is_given_up_before_it_is_driven_goes_on():
    async with TaskManager() as manager:
        task_id = ManagedBackgroundTasks(manager).add_task(asyncio.sleep, 0)
        execution = manager.driver.executions[task_id]
        waiting = asyncio.ensure_future(manager.dispatcher.attend(execution))
        execution.stop = (INTERRUPTED, "shutdown")  # before the first step of what was to drive it
        await manager.drain()
        assert not waiting.done()
        await manager.driver.abandon_all()
        await waiting

        assert [INTERRUPTED] == statuses(manager)
