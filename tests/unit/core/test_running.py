"""Small tools for asyncio."""

import asyncio
import threading

from taskflow.core.running import SLICE, call_on, running_loop, sliced
from tests.processes import PATIENCE


async def test_a_call_on_the_running_loop_is_made_at_once() -> None:
    called: list[int] = []

    call_on(running_loop(), called.append, 1)

    assert [1] == called


async def test_a_call_from_another_thread_is_made_on_the_loop() -> None:
    loop, done, threads = asyncio.get_running_loop(), asyncio.Event(), list[int]()

    def note() -> None:
        threads.append(threading.get_ident())
        done.set()

    await asyncio.to_thread(call_on, loop, note)
    async with asyncio.timeout(PATIENCE):
        await done.wait()

    assert [threading.get_ident()] == threads


def test_a_call_on_no_loop_or_on_a_closed_one_is_not_made() -> None:
    called: list[int] = []
    loop = asyncio.new_event_loop()
    loop.close()

    call_on(None, called.append, 1)
    call_on(loop, called.append, 2)

    assert [] == called


async def test_slices_have_all_items_in_order() -> None:
    assert [[0, 1], [2, 3], [4]] == [part async for part in sliced(range(5), 2)]
    assert [] == [part async for part in sliced([])]
    assert [SLICE, 1] == [len(part) async for part in sliced(range(SLICE + 1))]


async def test_others_get_a_turn_after_each_slice() -> None:
    happened: list[str] = []

    async def other() -> None:
        for _ in range(2):
            happened.append("other")
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    async for part in sliced("abcd", 2):
        happened += part
    await running

    assert ["a", "b", "other", "c", "d", "other"] == happened


async def test_what_the_items_come_from_may_change_between_two_slices() -> None:
    items = {"a": 1, "b": 2}
    seen = []
    async for part in sliced(items, 1):
        seen += part
        items["c"] = 3

    assert ["a", "b"] == seen
