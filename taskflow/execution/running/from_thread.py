"""Letting `anyio.from_thread` work in threads that are not anyio's own.

anyio's own threads do not serve: Python waits for them at the end of a process, however long a sync
function takes. Two names of anyio that are needed here are private. Where they are missing or differ,
sync functions run all the same, and `anyio.from_thread` says in them that it cannot be used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anyio.lowlevel import EventLoopToken, current_token

__all__ = ["event_loop_token", "reachable"]

logger = logging.getLogger("taskflow")

try:
    from anyio._core._eventloop import claim_worker_thread, threadlocals
except ImportError:  # a later anyio
    logger.warning("anyio.from_thread cannot be used in sync tasks: this version of anyio is not known")
    KNOWN = False
else:
    KNOWN = True


def event_loop_token() -> EventLoopToken | None:
    """What stands for the running event loop; ``None`` if anyio cannot be used with it."""
    try:
        return current_token() if KNOWN else None
    except RuntimeError:  # no asyncio task is current
        return None


@contextmanager
def reachable(token: EventLoopToken | None) -> Iterator[Any]:
    """Let `anyio.from_thread` in this thread reach the event loop of the token."""
    if token is None:
        yield
        return
    with claim_worker_thread(token.backend_class, token.native_token):
        threadlocals.current_cancel_scope = None  # `anyio.from_thread.check_cancelled` finds nothing
        try:
            yield
        finally:
            del threadlocals.current_cancel_scope
