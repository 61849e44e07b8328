from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from taskflow import (
    InMemoryLogger,
    LifecycleEvent,
    ManagedBackgroundTasks,
    ManagerClosedError,
    TaskManager,
    TaskObserver,
    TaskStatus,
    task_log,
)
from taskflow.backends import MemoryBackend

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

HOUR = 3600.0


def observed_manager(**options: Any) -> tuple[TaskManager, InMemoryLogger]:
    seen = InMemoryLogger()
    return TaskManager(loggers=[seen], **options), seen


def path(seen: InMemoryLogger, task_id: str) -> list[TaskStatus]:
    return [event.status for event in seen.lifecycle_events if event.task_id == task_id]


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0)


async def test_what_was_accepted_is_finished_first():
    manager, seen = observed_manager()
    gate = asyncio.Event()
    async with manager:
        ids = [manager.enqueue(func) for func in (gate.wait, lambda: None)]
        await until(lambda: RUNNING in path(seen, ids[0]))
        asyncio.get_running_loop().call_soon(gate.set)

    assert [[PENDING, RUNNING, SUCCESS]] * 2 == [path(seen, task_id) for task_id in ids]


async def test_what_runs_at_the_deadline_is_interrupted_where_it_awaits():
    manager, seen = observed_manager(shutdown_timeout=0.01)
    cleaned: list[int] = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    async with manager:
        task_id = manager.enqueue(work)

    assert ([PENDING, RUNNING, INTERRUPTED], [1]) == (path(seen, task_id), cleaned)
    assert "shutdown" == seen.lifecycle_events[-1].reason


async def test_what_waits_for_a_retry_beyond_the_deadline_is_interrupted_at_once():
    manager, seen = observed_manager(shutdown_timeout=HOUR / 2)

    @manager.task(retries=1, delay=HOUR)
    async def work():
        raise ValueError

    async with manager:
        task_id = manager.enqueue(work)
        await until(lambda: RETRYING in path(seen, task_id))

    assert [PENDING, RUNNING, RETRYING, INTERRUPTED] == path(seen, task_id)


async def test_what_fails_during_the_shutdown_does_not_wait_beyond_the_deadline():
    manager, seen = observed_manager(shutdown_timeout=HOUR / 2)
    gate = asyncio.Event()

    @manager.task(retries=1, delay=HOUR)
    async def work():
        await gate.wait()
        raise ValueError

    async with manager:
        task_id = manager.enqueue(work)
        await until(lambda: RUNNING in path(seen, task_id))
        asyncio.get_running_loop().call_later(0.01, gate.set)

    assert [PENDING, RUNNING, RETRYING, INTERRUPTED] == path(seen, task_id)


async def test_a_retry_that_is_due_before_the_deadline_still_runs():
    manager, seen = observed_manager()
    outcomes = iter([ValueError(), None])

    @manager.task(retries=1, delay=0.01)
    async def work():
        if error := next(outcomes):
            raise error

    async with manager:
        task_id = manager.enqueue(work)

    assert [PENDING, RUNNING, RETRYING, RUNNING, SUCCESS] == path(seen, task_id)


async def test_a_task_that_nobody_ever_drives_is_interrupted():
    manager, seen = observed_manager()
    async with manager:
        tasks = ManagedBackgroundTasks(manager)
        task_id = tasks.add_task(lambda: None)
    await tasks()

    assert [PENDING, INTERRUPTED] == path(seen, task_id)


async def test_a_sync_function_that_does_not_return_is_interrupted_and_its_late_result_discarded():
    manager, seen = observed_manager(shutdown_timeout=0.01, max_sync_threads=1)
    gate, waiting = threading.Event(), []
    async with manager:
        running = manager.enqueue(gate.wait)
        waiting.append(manager.enqueue(lambda: None))
        await until(lambda: RUNNING in path(seen, running))
    threads = manager.pools[1]
    still_counted = threads.in_use
    gate.set()
    await until(lambda: threads.in_use == 0)

    assert [PENDING, RUNNING, INTERRUPTED] == path(seen, running)
    assert [PENDING, INTERRUPTED] == path(seen, waiting[0])
    assert (1, 0) == (still_counted, threads.waiting)


async def test_a_late_result_is_discarded_also_where_the_task_runs_again_by_then():
    backend = MemoryBackend()
    manager = TaskManager(
        snapshot_backend=backend, shutdown_timeout=0.01, max_sync_threads=2, handle_signals=False
    )
    gates, began, returned = [threading.Event(), threading.Event()], [], []

    @manager.task(persist=True, requeue_on_interrupt=True)
    def work():
        began.append(gate := gates[len(began)])
        gate.wait()
        returned.append(gate)

    async with manager:
        task_id = manager.enqueue(work)
        await until(lambda: len(began) == 1)
    async with manager:
        await until(lambda: len(began) == 2)
        gates[0].set()
        await until(lambda: manager.pools[1].in_use == 1)
        record = manager.store.get(task_id)
        assert (gates[:1], RUNNING) == (returned, record and record.status)
        gates[1].set()
        await manager.drain()
        assert (gates, SUCCESS) == (returned, record and record.status)


async def test_an_async_function_that_refuses_to_stop_is_interrupted_over_its_head(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("taskflow.execution.shutdown.GRACE", 0.01)
    manager, seen = observed_manager(shutdown_timeout=0.0)
    gate = asyncio.Event()

    async def work():
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                task_log("not now")

    async with manager:
        task_id = manager.enqueue(work)
        await until(lambda: RUNNING in path(seen, task_id))
    gate.set()
    await manager.drain()

    assert [PENDING, RUNNING, INTERRUPTED] == path(seen, task_id)
    assert ["not now"] == [event.message for event in seen.log_events]


async def test_an_event_that_a_thread_still_tells_comes_before_the_interruption():
    entered, released = threading.Event(), threading.Event()

    class Slow(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            if event.status is PENDING:
                entered.set()
                released.wait()

    seen = InMemoryLogger()
    manager = TaskManager(loggers=[Slow(), seen], shutdown_timeout=0.0)
    ran: list[int] = []
    async with manager:
        adding = asyncio.create_task(asyncio.to_thread(manager.enqueue, ran.append, 1))
        await asyncio.to_thread(entered.wait)
    early = list(seen.lifecycle_events)
    released.set()
    with pytest.raises(ManagerClosedError):
        await adding

    assert ([], []) == (early, ran)
    assert [PENDING, INTERRUPTED] == [event.status for event in seen.lifecycle_events]


async def test_a_zero_timeout_interrupts_everything_at_once():
    manager, seen = observed_manager(shutdown_timeout=0, max_concurrent_tasks=1)

    async def work():
        await asyncio.Event().wait()

    async with manager:
        ids = [manager.enqueue(work) for _ in range(3)]
        await until(lambda: manager.pools[0].waiting == 2)

    assert [[PENDING, RUNNING, INTERRUPTED], [PENDING, INTERRUPTED], [PENDING, INTERRUPTED]] == [
        path(seen, task_id) for task_id in ids
    ]


@pytest.mark.parametrize("dispatch", ["request", "detached"])
async def test_the_later_tasks_of_a_request_are_interrupted_with_the_one_that_runs(dispatch: Any):
    manager, seen = observed_manager(shutdown_timeout=0, dispatch=dispatch)

    async def work():
        await asyncio.Event().wait()

    async with manager:
        tasks = ManagedBackgroundTasks(manager)
        ids = [tasks.add_task(work) for _ in range(3)]
        host = asyncio.create_task(tasks())
        await until(lambda: RUNNING in path(seen, ids[0]))
    await host

    assert [[PENDING, RUNNING, INTERRUPTED], [PENDING, INTERRUPTED], [PENDING, INTERRUPTED]] == [
        path(seen, task_id) for task_id in ids
    ]


async def test_observers_are_told_everything_before_they_are_closed():
    told: list[str] = []

    class Closing(TaskObserver):
        async def on_lifecycle(self, event: LifecycleEvent):
            told.append(event.status)

        async def close(self):
            told.append("closed")

    manager = TaskManager(loggers=[Closing()], shutdown_timeout=0)
    async with manager:
        manager.enqueue(asyncio.Event().wait)
        await until(lambda: manager.pools[0].in_use)

    assert ["pending", "running", "interrupted", "closed"] == told


async def test_a_manager_can_be_started_again():
    manager, seen = observed_manager()
    for _ in range(2):
        async with manager:
            manager.enqueue(lambda: None)
            await manager.drain()

    assert [PENDING, RUNNING, SUCCESS] * 2 == [event.status for event in seen.lifecycle_events]


def test_a_manager_can_be_started_again_on_another_loop():
    manager, seen = observed_manager(max_concurrent_tasks=1, max_sync_threads=1)

    async def life():
        async with manager:
            for func in (asyncio.sleep, asyncio.sleep):
                manager.enqueue(func, 0)
            manager.enqueue(lambda: None)
            await manager.drain()

    asyncio.run(life())
    asyncio.run(life())

    assert 6 == sum(event.status is SUCCESS for event in seen.lifecycle_events)


async def test_starting_or_shutting_down_twice_is_once():
    calls: list[str] = []

    class Noting(TaskObserver):
        async def startup(self):
            calls.append("startup")

        async def close(self):
            calls.append("close")

    manager = TaskManager(loggers=[Noting()])
    await manager.startup()
    await manager.startup()
    await manager.shutdown()
    await manager.shutdown()

    assert ["startup", "close"] == calls


async def test_shutting_down_what_never_started_ends_what_it_accepted():
    manager, seen = observed_manager()
    task_id = ManagedBackgroundTasks(manager).add_task(lambda: None)
    await manager.shutdown()

    assert [PENDING, INTERRUPTED] == path(seen, task_id)


async def test_a_second_shutdown_waits_for_the_first():
    manager, seen = observed_manager()
    gate = asyncio.Event()
    await manager.startup()
    task_id = manager.enqueue(gate.wait)
    first, second = (asyncio.create_task(manager.shutdown()) for _ in range(2))
    for _ in range(10):
        await asyncio.sleep(0)
    early = second.done()
    gate.set()
    await asyncio.gather(first, second)

    assert (False, [PENDING, RUNNING, SUCCESS]) == (early, path(seen, task_id))


async def test_a_shutdown_that_was_cancelled_can_be_called_again():
    manager, seen = observed_manager(shutdown_timeout=0.01)
    await manager.startup()
    task_id = manager.enqueue(asyncio.Event().wait)
    given_up = asyncio.create_task(manager.shutdown())
    await until(lambda: RUNNING in path(seen, task_id))
    given_up.cancel()
    await asyncio.wait({given_up})
    await manager.shutdown()

    assert [PENDING, RUNNING, INTERRUPTED] == path(seen, task_id)
    assert [] == manager.store.live()
