"""Running a coroutine in a context of its own, without an asyncio task of its own.

An `asyncio.Task` for each attempt would cost about twice as much as everything else that happens to a
short task. So the attempts of one task, and in detached mode the tasks of one request, share an asyncio
task: their host. A cancellation goes to the host, exactly as `asyncio.Task.cancel` does it, so that
timeouts, task groups and cancel scopes see what they expect; afterwards its count is put back.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, Final, TypeVar

__all__ = ["Steered", "stepped"]

T = TypeVar("T")

NOT_BEGUN: Final = object()
"""Of the coroutine no step was taken yet, or none since what it awaited is done."""


class Steered:
    """Something that an asyncio task drives, and that can be cancelled without harm to what follows it.

    Attributes:
        host: the asyncio task that drives it, while one does.
        loop: the event loop that it runs on, once it does.
        abandoned: whether its coroutine is to be left behind, because it does not end when cancelled.
    """

    # Defaults on the class: an object is made for every task, and most of these stay as they are.
    host: asyncio.Task[Any] | None = None
    loop: asyncio.AbstractEventLoop | None = None
    abandoned: bool = False
    _cancelled: bool = False
    _count: int = 0
    """How often the host was cancelled before; not always zero, see `cancel`."""
    _excused: int = 0
    """The same, and our own cancellations: what is above comes from somebody else."""

    def enter_host(self, host: asyncio.Task[Any] | None = None) -> None:
        """The asyncio task ``host``, or else the current one, drives it from now on."""
        host = self.host = asyncio.current_task() if host is None else host
        if host is not None:
            self.loop = host.get_loop()
            self._count = self._excused = host.cancelling()

    def cancel(self) -> None:
        """Raise `asyncio.CancelledError` where the coroutine awaits, or will await next; on its loop."""
        if self.host is None:
            return
        if not self._cancelled:
            # An asyncio.TaskGroup with a failing child leaves the count raised before Python 3.13.
            self._cancelled, self._excused = True, self.host.cancelling()
        self._excused += 1
        self.host.cancel()

    def abandon(self) -> None:
        """Leave a coroutine behind that does not end when it is cancelled; on its loop."""
        self.abandoned = True
        self.cancel()

    def host_cancelled(self) -> bool:
        """Whether something else has cancelled the host; to be asked after a `asyncio.CancelledError`."""
        return self.host is not None and self.host.cancelling() > self._excused

    async def leave_host(self) -> None:
        """Put the host back as it was: what it drives next must not be hit by what was meant for this.

        Raises:
            asyncio.CancelledError: something else has cancelled the host meanwhile.
        """
        host, self.host = self.host, None
        if host is None:
            return
        disturbed = self._cancelled
        while host.cancelling() > self._count:  # by us, or by the coroutine itself
            host.uncancel()
            disturbed = True
        if disturbed:
            try:
                await asyncio.sleep(0)  # a cancellation that came too late to be raised is raised here
            except asyncio.CancelledError:
                if host.cancelling() > self._count:
                    raise


@types.coroutine
def stepped(
    context: Context, coroutine: Coroutine[Any, Any, T], steered: Steered, awaited: Any = NOT_BEGUN
) -> Generator[Any, Any, T]:
    """Await ``coroutine`` with every step of it inside ``context``.

    Args:
        context: where its steps run.
        coroutine: what to await.
        steered: what it belongs to.
        awaited: what its first step has given, if that has been taken.
    """
    step, value, future = coroutine.send, None, awaited
    while True:
        if future is NOT_BEGUN:
            try:
                future = context.run(step, value)
            except StopIteration as stop:
                result: T = stop.value
                return result
        step = coroutine.throw
        try:
            value = yield future
        except GeneratorExit:
            steered.abandoned = True
            context.run(coroutine.close)
            raise
        except BaseException as exc:
            value = exc
        else:
            step = coroutine.send
        future = NOT_BEGUN
        if steered.abandoned:
            with contextlib.suppress(RuntimeError):  # it ignores even that
                context.run(coroutine.close)
            raise asyncio.CancelledError
