"""asyncio tasks that stand ready to go on with what a request has begun.

An asyncio task for every background task would cost as much as everything else that happens to a short
one, and most short ones never wait for anything. So the first step is taken at once, in the asyncio task
of the request, but under the name of a worker: `asyncio.current_task` is the worker, so that timeouts,
task groups and cancel scopes bind to it. If the work has ended by then, that was all. If it waits for
something, the worker goes on with it, and the request may do what it likes. (From Python 3.12 on,
``eager_start`` does the same with a new task each time.)

``_enter_task`` and ``_leave_task`` are what asyncio offers to those who write tasks of their own:
https://docs.python.org/3/library/asyncio-extending.html
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

from taskflow.execution.running.attempt import Execution
from taskflow.execution.running.stepping import stepped

__all__ = ["Workers"]

MOST_READY: Final = 64
"""Workers that are kept ready."""

Work = Coroutine[Any, Any, None]
Host = asyncio.Task[None]

try:
    from asyncio.tasks import _enter_task, _leave_task
except ImportError:  # a Python without them: everything is done in asyncio tasks of its own
    CAN_LEND = False
else:
    CAN_LEND = True


class Workers:
    """The workers of one event loop. New ones are made whenever none is ready.

    Args:
        work: drives an execution; called with it and with the worker's asyncio task.
    """

    def __init__(self, work: Callable[[Execution, Host], Work]) -> None:
        self._work = work
        self._all: set[Worker] = set()
        self._ready: deque[Worker] = deque()
        self._closed = False

    def begin(self, loop: asyncio.AbstractEventLoop, execution: Execution) -> bool | None:
        """Take the first step of an execution now, inside its context; a worker goes on with the rest.

        Args:
            loop: the running one.
            execution: what is driven.

        Returns:
            Whether that was all. ``None`` if no worker is ready: then nothing was done.
        """
        if not self._ready:
            self._make()
            return None
        host = asyncio.current_task(loop)
        if host is None:
            return None
        worker = self._ready.pop()
        task = worker.task
        execution.inside = True
        begun = self._work(execution, task)
        _leave_task(loop, host)
        _enter_task(loop, task)
        try:
            awaited = execution.context.run(begun.send, None)
        except StopIteration:
            if task.cancelling():
                worker.disturb()
            else:
                self._ready.append(worker)
            return True
        finally:
            _leave_task(loop, task)
            _enter_task(loop, host)
        worker.go_on(execution, begun, awaited)
        return False

    def _make(self) -> None:
        if CAN_LEND and not self._closed and len(self._all) < MOST_READY:
            worker = Worker(self._ready)
            self._all.add(worker)
            # Callbacks keep the context in which they are added: that of a request, if none is given.
            worker.task.add_done_callback(lambda _: self._all.discard(worker), context=contextvars.Context())

    async def close(self) -> None:
        """End the workers that are ready, and the others when they have done their work."""
        self._closed = True
        ready = [worker.task for worker in self._ready]
        for worker in self._all:
            worker.end()
        await asyncio.gather(*ready, return_exceptions=True)


class Worker:
    """One asyncio task.

    Args:
        ready: where it puts itself when it has nothing to do.

    Attributes:
        task: the asyncio task.
    """

    def __init__(self, ready: deque[Worker]) -> None:
        self._ready = ready
        self._turn: asyncio.Future[None] | None = None
        self._begun: tuple[Execution, Work, Any] | None = None
        self._disturbed = False
        self._ending = False
        # An empty context: nothing of the request that happens to make it may live on in it.
        self.task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    def disturb(self) -> None:
        """Work that is over by now has cancelled its own task: that becomes ready again by itself."""
        self._disturbed = True
        while self.task.cancelling():
            self.task.uncancel()

    def go_on(self, execution: Execution, work: Work, awaited: Any) -> None:
        """Go on with work that awaits something."""
        self._begun = (execution, work, awaited)
        if self._turn is not None and not self._turn.done():  # else the work has cancelled its own task
            self._turn.set_result(None)

    def end(self) -> None:
        """End, now or when the present work is done."""
        self._ending = True
        if self._begun is None and self._turn is not None and not self._turn.done():
            self._turn.set_result(None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._ending:
            self._turn = loop.create_future()
            self._ready.append(self)
            try:
                cancelled = await self._is_cancelled(self._turn)
            finally:
                if self._begun is None and self in self._ready:  # what has begun was taken from there
                    self._ready.remove(self)
                self._turn = None
            begun, self._begun = self._begun, None
            if begun is not None:
                execution, work, awaited = begun
                if cancelled:
                    self._cancel(awaited)
                await stepped(execution.context, work, execution, awaited)
                if self.task.cancelling():
                    await execution.leave_host()
                del begun, execution, work, awaited  # nothing of a task is kept until the next one comes

    def _cancel(self, awaited: Any) -> None:
        """Let a cancellation that came too early arrive where the work awaits, as asyncio.Task does it."""
        if awaited is not None:
            awaited.cancel()
        else:  # at the next turn; it has been counted already
            self.task.cancel()
            self.task.uncancel()

    async def _is_cancelled(self, turn: asyncio.Future[None]) -> bool:
        """Wait for work: whether it was cancelled before this task could go on with it."""
        try:
            await turn
        except asyncio.CancelledError:
            if self._begun is None and not self._disturbed:
                raise
            self._disturbed = False
            return self._begun is not None
        return False
