from __future__ import annotations

import asyncio
import contextvars
import gc

import pytest

from taskflow.execution.stepping import Steered

where: contextvars.ContextVar[str] = contextvars.ContextVar("where", default="outside")


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
    result = await Steered().step_in(context, work())

    assert ("done", ["inside"] * 3) == (result, seen)
    assert ("changed", "outside") == (context[where], where.get())


async def test_what_the_coroutine_raises_comes_out():
    async def work():
        await asyncio.sleep(0)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await Steered().step_in(inner_context(), work())


async def test_what_a_future_raises_goes_in():
    seen: list[object] = []
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, ValueError("broken"))

    async def work():
        try:
            await future
        except ValueError as exc:
            seen.append((str(exc), where.get()))

    await Steered().step_in(inner_context(), work())

    assert [("broken", "inside")] == seen


async def test_the_task_is_the_hosts_own():
    seen: list[object] = []

    async def work():
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    await Steered().step_in(inner_context(), work())

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
        await steered.step_in(inner_context(), work())

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
        await steered.step_in(inner_context(), work())

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

    assert ("enough", 3) == (await steered.step_in(inner_context(), work()), len(swallowed))


async def test_a_cancellation_of_the_host_goes_in_and_through():
    seen: list[str] = []

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(where.get())

    async def host():
        await Steered().step_in(inner_context(), work())

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
        await Steered().step_in(inner_context(), work())

    loop = asyncio.new_event_loop()

    async def begin():
        coroutine = host()
        coroutine.send(None)
        coroutine.close()

    loop.run_until_complete(begin())
    loop.close()
    gc.collect()

    assert ["inside"] == seen
