from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import pytest

from taskflow import ConfigurationError, ManagedBackgroundTasks, TaskManager
from taskflow.execution.running.attempt import Outcome
from taskflow.execution.running.pools import Pool, Pools
from taskflow.execution.running.threads import Threads


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0)


@pytest.mark.parametrize("value", [0, -1, 1.0, "4", True])
@pytest.mark.parametrize("parameter", ["max_concurrent_tasks", "max_sync_threads"])
def test_a_wrong_size_is_refused(parameter: str, value: Any):
    with pytest.raises(ConfigurationError, match=f"^{parameter}=.*at least 1"):
        Pools(**{parameter: value})


# Places


async def test_without_a_limit_a_place_costs_no_wait():
    pool = Pool("async", None)
    entered = pool.enter_nowait()

    assert (True, None, 1) == (entered, pool.size, pool.in_use)
    pool.leave()
    assert 0 == pool.in_use


async def test_a_limited_pool_makes_the_next_one_wait():
    pool = Pool("async", 1)
    first = await pool.enter()
    waiter = asyncio.create_task(pool.enter())
    await asyncio.sleep(0)
    full = (pool.enter_nowait(), pool.in_use, pool.waiting, waiter.done())
    pool.leave()
    second = await waiter

    assert (False, 1, 1, False) == full
    assert (1, 0) == (pool.in_use, pool.waiting)
    assert second > 0.0 == first


async def test_nobody_overtakes_those_who_wait():
    pool = Pool("async", 1)
    await pool.enter()
    waiter = asyncio.create_task(pool.enter())
    await asyncio.sleep(0)
    pool.leave()  # the place is the waiter's from now on

    assert not pool.enter_nowait()
    await waiter


async def test_a_waiter_that_gives_up_takes_no_place():
    pool = Pool("async", 1)
    await pool.enter()
    waiter = asyncio.create_task(pool.enter())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait({waiter})
    pool.leave()

    assert (0, 0, True) == (pool.in_use, pool.waiting, pool.enter_nowait())


async def test_a_waiter_that_gives_up_as_it_gets_its_place_passes_it_on():
    pool = Pool("async", 1)
    await pool.enter()
    first, second = (asyncio.create_task(pool.enter()) for _ in range(2))
    await asyncio.sleep(0)
    pool.leave()
    first.cancel()
    await second

    assert (1, 0, True) == (pool.in_use, pool.waiting, first.cancelled())


def test_a_pool_serves_one_loop_after_the_other():
    pool = Pool("async", 1)

    async def use():
        await pool.enter()
        waiter = asyncio.create_task(pool.enter())
        await asyncio.sleep(0)
        pool.leave()
        await waiter
        pool.leave()

    asyncio.run(use())
    asyncio.run(use())

    assert (0, 0) == (pool.in_use, pool.waiting)


def test_a_place_does_not_stay_with_a_loop_that_is_closed():
    pool = Pool("async", 1)

    async def begin() -> None:
        await pool.enter()

    waits = pool.enter()
    loop, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    loop.run_until_complete(begin())
    task = loop.create_task(waits)
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.wait({task}))
    loop.close()
    pool.leave()
    other.run_until_complete(begin())
    other.close()

    assert (1, 0) == (pool.in_use, pool.waiting)


async def test_a_place_is_passed_on_from_another_thread():
    pool = Pool("thread", 1)
    await pool.enter()
    waiter = asyncio.create_task(pool.enter())
    await asyncio.sleep(0)
    await asyncio.to_thread(pool.leave)
    await waiter

    assert (1, 0) == (pool.in_use, pool.waiting)


async def test_never_more_async_tasks_run_at_once_than_there_are_slots():
    manager = TaskManager(max_concurrent_tasks=10)
    running, most = 0, 0

    async def work():
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    for _ in range(1_000):
        manager.enqueue(work)
    await manager.drain()

    assert (10, 0) == (most, manager.pools[0].in_use)


async def test_a_task_that_waits_for_its_retry_holds_no_slot():
    manager = TaskManager(max_concurrent_tasks=1)
    ran: list[int] = []

    @manager.task(retries=1, delay=3600.0)
    async def fail():
        raise ValueError

    async def work():
        ran.append(1)

    async with manager:
        failing = manager.enqueue(fail)
        other = manager.enqueue(work)
        await until(lambda: manager.store.get(other).finished)  # type: ignore[union-attr]
        manager.cancel(failing)

    assert [1] == ran


async def test_the_slot_is_given_back_by_whatever_ends_an_attempt():
    manager = TaskManager(max_concurrent_tasks=1)

    async def fail():
        raise ValueError

    async def leave():
        raise SystemExit

    for func in (fail, leave, asyncio.Event().wait):
        task_id = manager.enqueue(func)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not manager.store.get(task_id).finished:  # type: ignore[union-attr]
            manager.cancel(task_id)
        await manager.drain()

    assert (0, 0) == (manager.pools[0].in_use, manager.pools[0].waiting)


# Threads


async def test_never_more_sync_tasks_run_at_once_than_there_are_threads():
    running, most, lock = 0, 0, threading.Lock()

    def work():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1

    async with TaskManager(max_sync_threads=4) as manager:
        for _ in range(50):
            manager.enqueue(work)
        await manager.drain()

    assert 1 < most <= 4
    assert (0, 0) == (manager.pools[1].in_use, manager.pools[1].waiting)


async def test_sync_tasks_leave_asyncios_own_threads_free():
    gate = threading.Event()
    async with TaskManager(max_sync_threads=1) as manager:
        for _ in range(100):
            manager.enqueue(gate.wait)
        await until(lambda: manager.pools[1].in_use)
        assert "free" == await asyncio.to_thread(lambda: "free")
        gate.set()


async def test_without_a_size_there_are_as_many_threads_as_in_asyncios_own_pool():
    manager, names = TaskManager(), []
    manager.enqueue(lambda: names.append(threading.current_thread().name))
    await manager.drain()
    with ThreadPoolExecutor() as executor:
        assert executor._max_workers == manager.pools[1].size

    assert names[0].startswith("taskflow_")


def returns(value: object) -> Any:
    return lambda: Outcome(value)


async def test_a_job_runs_in_a_thread_and_tells_its_outcome():
    threads = Threads()
    outcome = await threads.start(lambda: Outcome(threading.current_thread().daemon)).outcome
    threads.close()

    assert True is outcome.value


async def test_a_thread_is_used_again():
    threads, names = Threads(), set()
    for _ in range(3):
        job = threads.start(lambda: Outcome(threading.current_thread().name))
        names.add((await job.outcome).value)
        await until(lambda: threads._idle)
    threads.close()

    assert 1 == len(names)


async def test_a_job_that_was_left_says_so_when_it_ends():
    threads, gate, ended = Threads(), threading.Event(), threading.Event()
    job = threads.start(lambda: Outcome(gate.wait()))
    left = job.leave(ended.set)
    before = ended.is_set()
    gate.set()
    await asyncio.to_thread(ended.wait)
    threads.close()

    assert (True, False, False) == (left, before, job.outcome.done())


async def test_threads_that_were_closed_can_be_used_again():
    threads = Threads()
    first = await threads.start(returns(1)).outcome
    threads.close()
    second = await threads.start(returns(2)).outcome
    threads.close()

    assert (1, 2) == (first.value, second.value)


async def test_a_closed_pool_ends_its_threads_when_they_return():
    threads, gate = Threads(), threading.Event()
    job = threads.start(lambda: Outcome((gate.wait(), threading.current_thread())))
    threads.close()
    gate.set()
    thread = (await job.outcome).value[1]
    await asyncio.to_thread(thread.join, 30)

    assert not thread.is_alive()


async def test_anyio_reaches_the_loop_from_a_sync_task():
    manager, seen = TaskManager(), []

    async def on_the_loop() -> int:
        return threading.get_ident()

    def work() -> None:
        anyio.from_thread.check_cancelled()
        seen.append(anyio.from_thread.run(on_the_loop))
        seen.append(anyio.from_thread.run_sync(threading.get_ident))

    manager.enqueue(work)
    await manager.drain()

    assert [threading.get_ident()] * 2 == seen


async def test_the_tasks_of_one_request_run_in_order():
    manager, order = TaskManager(), []

    async def work(number: int):
        await asyncio.sleep(0)
        order.append(number)

    tasks = ManagedBackgroundTasks(manager)
    for number in range(5):
        tasks.add_task(work if number % 2 else order.append, number)
    await tasks()

    assert [0, 1, 2, 3, 4] == order
