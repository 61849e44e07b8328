"""Small tools for asyncio: which loop runs, calls from other threads, cancellation, turns for others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, TypeVar, TypeVarTuple

__all__ = ["CODEC_SLICE", "SLICE", "call_on", "cancellable", "cancellations", "running_loop", "sliced"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SLICE: Final = 1_000
"""Records that are looked at in one turn of the event loop: about a millisecond."""

CODEC_SLICE: Final = 250
"""Rows that are encoded or decoded in one turn of the event loop: about four milliseconds."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, or ``None``."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def call_on(loop: asyncio.AbstractEventLoop | None, callback: Callable[[*Ts], object], *args: *Ts) -> None:
    """Call ``callback(*args)`` on a loop: now if it runs in this thread, else soon. From any thread.

    Without a loop, or when it is closed, there is nobody left to tell: nothing happens.
    """
    if loop is None:
        return
    if loop is running_loop():
        callback(*args)
        return
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(callback, *args)


async def sliced(items: Iterable[T], size: int = SLICE) -> AsyncIterator[list[T]]:
    """The items in lists of up to ``size``; other coroutines get a turn after each list.

    The items are read at once, so that the caller may change what they come from meanwhile.
    """
    everything = list(items)
    for start in range(0, len(everything), size):
        yield everything[start : start + size]
        await asyncio.sleep(0)


def cancellations() -> int:
    """How often `cancel` was called on the current asyncio task; 0 outside of tasks."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def cancellable(work: Awaitable[T]) -> T:
    """Await ``work``; if it is cancelled, raise `asyncio.CancelledError` even if ``work`` swallowed that.

    Before Python 3.12, `asyncio.wait_for`, which redis-py uses, may swallow a cancellation that comes in
    its last moment: https://github.com/python/cpython/issues/86296
    """
    before = cancellations()
    try:
        return await work
    finally:
        if cancellations() > before:
            raise asyncio.CancelledError
