"""Coroutines that wait for a condition, and are woken when it may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from taskflow.core.running import call_on, running_loop

__all__ = ["Waiters"]


class Waiters:
    """Those who wait for one thing.

    Thread-safe: `wait` and `wait_for` may be awaited on any event loop, and `wake` may be called from any
    thread. A waiter on the loop that calls `wake` goes on in the next turn of that loop.
    """

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        # A dict for its order and for cheap removal. It is only used by single operations, each atomic.
        self._futures: dict[asyncio.Future[None], None] = {}

    async def wait(self) -> None:
        """Return at the next `wake`.

        One that comes before the first step of this coroutine is missed. Where `wake` is called from
        another thread, use `wait_for`.
        """
        await self._next(lambda: False)

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Return once ``condition()`` is true; it is asked at once and after each `wake`.

        Whoever makes it true does so before calling `wake`; then no wake is missed, from any thread.
        """
        while not condition():
            await self._next(condition)

    async def _next(self, condition: Callable[[], bool]) -> None:
        future = asyncio.get_running_loop().create_future()
        self._futures[future] = None
        try:
            if not condition():  # again, because a wake from another thread may have come before this one
                await future
        finally:
            self._futures.pop(future, None)  # cancelled, or not woken: nobody waits any more

    def wake(self) -> None:
        """Let everybody go on who waits now."""
        here = running_loop()
        for future in list(self._futures):
            self._futures.pop(future, None)
            if future.get_loop() is here:
                _finish(future)
            else:
                call_on(future.get_loop(), _finish, future)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
