from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from taskflow.observers.mailbox import Mailbox


class Outcome:
    """What a mailbox reports."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.dropped = 0

    def drop(self) -> None:
        self.dropped += 1


def new_mailbox(limit: int = 100) -> tuple[Mailbox, Outcome]:
    outcome = Outcome()
    return Mailbox(limit, outcome.errors.append, outcome.drop), outcome


def collector() -> tuple[list[Any], Callable[[Any], Any]]:
    got: list[Any] = []

    async def handler(event: Any):
        await asyncio.sleep(0)
        got.append(event)

    return got, handler


async def test_what_is_put_is_delivered_in_order():
    mailbox, _ = new_mailbox()
    got, handler = collector()
    mailbox.start()
    for number in range(5):
        mailbox.put(handler, number)
    await mailbox.flush()

    assert ([0, 1, 2, 3, 4], 0) == (got, len(mailbox))
    await mailbox.close(1)


def test_what_is_put_before_there_is_a_loop_waits_for_it():
    mailbox, _ = new_mailbox()
    got, handler = collector()
    mailbox.put(handler, "early")

    async def run():
        mailbox.start()
        await mailbox.flush()
        await mailbox.close(1)

    asyncio.run(run())

    assert ["early"] == got


async def test_what_other_threads_put_is_delivered_in_each_threads_order():
    mailbox, outcome = new_mailbox(limit=10_000)
    got, handler = collector()
    mailbox.start()

    def emit(name: str):
        for number in range(200):
            mailbox.put(handler, (name, number))

    await asyncio.gather(*(asyncio.to_thread(emit, name) for name in "abcd"))
    await mailbox.flush()

    for name in "abcd":
        assert list(range(200)) == [number for owner, number in got if owner == name]
    assert (0, []) == (outcome.dropped, outcome.errors)
    await mailbox.close(1)


async def test_a_put_from_another_thread_wakes_an_idle_worker():
    mailbox, _ = new_mailbox()
    delivered = asyncio.Event()

    async def handler(event: Any):
        delivered.set()

    mailbox.start()
    await mailbox.flush()
    await asyncio.sleep(0)
    thread = threading.Thread(target=mailbox.put, args=(handler, 1))
    thread.start()
    await delivered.wait()
    thread.join()
    await mailbox.close(1)


async def test_a_full_mailbox_drops_the_newest():
    mailbox, outcome = new_mailbox(limit=2)
    got, handler = collector()
    for number in range(5):
        mailbox.put(handler, number)
    mailbox.start()
    await mailbox.flush()

    assert ([0, 1], 3) == (got, outcome.dropped)
    await mailbox.close(1)


async def test_a_handler_that_raises_is_reported_and_the_next_event_is_delivered():
    mailbox, outcome = new_mailbox()
    got, handler = collector()

    async def broken(event: Any):
        raise ValueError(event)

    mailbox.start()
    mailbox.put(broken, "bad")
    mailbox.put(handler, "good")
    await mailbox.flush()

    assert (["good"], ["bad"]) == (got, [str(error) for error in outcome.errors])
    await mailbox.close(1)


@pytest.mark.parametrize("error", [BaseException, SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("started", [True, False])
async def test_a_handler_that_raises_no_ordinary_exception_does_not_end_the_worker(
    error: type[BaseException], started: bool
):
    mailbox, outcome = new_mailbox()
    got, handler = collector()

    async def broken(event: Any):
        raise error

    if started:
        mailbox.start()
    mailbox.put(broken, "bad")
    mailbox.put(handler, "good")
    flushed = asyncio.create_task(mailbox.flush())
    for _ in range(20):
        await asyncio.sleep(0)
    done = flushed.done()
    flushed.cancel()
    await mailbox.close(0.1)

    assert (["good"], True) == (got, done)
    assert [error] == [type(error) for error in outcome.errors]


async def test_a_handler_that_awaits_something_cancelled_does_not_end_the_worker():
    mailbox, outcome = new_mailbox()
    got, handler = collector()

    async def await_something_cancelled(event: Any):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    mailbox.start()
    mailbox.put(await_something_cancelled, "bad")
    mailbox.put(handler, "good")
    flushed = asyncio.create_task(mailbox.flush())
    for _ in range(20):
        await asyncio.sleep(0)
    done = flushed.done()
    flushed.cancel()
    await mailbox.close(0.1)

    assert (["good"], True) == (got, done)
    assert [asyncio.CancelledError] == [type(error) for error in outcome.errors]


async def test_flush_delivers_what_waits_where_no_worker_runs():
    mailbox, _ = new_mailbox()
    got, handler = collector()
    mailbox.put(handler, 1)
    await mailbox.flush()

    assert [1] == got


async def test_close_delivers_what_waits():
    mailbox, _ = new_mailbox()
    got, handler = collector()
    mailbox.start()
    mailbox.put(handler, 1)
    left = await mailbox.close(5)

    assert ([1], 0) == (got, left)


@pytest.mark.parametrize("started", [True, False])
async def test_close_counts_every_event_that_was_not_delivered_in_time(started: bool):
    mailbox, _ = new_mailbox()

    async def hang(event: Any):
        await asyncio.Event().wait()

    if started:
        mailbox.start()
    for number in range(3):
        mailbox.put(hang, number)
    left = await mailbox.close(0.01)

    # the one whose delivery was broken off is one of them
    assert (3, 0) == (left, len(mailbox))


async def test_close_does_not_wait_for_a_handler_that_swallows_its_cancellation():
    mailbox, _ = new_mailbox()
    asked: list[Any] = []

    async def stubborn(event: Any):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asked.append(event)

    mailbox.start()
    for number in range(3):
        mailbox.put(stubborn, number)
    closing = asyncio.create_task(mailbox.close(0.01))
    done, _pending = await asyncio.wait({closing}, timeout=5)
    closing.cancel()

    assert {closing} == done
    assert [0] == asked


async def test_close_releases_whoever_waits_for_a_flush():
    mailbox, _ = new_mailbox()

    async def hang(event: Any):
        await asyncio.Event().wait()

    mailbox.start()
    mailbox.put(hang, 1)
    flushed = asyncio.create_task(mailbox.flush())
    await asyncio.sleep(0)
    await mailbox.close(0.01)
    for _ in range(20):
        await asyncio.sleep(0)
    done = flushed.done()
    flushed.cancel()

    assert done


def test_a_mailbox_that_was_closed_starts_again_on_another_loop():
    mailbox, outcome = new_mailbox()
    got, handler = collector()

    async def run(event: str):
        mailbox.start()
        mailbox.put(handler, event)
        await mailbox.close(5)

    asyncio.run(run("first"))
    mailbox.put(handler, "between")
    asyncio.run(run("second"))

    assert ["first", "between", "second"] == got
    assert ([], 0) == (outcome.errors, outcome.dropped)


async def test_the_worker_does_not_inherit_the_context_of_whoever_starts_it():
    mailbox, _ = new_mailbox()
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    got: list[str] = []

    async def handler(event: Any):
        got.append(request.get())

    request.set("the one that started it")
    mailbox.start()
    mailbox.put(handler, 1)
    await mailbox.close(5)

    assert ["none"] == got


def test_a_loop_that_ends_without_a_close_is_not_held_up_and_another_one_goes_on():
    mailbox, outcome = new_mailbox()
    got, handler = collector()

    async def hang(event: Any):
        await asyncio.Event().wait()

    async def begin():
        mailbox.start()
        mailbox.put(hang, 1)
        mailbox.put(handler, 2)
        await asyncio.sleep(0)

    async def go_on():
        mailbox.start()
        mailbox.put(handler, 3)
        await mailbox.close(0.01)

    asyncio.run(begin())
    asyncio.run(go_on())

    assert [] == outcome.errors
    assert got in ([2, 3], [])  # the one that was broken off may come first once more
