"""A client of the live stream: what is sent to it, and when."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from taskflow.admin.feed.messages import Change
from taskflow.admin.feed.ring import BehindError, Ring
from taskflow.admin.feed.sse import frame

__all__ = ["TICK", "Client", "Ticket"]

TICK = 0.2
"""Seconds between two chunks of changes."""

AFTER_RESET = 2.0
"""Seconds without messages after a client was told to load everything again."""

HEARTBEAT_INTERVAL = 15.0
"""Seconds without a message until a comment is sent: proxies close a connection that looks idle."""

LIFETIME = 120.0
"""Seconds until a stream ends by itself, see `Client.chunks`."""

RECONNECT = 2_000
"""Milliseconds after which a browser is to reconnect."""


def always() -> bool:
    """Valid for ever: there is no session."""
    return True


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a client's request says.

    Attributes:
        last_event_id: the position of the last message that the client got, if it reconnects.
        lasts: whether its session is still valid.
    """

    last_event_id: str | None = None
    lasts: Callable[[], bool] = always


class News(Protocol):
    """Messages that are sent besides the changes.

    Attributes:
        message: the latest; ``None`` before the first.
    """

    message: bytes | None


class Client:
    """A client of the stream.

    Args:
        ring: the messages.
        ticket: what its request says.
        phase: seconds, less than `TICK`, by which its ticks come before those of other groups.

    Attributes:
        closed: set it to end the stream.
    """

    def __init__(self, ring: Ring[Change], ticket: Ticket, phase: float) -> None:
        self.closed = asyncio.Event()
        self._ring = ring
        self._phase = phase
        self._missed_some = False
        self._rest = 0.0
        self._next = ring.end
        self._lasts = ticket.lasts
        if ticket.last_event_id:
            self._resume(ticket.last_event_id)

    def _resume(self, last_event_id: str) -> None:
        try:
            self._next = self._ring.resume(last_event_id)
        except BehindError:
            self._missed_some = True

    async def chunks(self, news: News | None = None) -> AsyncGenerator[bytes, None]:
        """The chunks to send, until `closed` is set, the session ends, or `LIFETIME` is over.

        A server that replaces a worker after so many requests waits for the open ones, and tells nobody:
        meanwhile nobody may listen. A client that reconnects goes on where it was. Half of the time is
        random, so that not all clients reconnect at once.
        """
        yield format_sse_event(id=self._ring.position(self._next), retry=RECONNECT)
        shown: bytes | None = None
        sent_at = time.monotonic()
        ends_at = sent_at + LIFETIME * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        while not self.closed.is_set() and self._lasts() and time.monotonic() < ends_at:
            chunk = self._changes()
            if news is not None and news.message is not shown:
                shown = news.message
                chunk += shown or b""
            if not chunk and time.monotonic() - sent_at >= HEARTBEAT_INTERVAL:
                chunk = KEEPALIVE_COMMENT
            if chunk:
                yield chunk
                sent_at = time.monotonic()
            await self._tick()

    def _changes(self) -> bytes:
        try:
            chunk, self._next = self._ring.chunk(self._next)
        except BehindError:
            self._missed_some = True
        if not self._missed_some:
            return chunk
        # The client has to load everything again, so what follows in the ring is of no use to it. The
        # pause keeps it from doing so all the time while more happens than it can follow.
        self._missed_some = False
        self._next = self._ring.end
        self._rest = AFTER_RESET
        return frame("reset", {}, self._ring.position(self._next))

    async def _tick(self) -> None:
        """Return at the next tick, or when it is closed."""
        pause = TICK - (asyncio.get_running_loop().time() + self._phase) % TICK + self._rest
        self._rest = 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self.closed.wait()
