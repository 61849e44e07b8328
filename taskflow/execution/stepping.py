"""Running a coroutine in a context of its own, stoppable by itself, without a task of its own.

An `asyncio.Task` for each attempt would do both at about twice the cost of everything else that happens
to a short task; and cancelling the task that all attempts of a request share would hit its siblings.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Coroutine, Generator
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, TypeVar

from taskflow.core.running import cancellations

__all__ = ["Steered"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Steered:
    """Something whose coroutines are stepped by `step_in`, and can be cancelled there.

    Attributes:
        loop: the event loop that it runs on, once it does.
    """

    loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _cancellations: int | None = field(default=None, init=False)
    _waiting: asyncio.Future[Any] | None = field(default=None, init=False)
    _cancelling: bool = field(default=False, init=False)
    _abandoned: bool = field(default=False, init=False)

    def cancel(self) -> None:
        """Raise `asyncio.CancelledError` where the coroutine awaits, or will await next; on its loop.

        It is what `asyncio.Task.cancel` does with the future that a task waits for, but the task itself
        is not marked as cancelled: whatever it runs next is not affected.
        """
        self._cancelling = True
        if self._waiting is not None:
            self._waiting.cancel()

    def abandon(self) -> None:
        """Leave a coroutine behind that does not end when it is cancelled; on its loop."""
        self._abandoned = True
        self.cancel()

    def host_cancelled(self) -> bool:
        """Whether the asyncio task that awaits `step_in` was itself cancelled meanwhile, as servers do it.

        To be asked on that task, after a `asyncio.CancelledError`.
        """
        return self._cancellations is not None and cancellations() > self._cancellations

    @types.coroutine
    def step_in(self, context: Context, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
        """Await ``coroutine`` with every step of it inside ``context``."""
        step, value = coroutine.send, None
        self._cancellations = None
        while True:
            try:
                future = context.run(step, value)
            except StopIteration as stop:
                result: T = stop.value
                return result
            self._waiting = future
            if self._cancelling and future is not None:  # asked by the coroutine itself, while it ran
                future.cancel()
            if self._cancellations is None:
                # Not always zero: what ran before may have left the count raised, as an
                # asyncio.TaskGroup with a failing child does before Python 3.13.
                self._cancellations = cancellations()
            step = coroutine.throw
            try:
                value = yield future
            except GeneratorExit:
                context.run(coroutine.close)
                raise
            except BaseException as exc:
                value = exc
            else:
                if self._cancelling:  # what it waited for was done already, or is no future
                    value = asyncio.CancelledError()
                else:
                    step = coroutine.send
            self._waiting = None
            self._cancelling = False
            if self._abandoned:
                with contextlib.suppress(RuntimeError):  # it ignores even that
                    context.run(coroutine.close)
                raise asyncio.CancelledError
