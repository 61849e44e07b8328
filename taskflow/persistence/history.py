"""Reads records: those in memory and those in the backend, as one listing."""

from __future__ import annotations

import asyncio
import functools
import heapq
import operator
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.query import MAX_PAGE, Cursor, TaskQuery
from taskflow.core.running import sliced
from taskflow.execution.store import TaskStore
from taskflow.persistence.backend import SnapshotBackend, StatusTotal
from taskflow.persistence.rows import to_record

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
        memory = await self._memory()
        wanted = query.limit + 1  # one more than asked for, to know whether there is another page
        records: list[TaskRecord] = []
        async for part in sliced(memory.values()):
            records = _newest(wanted, [*records, *filter(query.matches, part)])
        if self._backend is not None:
            # If memory fills the page, stored records after its last one are not on the page.
            last = Cursor.of(records[-1]) if len(records) == wanted else None
            stored = [record async for record in self._stored(self._backend, query, memory, wanted, last)]
            records = _newest(wanted, records + stored)
        if len(records) < wanted:
            return Page(records, None)
        return Page(records[:-1], Cursor.of(records[-2]))

    async def totals(self) -> dict[TaskStatus, StatusTotal]:
        """The number and the durations of the records in each state that has any."""
        if self._backend is None or self._unsaved is None:
            return await self._memory_totals()
        return await self._cache.get("totals", functools.partial(_count, self._backend, self._unsaved))

    async def _memory(self) -> dict[str, TaskRecord]:
        unsaved = () if self._unsaved is None else self._unsaved.unsaved()
        memory: dict[str, TaskRecord] = {}
        async for part in sliced([*unsaved, *self._store.list()]):
            memory |= {record.task_id: record for record in part}
        return memory

    async def _memory_totals(self) -> dict[TaskStatus, StatusTotal]:
        counts: dict[TaskStatus, int] = defaultdict(int)
        durations: dict[TaskStatus, list[float]] = defaultdict(list)
        async for part in sliced((await self._memory()).values()):
            for record in part:
                counts[record.status] += 1
                if record.duration is not None:
                    durations[record.status].append(record.duration)
        return {
            status: StatusTotal(count, len(durations[status]), sum(durations[status]))
            for status, count in counts.items()
        }

    async def _stored(
        self,
        backend: SnapshotBackend,
        query: TaskQuery,
        memory: dict[str, TaskRecord],
        wanted: int,
        last: Cursor | None,
    ) -> AsyncIterator[TaskRecord]:
        """The newest matching records that only the backend has: about ``wanted``, newer than ``last``."""
        part = query.following(query.after, min(wanted, MAX_PAGE))
        while True:
            rows = await self._cache.get(part, functools.partial(backend.find, part))
            for row in rows:
                if last is not None and row.cursor <= last:
                    return
                if row.task_id not in memory:
                    yield to_record(row)
                    wanted -= 1
            if wanted <= 0 or len(rows) < part.limit:
                return
            part = query.following(rows[-1].cursor, part.limit)


def _newest(count: int, records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """The records that come first in the listing. The order is that of `Cursor`; making cursors is slow."""
    return heapq.nlargest(count, records, key=operator.attrgetter("created_at", "task_id"))


async def _count(backend: SnapshotBackend, unsaved: Unsaved) -> dict[TaskStatus, StatusTotal]:
    """Save everything, then let the backend count."""
    await unsaved.flush()
    return await backend.count()


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
