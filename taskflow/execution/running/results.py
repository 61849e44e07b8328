"""What a task function must not return, because nobody would run it."""

from __future__ import annotations

import asyncio

__all__ = ["refuse_unrun"]


def refuse_unrun(result: object) -> None:
    """A sync function that only makes a coroutine, such as a lambda, has done nothing yet."""
    if asyncio.iscoroutine(result):
        result.close()
        raise TypeError("it returned a coroutine that nobody would await: make it an async def")
