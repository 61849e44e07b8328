"""Waiting for a condition, on one loop and across threads."""

import asyncio
import threading

import pytest

from taskflow.core.waiters import Waiters
from tests.processes import PATIENCE


async def turn() -> None:
    """Let everything run that is ready."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_wake_lets_everybody_go_on_in_the_order_of_their_coming() -> None:
    waiters, order = Waiters(), list[int]()

    async def wait(number: int) -> None:
        await waiters.wait()
        order.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await turn()
    assert [] == order

    waiters.wake()
    await asyncio.gather(*waiting)

    assert [0, 1, 2] == order


async def test_a_wake_is_not_kept_for_those_who_come_later() -> None:
    waiters = Waiters()
    waiters.wake()

    waiting = asyncio.create_task(waiters.wait())
    await turn()

    assert not waiting.done()
    waiters.wake()
    await waiting


async def test_a_condition_that_holds_is_not_waited_for() -> None:
    async with asyncio.timeout(PATIENCE):
        await Waiters().wait_for(lambda: True)


async def test_a_wake_that_does_not_make_the_condition_true_lets_nobody_go() -> None:
    waiters, ready = Waiters(), False
    waiting = asyncio.create_task(waiters.wait_for(lambda: ready))
    await turn()
    waiters.wake()
    await turn()
    assert not waiting.done()

    ready = True
    waiters.wake()

    async with asyncio.timeout(PATIENCE):
        await waiting


async def test_who_stops_waiting_is_forgotten_and_does_not_disturb_the_others() -> None:
    waiters = Waiters()
    leaving, staying = asyncio.create_task(waiters.wait()), asyncio.create_task(waiters.wait())
    await turn()

    leaving.cancel()
    waiters.wake()

    with pytest.raises(asyncio.CancelledError):
        await leaving
    async with asyncio.timeout(PATIENCE):
        await staying


async def test_a_loop_is_woken_from_another_thread() -> None:
    asyncio.get_running_loop().set_debug(True)  # raises where a thread touches what is the loop's alone
    waiters = Waiters()
    waiting = asyncio.create_task(waiters.wait())
    await turn()

    async with asyncio.timeout(PATIENCE):
        await asyncio.to_thread(waiters.wake)
        await waiting


async def test_a_wake_from_another_thread_between_the_question_and_the_wait_is_not_missed() -> None:
    waiters, ready = Waiters(), False

    def condition() -> bool:
        nonlocal ready
        answer = ready
        if not ready:  # the answer is no; while it is on its way, it becomes yes
            ready = True
            thread = threading.Thread(target=waiters.wake)
            thread.start()
            thread.join()
        return answer

    async with asyncio.timeout(PATIENCE):
        await waiters.wait_for(condition)

    assert ready
