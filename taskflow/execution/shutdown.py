"""Ending what runs, within a deadline, so that nothing hangs and nothing stays RUNNING."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable

from taskflow.execution.dispatch import Dispatcher
from taskflow.execution.driver import Driver
from taskflow.execution.enqueue import Enqueuer

__all__ = ["Shutdown"]

GRACE = 0.5
"""Grace period after cancellation: seconds that cancelled functions get to clean up."""


class Shutdown:
    """Ends the manager's work, in two steps that may be far apart.

    `begin` starts the clock: a signal has come. Whatever was accepted goes on, and what requests that
    are still open enqueue is still accepted. `finish` closes the door and waits. When the clock runs
    out in between or meanwhile, everything unfinished is interrupted; `hurry` makes it run out.

    Args:
        driver, dispatcher, enqueuer: the parts of the engine to end.
        timeout: seconds from `begin` until everything is interrupted.
    """

    def __init__(self, driver: Driver, dispatcher: Dispatcher, enqueuer: Enqueuer, timeout: float) -> None:
        self._driver = driver
        self._dispatcher = dispatcher
        self._enqueuer = enqueuer
        self._timeout = timeout
        self._expiry: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` on the manager's loop each time that a shutdown begins."""
        self._listeners.append(listener)

    def reset(self) -> None:
        """Open the door again, for another start."""
        self._expiry = None
        self._hurried = asyncio.Event()
        self._driver.deadline = None
        self._enqueuer.closed = False

    @property
    def begun(self) -> bool:
        """Whether the clock runs, or has run out."""
        return self._expiry is not None

    def begin(self) -> None:
        """Start the clock, unless it runs; on the manager's loop."""
        if self._expiry is not None:
            return
        self._driver.deadline = time.monotonic() + self._timeout
        loop = asyncio.get_running_loop()
        self._expiry = loop.create_task(self._expire(), context=contextvars.Context())
        for listener in self._listeners:
            listener()

    def hurry(self) -> None:
        """Let the clock run out now; on the manager's loop."""
        self.begin()
        self._hurried.set()

    async def finish(self) -> None:
        """Take no more tasks, and return when everything has ended or was interrupted."""
        self._enqueuer.closed = True
        self.begin()
        assert self._expiry is not None
        drained = asyncio.get_running_loop().create_task(self._dispatcher.drain())
        await asyncio.wait({drained, self._expiry}, return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        self._expiry.cancel()
        await asyncio.wait({drained, self._expiry})
        await self._driver.abandon_all()  # what nobody drives: a request that was never settled

    async def _expire(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await self._driver.interrupt_hopeless()
                await self._hurried.wait()
        self._enqueuer.closed = True
        await self._driver.interrupt_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE):
                await self._dispatcher.drain()
        await self._driver.abandon_all()
