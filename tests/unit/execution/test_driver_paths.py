"""The path of tasks with one attempt, written out for speed, against the path of all others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskflow import InMemoryLogger, ManagedBackgroundTasks, TaskManager, get_task_context, task_log
from taskflow.execution.driver import Driver

Function = Callable[..., Any]


async def returns() -> None:
    task_log("here")


async def returns_a_value() -> int:
    return 1


async def returns_what_was_not_awaited() -> Any:
    return asyncio.sleep(0)


async def waits() -> None:
    await asyncio.sleep(0)
    task_log(str(get_task_context().func_name))


async def raises() -> None:
    raise ValueError("no")


async def raises_later() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


async def ends_the_process() -> None:
    raise SystemExit(3)


async def raises_a_cancellation_of_its_own() -> None:
    raise asyncio.CancelledError


async def awaits_what_is_cancelled() -> None:
    other = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(other.cancel)
    await other


async def cancels_itself() -> None:
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


async def cancels_itself_and_returns() -> None:
    asyncio.current_task().cancel()


async def closes_its_coroutine() -> None:
    raise GeneratorExit


def sync() -> None:
    task_log("in a thread")


def sync_raises() -> None:
    raise ValueError("no")


FUNCTIONS = [
    returns,
    returns_a_value,
    returns_what_was_not_awaited,
    waits,
    raises,
    raises_later,
    ends_the_process,
    raises_a_cancellation_of_its_own,
    awaits_what_is_cancelled,
    cancels_itself,
    cancels_itself_and_returns,
    closes_its_coroutine,
    sync,
    sync_raises,
]


async def told(function: Function, act: Callable[[TaskManager, str], Awaitable[None]] | None = None) -> Any:
    """What is left of a task and what was seen of it, and whether the next one still runs."""
    seen = InMemoryLogger()
    manager = TaskManager(loggers=[seen], max_concurrent_tasks=2)
    await manager.startup()
    warm_up = ManagedBackgroundTasks(manager)  # makes a worker, which the next one finds ready
    warm_up.add_task(returns)
    await warm_up()
    await asyncio.sleep(0)
    seen.clear()
    tasks = ManagedBackgroundTasks(manager)
    task_id = tasks.add_task(function)
    request = asyncio.ensure_future(tasks())
    if act is not None:
        await act(manager, task_id)
    await asyncio.wait([request])
    after = ManagedBackgroundTasks(manager)
    after.add_task(returns)
    await after()
    await manager.drain()
    record = manager.store.get(task_id)
    states = [(e.status, e.reason, e.error_type, e.pool) for e in seen.lifecycle_events]
    pools = [(pool.in_use, pool.waiting) for pool in manager.pools]
    left = (record.reason, record.error, record.attempt, len(manager.driver.executions), pools)
    await manager.shutdown()
    return states, left, request.cancelled(), [line.message for line in seen.log_events]


def whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Driver, "_run_once", Driver._run)


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_both_paths_end_a_task_in_the_same_way(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = await told(function)
    whole_path(monkeypatch)
    assert await told(function) == short


async def forever() -> None:
    await asyncio.Event().wait()


async def does_not_want_to_end() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("not now")


async def running(manager: TaskManager, task_id: str) -> None:
    while manager.store.get(task_id).status != "running":  # noqa: ASYNC110  # it has no event
        await asyncio.sleep(0)


async def cancel(manager: TaskManager, task_id: str) -> None:
    await running(manager, task_id)
    manager.cancel(task_id)


async def cancel_before(manager: TaskManager, task_id: str) -> None:
    manager.cancel(task_id)


async def cancel_its_host(manager: TaskManager, task_id: str) -> None:
    await running(manager, task_id)
    manager.driver.executions[task_id].host.cancel()


async def interrupt(manager: TaskManager, task_id: str) -> None:
    await running(manager, task_id)
    await manager.driver.interrupt_all()


@pytest.mark.parametrize("act", [cancel, cancel_before, cancel_its_host, interrupt])
@pytest.mark.parametrize("function", [forever, does_not_want_to_end])
async def test_both_paths_stop_a_task_in_the_same_way(
    function: Function,
    act: Callable[[TaskManager, str], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = await told(function, act)
    whole_path(monkeypatch)
    assert await told(function, act) == short


async def test_a_task_with_one_attempt_takes_the_short_path(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(Driver, "_run_once", lambda *args: taken.append(args) or Driver._run(*args))
    await told(returns)
    assert 2 == len(taken)
