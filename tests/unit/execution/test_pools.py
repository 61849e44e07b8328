from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from taskflow import ConfigurationError, ManagedBackgroundTasks, TaskManager
from taskflow.execution.pools import SlotPool, ThreadPool


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  # what is waited for has no event
        await asyncio.sleep(0)


@pytest.mark.parametrize("value", [0, -1, 1.0, "4", True])
@pytest.mark.parametrize(
    ("pool", "parameter"), [(SlotPool, "max_concurrent_tasks"), (ThreadPool, "max_sync_threads")]
)
def test_a_wrong_size_is_refused(pool: Any, parameter: str, value: Any):
    with pytest.raises(ConfigurationError, match=f"^{parameter}=.*at least 1"):
        pool(value)


# Slots


async def test_without_a_limit_a_slot_costs_no_wait():
    pool = SlotPool()
    slot = pool.acquire_nowait()
    assert slot is not None

    assert (None, 1, 0.0) == (pool.size, pool.in_use, slot.waited)
    slot.release()
    assert 0 == pool.in_use


async def test_a_limited_pool_makes_the_next_one_wait():
    pool = SlotPool(1)
    first = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    full = (pool.acquire_nowait(), pool.in_use, pool.waiting, waiter.done())
    first.release()
    second = await waiter

    assert (None, 1, 1, False) == full
    assert (1, 0) == (pool.in_use, pool.waiting)
    assert second.waited > 0.0 == first.waited
    second.release()


async def test_a_waiter_that_gives_up_takes_no_slot():
    pool = SlotPool(1)
    first = await pool.acquire()
    waiter = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait({waiter})
    first.release()
    again = await pool.acquire()

    assert (1, 0, 0.0) == (pool.in_use, pool.waiting, again.waited)


def test_a_pool_serves_one_loop_after_the_other():
    pool = SlotPool(1)

    async def use():
        slot = await pool.acquire()
        waiter = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        slot.release()
        (await waiter).release()

    asyncio.run(use())
    asyncio.run(use())

    assert (0, 0) == (pool.in_use, pool.waiting)


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


async def test_without_a_size_sync_tasks_run_in_asyncios_own_threads():
    names: list[str] = []
    manager = TaskManager()
    manager.enqueue(lambda: names.append(threading.current_thread().name))
    await manager.drain()

    assert names[0].startswith("asyncio_")


async def test_work_in_a_thread_is_told_how_long_it_waited():
    pool, waits, gate = ThreadPool(1), [], threading.Event()

    def work(waited: float):
        waits.append(waited)
        gate.wait()

    first, second = (asyncio.create_task(pool.run(work)) for _ in range(2))
    await until(lambda: (pool.in_use, pool.waiting) == (1, 1))
    gate.set()
    await asyncio.gather(first, second)
    pool.close()

    assert (2, True) == (len(waits), min(waits) >= 0.0)
    assert (0, 0) == (pool.in_use, pool.waiting)


async def test_work_that_has_not_started_when_its_caller_gives_up_never_does():
    pool, gate, ran = ThreadPool(1), threading.Event(), []
    blocker = asyncio.create_task(pool.run(lambda _: bool(gate.wait()) and None))
    waiter = asyncio.create_task(pool.run(ran.append))
    await until(lambda: (pool.in_use, pool.waiting) == (1, 1))
    waiter.cancel()
    await asyncio.wait({waiter})
    waiting = pool.waiting
    gate.set()
    await blocker
    pool.close()

    assert ([], 0) == (ran, waiting)


async def test_work_that_has_started_counts_until_it_returns():
    pool, gate = ThreadPool(1), threading.Event()
    caller = asyncio.create_task(pool.run(lambda _: bool(gate.wait()) and None))
    await until(lambda: pool.in_use)
    caller.cancel()
    await asyncio.wait({caller})
    in_use = pool.in_use
    gate.set()
    await until(lambda: not pool.in_use)
    pool.close()

    assert 1 == in_use


async def test_a_closed_pool_can_be_used_again():
    pool, ran = ThreadPool(1), []
    await pool.run(ran.append)
    pool.close()
    await pool.run(ran.append)
    pool.close()

    assert 2 == len(ran)


async def test_a_pool_that_is_closed_lets_nobody_wait_for_ever():
    pool, gate = ThreadPool(1), threading.Event()
    callers = [asyncio.create_task(pool.run(lambda _: bool(gate.wait()) and None)) for _ in range(3)]
    await until(lambda: (pool.in_use, pool.waiting) == (1, 2))
    pool.close()
    await asyncio.wait(callers[1:])
    waiting = pool.waiting
    gate.set()
    await callers[0]

    assert 0 == waiting
    assert [False, True, True] == [caller.cancelled() for caller in callers]


async def test_work_that_raises_gives_its_thread_back():
    pool = ThreadPool(1)

    def work(waited: float):
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # exactly ours
        await pool.run(work)
    pool.close()

    assert (0, 0) == (pool.in_use, pool.waiting)


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
