"""What a task function returned: whether it has run at all.

A function that hands back something that is still to be run, such as the coroutine that a lambda made,
has done nothing yet. To call that a success would be a lie.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator
from typing import Any, Final

__all__ = ["refuse_unrun"]

# Every coroutine is an awaitable as well: it comes first.
UNRUN: Final = (
    (Coroutine, "a coroutine that nobody would await: make it an async def that awaits it"),
    (Awaitable, "an awaitable ({kind}) that nobody would await: make it an async def that awaits it"),
    (AsyncGenerator, "an async generator, of which nothing has run: go through it with async for"),
    (Generator, "a generator, of which nothing has run: go through it with for"),
    (map | filter, "an iterator ({kind}) that has called nothing yet: go through it with for"),
)
"""What stands for work that was not done, and what to write instead. The protocol counts, not one type:
compiled coroutines and the awaitables of libraries have classes of their own.
"""


def refuse_unrun(result: object) -> None:
    """Raise if ``result`` stands for work that nobody would do.

    A coroutine is closed, so that Python does not warn of it as well. An asyncio future or task that has
    ended well was run, and passes.

    Raises:
        TypeError: it is a coroutine, another awaitable, a generator or an async generator, or a lazy
            ``map`` or ``filter``; the text says what to write instead.
    """
    if result is None:  # what most tasks return
        return
    kind = type(result)  # not what the object says: a proxy may answer anything
    for protocol, words in UNRUN:
        if issubclass(kind, protocol) and not _ended_well(result):
            cause = _close(result) if protocol is Coroutine else None
            raise TypeError("it returned " + words.format(kind=kind.__qualname__)) from cause


def _ended_well(result: object) -> bool:
    if not issubclass(type(result), asyncio.Future):
        return False
    future: asyncio.Future[Any] = result  # type: ignore[assignment]  # as was asked
    return future.done() and not future.cancelled() and future.exception() is None


def _close(coroutine: Any) -> BaseException | None:
    """Close a coroutine; returns what its own clean-up raised."""
    try:
        coroutine.close()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None
