from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from taskflow.execution.running.stepping import Steered, stepped

where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="outside")


async def step_in(
    context: contextvars.Context, coroutine: Coroutine[Any, Any, Any], steered: Steered | None = None
):
    """Step a coroutine as the driver does it."""
    steered = steered or Steered()
    steered.enter_host()
    try:
        return await stepped(context, coroutine, steered)
    finally:
        await steered.leave_host()


def inner_context() -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(where.set, "inside")
    return context


async def test_every_step_runs_inside_the_context():
    seen: list[str] = []

    async def work():
        for _ in range(3):
            seen.append(where.get())
            await asyncio.sleep(0)
        where.set("changed")
        return "done"

    context = inner_context()
    result = await step_in(context, work())

    assert ("done", ["inside"] * 3) == (result, seen)
    assert ("changed", "outside") == (context[where], where.get())


async def test_what_the_coroutine_raises_comes_out():
    async def work():
        await asyncio.sleep(0)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await step_in(inner_context(), work())


async def test_what_a_future_raises_goes_in():
    seen: list[object] = []
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, ValueError("broken"))

    async def work():
        try:
            await future
        except ValueError as exc:
            seen.append((str(exc), where.get()))

    await step_in(inner_context(), work())

    assert [("broken", "inside")] == seen


async def test_the_task_is_the_hosts_own():
    seen: list[object] = []

    async def work():
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    await step_in(inner_context(), work())

    assert [asyncio.current_task()] == seen


async def test_cancel_raises_where_the_coroutine_awaits_and_leaves_the_host_alone():
    steered, seen = Steered(), []

    async def work():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(where.get())
            raise

    asyncio.get_running_loop().call_soon(steered.cancel)
    with pytest.raises(asyncio.CancelledError):
        await step_in(inner_context(), work(), steered)

    assert (["inside"], 0) == (seen, asyncio.current_task().cancelling())  # type: ignore[union-attr]
    await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["bare yield", "done future", "task"])
async def test_cancel_reaches_whatever_is_awaited(kind: str):
    steered, reached = Steered(), []

    async def work():
        if kind == "bare yield":
            steered.cancel()
            await asyncio.sleep(0)
        elif kind == "done future":
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(lambda: (future.set_result(1), steered.cancel()))
            await future
        else:
            asyncio.get_running_loop().call_soon(steered.cancel)
            await asyncio.create_task(asyncio.Event().wait())
        reached.append(kind)

    with pytest.raises(asyncio.CancelledError):
        await step_in(inner_context(), work(), steered)

    assert [] == reached


async def test_cancel_can_be_swallowed_and_asked_again():
    steered, swallowed = Steered(), []

    async def work():
        while True:
            asyncio.get_running_loop().call_soon(steered.cancel)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(1)
                if len(swallowed) == 3:
                    return "enough"

    assert ("enough", 3) == (await step_in(inner_context(), work(), steered), len(swallowed))


async def test_a_cancellation_of_the_host_goes_in_and_through():
    seen: list[str] = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(where.get())

    async def host():
        await step_in(inner_context(), work())

    task = asyncio.create_task(host())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})

    assert (True, ["inside"]) == (task.cancelled(), seen)


def test_a_host_that_is_closed_closes_the_coroutine_in_its_context():
    seen: list[str] = []

    async def work():
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append(where.get())

    async def host():
        await step_in(inner_context(), work())

    loop = asyncio.new_event_loop()

    async def begin():
        coroutine = host()
        coroutine.send(None)
        coroutine.close()

    loop.run_until_complete(begin())
    loop.close()
    gc.collect()

    assert ["inside"] == seen


async def test_a_cancellation_that_comes_too_late_hits_nothing_that_follows():
    steered = Steered()

    async def work():
        steered.cancel()
        return "done"

    assert "done" == await step_in(inner_context(), work(), steered)
    await asyncio.sleep(0)
    assert 0 == asyncio.current_task().cancelling()  # type: ignore[union-attr]


async def test_a_task_group_that_failed_and_was_handled_leaves_the_host_as_it_was():
    async def fail():
        raise ValueError

    async def work():
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        except* ValueError:
            pass

    await step_in(inner_context(), work())

    assert 0 == asyncio.current_task().cancelling()  # type: ignore[union-attr]


@pytest.mark.parametrize("scope", ["timeout", "task group"])
async def test_a_cancellation_in_the_tick_of_a_scopes_own_is_not_lost(scope: str):
    steered = Steered()

    async def work():
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            if scope == "timeout":
                async with asyncio.timeout(0):
                    loop.call_soon(steered.cancel)
                    await asyncio.Event().wait()
            else:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0))
                    steered.cancel()
        await asyncio.sleep(0)
        return "went on"

    with pytest.raises(asyncio.CancelledError):
        await step_in(inner_context(), work(), steered)


async def test_a_coroutine_that_ignores_its_cancellation_can_be_left_behind():
    steered, tries = Steered(), []

    async def work():
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                tries.append(1)

    asyncio.get_running_loop().call_soon(steered.abandon)
    with pytest.raises(asyncio.CancelledError):
        await step_in(inner_context(), work(), steered)

    assert [] == tries
