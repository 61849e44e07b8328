"""The hub of the live stream: gets events, and gives them to the clients.

Each change is encoded once, however many clients there are, and no client delays another one::

    events, from any thread ──► Ring ──► a chunk at each tick ──► the connections of a group of clients
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Any

from taskflow.admin.feed.client import TICK, Client, Ticket
from taskflow.admin.feed.messages import Change, encode_change, slim
from taskflow.admin.feed.ring import Ring
from taskflow.admin.feed.sse import frame
from taskflow.core.complaints import Complaints
from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.manager import TaskManager

__all__ = ["Hub"]

logger = logging.getLogger("taskflow")

GROUPS = 8
"""Clients are served in groups, one group after the other within a tick, so that no pause is long."""

OVERVIEW_INTERVAL = 1.0
"""Seconds between two overviews while something changes."""
OVERVIEW_AT_REST = 10.0
"""Seconds between two overviews while nothing changes."""
OVERVIEW_SHARE = 0.05
"""Share of the time that overviews may take: with very many records they are made less often."""
COMPLAINT_INTERVAL = 60.0
"""Seconds between two records in the log that say that none could be made."""

LINGER = 60.0
"""Seconds without any client until events are no longer kept. A client that returns before misses none."""

RING_SIZE = 8_192
"""Changes of all tasks that are kept for clients that reconnect."""
TASK_RING_SIZE = 2_048
"""Changes and log lines of one task that are kept."""

MakeOverview = Callable[[], Awaitable[dict[str, Any]]]


class Hub:
    """Reads the event stream while there are clients and for `LINGER` seconds after, and serves them.

    Args:
        task_manager: the manager of the tasks.
        make_overview: makes the overview.

    Attributes:
        closed: whether `close` was called.
    """

    def __init__(self, task_manager: TaskManager, make_overview: MakeOverview) -> None:
        self.closed = False
        self._stream = task_manager.stream
        self._store = task_manager.store
        self._ring = _ring(RING_SIZE)
        self._unsubscribe: Callable[[], None] | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._watched: dict[str, list[Ring[Change]]] = {}
        self._clients: set[Client] = set()
        self._phases = itertools.cycle(TICK * group / GROUPS for group in range(GROUPS))
        self._overviews = Overviews(make_overview, lambda: self._ring.end)

    async def follow(self, ticket: Ticket) -> AsyncGenerator[bytes, None]:
        """Chunks with the changes of all tasks and with overviews, until `close`."""
        self._subscribe()
        client = Client(self._ring, ticket, next(self._phases))
        with self._joined(client), self._overviews.wanted():
            async for chunk in client.chunks(self._overviews):
                yield chunk

    async def follow_task(self, task_id: str, ticket: Ticket) -> AsyncGenerator[bytes, None]:
        """Chunks with the changes and log lines of one task, until `close`."""
        self._subscribe()
        ring = _ring(TASK_RING_SIZE)
        client = Client(ring, ticket, next(self._phases))
        with self._watching(task_id, ring), self._joined(client):
            async for chunk in client.chunks():
                yield chunk

    def close(self) -> None:
        """End all streams; on the event loop."""
        self.closed = True
        for client in self._clients:
            client.closed.set()

    def _subscribe(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        if self._unsubscribe is None:
            self._ring = _ring(RING_SIZE)  # the old one has no events of the time without clients
            self._unsubscribe = self._stream.subscribe(self._receive)

    def _receive(self, event: LifecycleEvent | LogEvent) -> None:
        """Add an event to the rings; from any thread."""
        watchers = self._watched.get(event.task_id, ())
        if isinstance(event, LogEvent):
            for ring in watchers:
                ring.append((event, None))
            return
        record = self._store.get(event.task_id)
        change = (slim(event), None if record is None else record.created_at)
        self._ring.append(change)
        for ring in watchers:
            ring.append(change)

    @contextlib.contextmanager
    def _joined(self, client: Client) -> Iterator[None]:
        self._clients.add(client)
        try:
            yield
        finally:
            self._clients.discard(client)
            if not self._clients:
                self._leaving = asyncio.get_running_loop().call_later(LINGER, self._leave)

    def _leave(self) -> None:
        if not self._clients and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    @contextlib.contextmanager
    def _watching(self, task_id: str, ring: Ring[Change]) -> Iterator[None]:
        # A list is replaced, never changed: other threads may be iterating over it.
        self._watched[task_id] = [*self._watched.get(task_id, ()), ring]
        try:
            yield
        finally:
            left = [other for other in self._watched.pop(task_id) if other is not ring]
            if left:
                self._watched[task_id] = left


def _ring(size: int) -> Ring[Change]:
    return Ring(size, encode_change)


class Overviews:
    """Makes the message with the overview from time to time, while there are clients that want it.

    Args:
        make_overview: makes the overview.
        version: returns another number after each event.

    Attributes:
        message: the latest; ``None`` before the first.
    """

    def __init__(self, make_overview: MakeOverview, version: Callable[[], int]) -> None:
        self.message: bytes | None = None
        self._make_overview = make_overview
        self._version = version
        self._wanted = 0
        self._complaints = Complaints(logger, COMPLAINT_INTERVAL)
        self._maker: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def wanted(self) -> Iterator[None]:
        """Make overviews as long as the block runs."""
        self._wanted += 1
        if self._maker is None or self._maker.get_loop() is not asyncio.get_running_loop():
            # An empty context: the task goes on after the request that starts it.
            self._maker = asyncio.get_running_loop().create_task(self._make(), context=contextvars.Context())
        try:
            yield
        finally:
            self._wanted -= 1
            if not self._wanted and self._maker is not None:
                self._maker.cancel()
                self._maker = self.message = None

    async def _make(self) -> None:
        while True:
            version: int | None = self._version()
            started = time.monotonic()
            try:
                self.message = frame("overview", await self._make_overview())
            except Exception as error:
                self._complaints.log("the overview could not be made", exc_info=error)
                version = None  # make it again after the pause
            else:
                self._complaints.reset()
            rest = max(OVERVIEW_INTERVAL, (time.monotonic() - started) / OVERVIEW_SHARE)
            await asyncio.sleep(rest)
            # No asyncio.Event: events come from any thread, and far more often than an overview is made.
            while self._version() == version and time.monotonic() - started < OVERVIEW_AT_REST:  # noqa: ASYNC110
                await asyncio.sleep(TICK)
