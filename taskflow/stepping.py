"""Running a coroutine in a context of its own without a task of its own."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def run_in_context(context: Context, coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await ``coroutine`` with every step of it inside ``context``.

    An `asyncio.Task` for each coroutine would do the same at about twice the cost of everything else
    that happens to a short task. Cancellation is the awaiting task's, as for any awaited coroutine.
    """
    step, value = coroutine.send, None
    while True:
        try:
            future = context.run(step, value)
        except StopIteration as stop:
            result: T = stop.value
            return result
        try:
            step, value = coroutine.send, (yield future)
        except GeneratorExit:
            context.run(coroutine.close)
            raise
        except BaseException as exc:
            step, value = coroutine.throw, exc
