"""Reads records: those in memory and those in the backend, as one listing."""

from __future__ import annotations

import asyncio
import functools
import heapq
import operator
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.query import MAX_PAGE, Cursor, TaskQuery, moment
from taskflow.core.running import SLICE, sliced
from taskflow.execution.indexes.order import LOWEST_ID, Place
from taskflow.execution.store import TaskStore
from taskflow.persistence.backend import SnapshotBackend, StatusTotal
from taskflow.persistence.rows import TaskRow, to_record

__all__ = ["History", "Page", "Unsaved"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, newest first.

    Attributes:
        records: the records.
        next: where the following page begins; ``None`` if there is none.
    """

    records: list[TaskRecord]
    next: Cursor | None


class Unsaved(Protocol):
    """Knows the records that are not in the backend yet."""

    def unsaved(self) -> Iterable[TaskRecord]:
        """The records; some may have left the store since."""

    async def flush(self) -> None:
        """Save them now."""


class History:
    """Reads the records of this process and of the backend. A record in memory replaces its stored copy.

    Args:
        store: the records in memory.
        backend: has the other records; ``None`` if there is none.
        unsaved: knows the records that are not stored yet.
        ttl: seconds for which answers of the backend are cached.

    Every method raises `BackendError` if the backend fails.
    """

    def __init__(
        self,
        store: TaskStore,
        backend: SnapshotBackend | None = None,
        unsaved: Unsaved | None = None,
        ttl: float = 5.0,
    ) -> None:
        self._store = store
        self._backend = backend
        self._unsaved = unsaved
        self._cache = _Cache(ttl)

    async def get(self, task_id: str) -> TaskRecord | None:
        """The record with this id, or ``None``."""
        record = self._store.get(task_id)
        if record is None and self._unsaved is not None:
            record = next((r for r in self._unsaved.unsaved() if r.task_id == task_id), None)
        if record is not None or self._backend is None:
            return record
        row = await self._backend.get(task_id)
        return None if row is None else to_record(row)

    async def page(self, query: TaskQuery) -> Page:
        """The records asked for, newest first, and where the next page begins.

        Those of the backend lack arguments, logs and traceback, and have the beginning of the error.
        """
        wanted = query.limit + 1  # one more than asked for, to know whether there is another page
        found = {record.task_id: record for record in await self._in_store(query, wanted)}
        evicted = await self._evicted()
        async for part in sliced(evicted.values()):
            found |= {record.task_id: record for record in part if query.matches(record)}
        records = _newest(wanted, found.values())
        if self._backend is not None:
            # If memory fills the page, stored records after its last one are not on the page.
            last = Cursor.of(records[-1]) if len(records) == wanted else None
            memory = _Memory(self._store, evicted, found)
            stored = [record async for record in self._stored(self._backend, query, memory, wanted, last)]
            records = _newest(wanted, records + stored)
        if len(records) < wanted:
            return Page(records, None)
        return Page(records[:-1], Cursor.of(records[-2]))

    async def _in_store(self, query: TaskQuery, wanted: int) -> list[TaskRecord]:
        """The newest matching records in the store, about ``wanted``; no more are looked at than needed."""
        found: list[TaskRecord] = []
        looked_at = 0
        for part in self._store.newest_first(_beginning(query)):
            found += filter(query.matches, part)
            if len(found) >= wanted or _is_too_old(query, part):
                break
            looked_at += len(part)
            if looked_at >= SLICE:
                looked_at = 0
                await asyncio.sleep(0)
        return found

    async def _evicted(self) -> dict[str, TaskRecord]:
        """The records that are no longer in the store, and not yet in the backend as they are."""
        evicted: dict[str, TaskRecord] = {}
        if self._unsaved is not None:
            async for part in sliced(self._unsaved.unsaved()):
                evicted |= {record.task_id: record for record in part if record not in self._store}
        return evicted

    async def totals(self) -> dict[TaskStatus, StatusTotal]:
        """The number and the durations of the records in each state that has any."""
        totals, _ = await self.counted(_nothing)
        return totals

    async def counted(self, ask: Callable[[], T]) -> tuple[dict[TaskStatus, StatusTotal], T]:
        """The totals, and what ``ask`` answered when they were counted.

        The same answer may be given again for some seconds. Whoever knows what this process has done
        since, from what ``ask`` told, can add it.
        """
        if self._backend is None or self._unsaved is None:
            return await self._memory_totals(), ask()
        return await self._cache.get(
            ("totals", ask), functools.partial(_count, self._backend, self._unsaved, ask)
        )

    @property
    def stored(self) -> bool:
        """Whether there is a backend."""
        return self._backend is not None

    async def _memory_totals(self) -> dict[TaskStatus, StatusTotal]:
        counts: dict[TaskStatus, int] = defaultdict(int)
        durations: dict[TaskStatus, list[float]] = defaultdict(list)
        for part in self._store.newest_first():
            for record in part:
                counts[record.status] += 1
                if record.duration is not None:
                    durations[record.status].append(record.duration)
            await asyncio.sleep(0)
        return {
            status: StatusTotal(count, len(durations[status]), sum(durations[status]))
            for status, count in counts.items()
        }

    async def _stored(
        self,
        backend: SnapshotBackend,
        query: TaskQuery,
        memory: _Memory,
        wanted: int,
        last: Cursor | None,
    ) -> AsyncIterator[TaskRecord]:
        """The newest matching records that memory did not have: about ``wanted``, newer than ``last``."""
        part = query.following(query.after, min(wanted, MAX_PAGE))
        while True:
            rows = await self._cache.get(part, functools.partial(backend.find, part))
            for row in rows:
                if last is not None and row.cursor <= last:
                    return
                if (record := memory.instead_of(row, query)) is not None:
                    yield record
                    wanted -= 1
            if wanted <= 0 or len(rows) < part.limit:
                return
            part = query.following(rows[-1].cursor, part.limit)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a page knows of the records in memory, which replace those of the backend.

    Attributes:
        store: the records in memory.
        evicted: those that it has no more, and the backend not yet.
        found: those that are on the page already, or would be if it were longer.
    """

    store: TaskStore
    evicted: Mapping[str, TaskRecord]
    found: Mapping[str, TaskRecord]

    def instead_of(self, row: TaskRow, query: TaskQuery) -> TaskRecord | None:
        """The record that a matching row of the backend stands for; ``None`` if it is not to be listed."""
        if row.task_id in self.found:
            return None
        record = self.store.get(row.task_id) or self.evicted.get(row.task_id)
        if record is None:
            return to_record(row)
        # It was not found in memory: it does not match as it is now, or it came during the search.
        return record if query.matches(record) else None


def _beginning(query: TaskQuery) -> Place | None:
    """Where the listing begins; ``None`` for the newest record of all."""
    places: list[Place] = []
    if query.after is not None:
        places.append((moment(query.after.created), query.after.task_id))
    if query.until is not None:
        places.append((query.until, LOWEST_ID))
    return min(places, default=None)


def _is_too_old(query: TaskQuery, part: list[TaskRecord]) -> bool:
    """Whether no record after these can match."""
    return bool(part) and query.since is not None and part[-1].created_at < query.since


def _newest(count: int, records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """The records that come first in the listing. The order is that of `Cursor`; making cursors is slow."""
    return heapq.nlargest(count, records, key=operator.attrgetter("created_at", "task_id"))


async def _count(
    backend: SnapshotBackend, unsaved: Unsaved, ask: Callable[[], T]
) -> tuple[dict[TaskStatus, StatusTotal], T]:
    """Save everything, then let the backend count."""
    await unsaved.flush()
    answer = ask()
    if unsaved.unsaved():  # what changed during the flush; what changes from here on, the answer leaves out
        await unsaved.flush()
    return await backend.count(), answer


def _nothing() -> None:
    """Asked of somebody who wants only the totals."""


class _Cache:
    """Caches answers for ``ttl`` seconds. Callers with the same key share one question to the backend."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._answers: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    async def get(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        now, loop = time.monotonic(), asyncio.get_running_loop()
        if loop is not self._loop:  # the manager was started again
            self._loop, self._answers = loop, {}
        self._answers = {k: kept for k, kept in self._answers.items() if kept[0] > now}
        if key not in self._answers:
            self._answers[key] = (now + self._ttl, loop.create_task(ask()))
        answer = self._answers[key][1]
        try:
            return await asyncio.shield(answer)
        finally:
            if answer.done() and (answer.cancelled() or answer.exception() is not None):
                self._answers.pop(key, None)
