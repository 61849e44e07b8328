"""The bounded queue in front of an observer's ``async def`` handlers, and the worker that empties it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from taskflow.core.running import cancellations, running_loop

Handler = Callable[[Any], Awaitable[None]]

UNWIND = 0.5
"""Seconds that handlers get to clean up when they are cancelled."""


async def fenced(work: Callable[[], Awaitable[None]]) -> BaseException | None:
    """Await ``work()``, and return what it raised: anything but KeyboardInterrupt, which comes from the user.

    What is meant for the caller passes as well: that it is cancelled, and that it is closed.
    """
    before, host = cancellations(), current_task()
    try:
        await work()
    except KeyboardInterrupt:
        raise
    except asyncio.CancelledError as error:
        if cancellations() > before:
            raise
        return error
    except GeneratorExit as error:
        if host is None or current_task() is not host:  # the loop has ended, and its coroutines are closed
            raise
        return error
    except BaseException as error:
        return error
    return None


def current_task() -> asyncio.Task[Any] | None:
    """The current asyncio task; ``None`` where no loop runs."""
    return None if running_loop() is None else asyncio.current_task()


class Mailbox:
    """Delivers events to async handlers one by one, in order, without delaying whoever emits them.

    It has no event loop before `start`; events that are put earlier wait.

    Args:
        limit: most events that wait; then the newest is dropped.
        on_error: called with the exception of a handler that raised.
        on_drop: called when an event was dropped.
    """

    def __init__(
        self, limit: int, on_error: Callable[[BaseException], None], on_drop: Callable[[], None]
    ) -> None:
        self.limit = limit
        self._on_error = on_error
        self._on_drop = on_drop
        self._queue: deque[tuple[Handler | None, Any]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: int | None = None
        self._wakeup: asyncio.Event = asyncio.Event()
        self._idle = False
        self._delivering = False

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, handler: Handler, event: Any) -> None:
        """Queue ``event`` for ``handler``; from any thread, never blocks."""
        if len(self._queue) >= self.limit:
            self._on_drop()
            return
        self._append((handler, event))

    def _append(self, item: tuple[Handler | None, Any]) -> None:
        self._queue.append(item)
        # The worker sets _idle before it looks into the queue for the last time: either it sees this item,
        # or this code sees the flag.
        loop = self._loop
        if self._idle and loop is not None:
            self._idle = False
            if threading.get_ident() == self._thread:
                self._wakeup.set()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(self._wakeup.set)

    def start(self) -> None:
        """Start the worker on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._wakeup = asyncio.Event()
        # An empty context: otherwise a worker that is started during a request would stay in its trace.
        self._worker = self._loop.create_task(self._work(), context=contextvars.Context())

    async def _work(self) -> None:
        while cancellations() == 0:  # not `while True`: a handler may swallow the cancellation
            await self._deliver_all()
            self._wakeup.clear()
            self._idle = True
            if not self._queue:
                await self._wakeup.wait()
            self._idle = False

    async def _deliver_all(self) -> None:
        before = cancellations()
        while self._queue and cancellations() == before:
            handler, event = self._queue.popleft()
            if handler is None:
                event.set()
                continue
            self._delivering = True
            error = await fenced(functools.partial(handler, event))
            if error is not None:
                self._on_error(error)
            self._delivering = False

    async def flush(self) -> None:
        """Return when everything put so far has been delivered."""
        if self._worker is None or self._worker.done():
            await self._deliver_all()
            return
        barrier = asyncio.Event()
        self._append((None, barrier))
        await barrier.wait()

    async def close(self, timeout: float) -> int:
        """Deliver what waits for at most ``timeout`` seconds, stop, and return how many were left."""
        flushing = asyncio.get_running_loop().create_task(self.flush())
        await asyncio.wait({flushing}, timeout=timeout)
        workers = {task for task in (flushing, self._worker) if task is not None}
        for task in workers:
            task.cancel()
        # A handler that swallows its cancellation is not waited for any longer.
        await asyncio.wait(workers, timeout=UNWIND)
        left = int(self._delivering)
        while self._queue:
            handler, event = self._queue.popleft()
            if handler is None:
                event.set()  # a flush of another caller
            else:
                left += 1
        self._worker = self._loop = None
        self._idle = self._delivering = False
        return left
