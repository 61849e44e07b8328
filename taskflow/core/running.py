"""What asyncio tells of the code that runs now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["cancellable", "cancellations", "running_loop"]

T = TypeVar("T")


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, or ``None``."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def cancellations() -> int:
    """How often the asyncio task that runs now was asked to cancel; 0 outside of tasks."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


async def cancellable(work: Awaitable[T]) -> T:
    """Await ``work``; cancelled meanwhile, be cancelled, whatever ``work`` made of that.

    Before Python 3.12 `asyncio.wait_for`, by which redis-py sends, ends as if nothing had happened if it
    is cancelled in its last moment: https://github.com/python/cpython/issues/86296
    """
    before = cancellations()
    try:
        return await work
    finally:
        if cancellations() > before:
            raise asyncio.CancelledError
