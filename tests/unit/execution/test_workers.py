from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from taskflow import ManagedBackgroundTasks, TaskManager, TaskStatus
from taskflow.execution import workers

HOUR = 3600.0


async def ready(manager: TaskManager) -> None:
    """Have a worker made: the first task of all makes one."""

    async def first(): ...

    tasks = ManagedBackgroundTasks(manager)
    tasks.add_task(first)
    await tasks()


async def test_a_task_that_never_waits_has_ended_when_its_request_goes_on():
    ran: list[Any] = []

    async def work():
        ran.append(asyncio.current_task())

    async with TaskManager() as manager:
        await ready(manager)
        tasks = ManagedBackgroundTasks(manager)
        tasks.add_task(work)
        awaited = tasks.tasks[0]()

        assert (1, True) == (len(ran), ran[0] is not asyncio.current_task())
        await awaited


async def test_a_task_that_waits_goes_on_in_the_asyncio_task_that_it_began_in():
    seen: list[Any] = []

    async def work():
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    async with TaskManager() as manager:
        await ready(manager)
        tasks = ManagedBackgroundTasks(manager)
        tasks.add_task(work)
        await tasks()

    assert seen[0] is seen[1] is not None
    assert seen[0] is not asyncio.current_task()


async def test_a_timeout_that_is_entered_before_the_first_wait_ends_the_task():
    async def work():
        async with asyncio.timeout(0):
            await asyncio.sleep(HOUR)

    async with TaskManager() as manager:
        await ready(manager)
        tasks = ManagedBackgroundTasks(manager)
        task_id = tasks.add_task(work)
        await tasks()
        record = manager.store.get(task_id)

    assert record is not None
    assert (TaskStatus.FAILED, "TimeoutError") == (record.status, record.error_type)


@pytest.mark.parametrize("waits", ["for a future", "for a turn", "not at all", "no longer"])
async def test_a_task_that_cancels_its_own_asyncio_task_harms_no_other(waits: str):
    ran: list[str] = []

    async def work():
        task = asyncio.current_task()
        assert task is not None
        if waits == "no longer":
            await asyncio.sleep(0)
        task.cancel()
        if waits == "for a future":
            await asyncio.Event().wait()
        if waits == "for a turn":
            await asyncio.sleep(0)

    async def other():
        await asyncio.sleep(0)
        ran.append("other")

    async with TaskManager() as manager:
        await ready(manager)
        tasks = ManagedBackgroundTasks(manager)
        first = tasks.add_task(work)
        for _ in range(3):
            tasks.add_task(other)
        await tasks()
        record = manager.store.get(first)

    assert record is not None
    expected = TaskStatus.INTERRUPTED if waits.startswith("for") else TaskStatus.SUCCESS
    assert (expected, ["other"] * 3) == (record.status, ran)


@pytest.mark.parametrize("waits", [True, False])
async def test_what_cancels_its_own_asyncio_task_and_returns_harms_no_later_one_of_its_lane(waits: bool):
    ran: list[str] = []

    async def work():
        if waits:
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async def other():
        await asyncio.sleep(0)
        ran.append("other")

    async with TaskManager(dispatch="detached") as manager:
        tasks = ManagedBackgroundTasks(manager)
        ids = [tasks.add_task(func) for func in (work, other, other)]
        await tasks()
        await manager.drain()
        records = [manager.store.get(task_id) for task_id in ids]

    assert ["other"] * 2 == ran
    assert [TaskStatus.SUCCESS] * 3 == [record and record.status for record in records]


async def test_a_worker_that_is_cancelled_after_its_work_ends():
    """As every asyncio task is when a loop is closed."""
    hosts: list[asyncio.Task[Any]] = []

    async def work():
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        hosts.append(task)
        task.cancel()
        asyncio.get_running_loop().call_soon(task.cancel)

    async with TaskManager() as manager:
        await ready(manager)
        tasks = ManagedBackgroundTasks(manager)
        tasks.add_task(work)
        await tasks()
        await asyncio.wait(hosts)

    assert hosts[0].cancelled()


async def test_a_request_that_is_cancelled_leaves_its_task_running():
    started, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work():
        started.set()
        await gate.wait()
        ended.set()

    async with TaskManager() as manager:
        await ready(manager)
        tasks = ManagedBackgroundTasks(manager)
        task_id = tasks.add_task(work)
        request = asyncio.create_task(tasks())
        await started.wait()
        request.cancel()
        await asyncio.wait({request})
        gate.set()
        await ended.wait()
        await manager.drain()
        record = manager.store.get(task_id)

    assert record is not None
    assert (True, TaskStatus.SUCCESS) == (request.cancelled(), record.status)


async def test_a_cancellation_between_the_first_step_and_the_next_arrives():
    async def work():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async with TaskManager() as manager:
        await ready(manager)
        tasks = ManagedBackgroundTasks(manager)
        task_id = tasks.add_task(work)
        awaited = tasks.tasks[0]()
        manager.cancel(task_id)
        await awaited
        record = manager.store.get(task_id)

    assert record is not None
    assert TaskStatus.SUCCESS == record.status  # it swallowed the cancellation and returned


async def test_many_tasks_at_once_have_a_worker_each():
    gate, started = asyncio.Event(), []

    async def work(number: int):
        started.append(number)
        await gate.wait()

    async with TaskManager() as manager:
        requests = []
        for number in range(100):
            tasks = ManagedBackgroundTasks(manager)
            tasks.add_task(work, number)
            requests.append(asyncio.create_task(tasks()))
        while len(started) < 100:  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*requests)
        kept = len(manager.dispatcher._workers._ready)

    assert kept <= workers.MOST_READY


async def test_a_worker_keeps_nothing_of_a_request_that_is_over():
    async with TaskManager() as manager:
        await ready(manager)
        await asyncio.sleep(0)
        (worker,) = manager.dispatcher._workers._all

        assert not list(worker.task.get_coro().cr_frame.f_locals.get("begun") or ())  # type: ignore[union-attr]


async def test_without_the_two_functions_of_asyncio_tasks_run_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "CAN_LEND", False)
    ran: list[int] = []

    async def work():
        ran.append(1)

    async with TaskManager() as manager:
        for _ in range(3):
            tasks = ManagedBackgroundTasks(manager)
            tasks.add_task(work)
            await tasks()

    assert [1, 1, 1] == ran
