"""Rows in the memory of the process: for tests, and for several managers of one process."""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.core.query import Cursor, TaskQuery, microseconds
from taskflow.persistence.backend import (
    APPLIED,
    FIXED,
    LOST,
    MISSING,
    NAMESPACE,
    Change,
    Outcome,
    SnapshotBackend,
    StatusTotal,
    check_namespace,
)
from taskflow.persistence.rows import RELEASED, TaskRow, listed, to_record

__all__ = ["MemoryBackend"]


class MemoryBackend(SnapshotBackend):
    """Stores rows in this object, and loses them with it.

    Also the simplest implementation of the contract, to compare the others with.

    Args:
        namespace: as that of the other backends. Each object is a store of its own, so that there is
            nothing that it keeps apart.

    Raises:
        ConfigurationError: the namespace is not valid.
    """

    kind: ClassVar[str] = "memory"

    def __init__(self, *, namespace: str = NAMESPACE) -> None:
        self.namespace = check_namespace(namespace)
        self._incarnation = uuid.uuid4().hex
        self._rows: dict[str, TaskRow] = {}
        self._leases: dict[str, int] = {}
        self._declared: dict[tuple[str, str], float] = {}

    async def open(self) -> None:
        """Nothing is needed."""

    async def close(self) -> None:
        """Nothing to do: the rows stay in the object."""

    async def incarnation(self) -> str:
        return self._incarnation

    async def save(self, rows: Sequence[TaskRow]) -> None:
        for row in rows:
            stored = self._rows.get(row.task_id)
            if stored is None or not stored.durable or (stored.owner is None and stored.status is row.status):
                self._rows[row.task_id] = replace(row, held_key=stored.held_key if stored else None)

    async def get(self, task_id: str) -> TaskRow | None:
        return self._rows.get(task_id)

    async def find(self, query: TaskQuery) -> list[TaskRow]:
        found = [row for row in self._rows.values() if query.matches(to_record(row))]
        return [listed(row) for row in sorted(found, key=_place, reverse=True)[: query.limit]]

    async def count(self) -> dict[TaskStatus, StatusTotal]:
        durations: dict[TaskStatus, list[float | None]] = defaultdict(list)
        for row in self._rows.values():
            durations[row.status].append(row.duration)
        return {status: _total(values) for status, values in durations.items()}

    async def prune(self, before: datetime, limit: int = 10_000) -> int:
        moment = microseconds(before)
        old = [row.task_id for row in self._rows.values() if row.ended is not None and row.ended < moment]
        for task_id in old[:limit]:
            del self._rows[task_id]
        return len(old[:limit])

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> Outcome:
        row, stored = change.row, self._rows.get(change.row.task_id)
        if stored is None:
            return self._insert(row) if change.expected is None else MISSING
        if change.expected == (stored.owner, stored.status):
            kept: dict[str, Any] = {name: getattr(stored, name) for name in FIXED}
            held_key = stored.held_key if row.held_key is not None else None
            self._rows[row.task_id] = replace(row, held_key=held_key, **kept)
            return APPLIED
        if (row.owner, row.status) == (stored.owner, stored.status):
            return APPLIED
        return LOST if change.expected is not None else Outcome(applied=False, holder=row.task_id)

    def _insert(self, row: TaskRow) -> Outcome:
        if row.held_key is not None:
            for other in self._rows.values():
                if (other.func_name, other.held_key) == (row.func_name, row.held_key):
                    return Outcome(applied=False, holder=other.task_id)
        self._rows[row.task_id] = replace(row)
        return APPLIED

    async def claimable(
        self, names: Collection[str], limit: int, *, after: Cursor | None = None
    ) -> list[TaskRow]:
        found = (row for row in self._ownerless() if not _can_run(row) or row.func_name in names)
        return sorted((row for row in found if after is None or row.cursor > after), key=_place)[:limit]

    async def unclaimable(self, names: Collection[str]) -> dict[str, int]:
        rows = (row for row in self._ownerless() if _can_run(row) and row.func_name not in names)
        return dict(Counter(row.func_name for row in rows))

    def _ownerless(self) -> Iterator[TaskRow]:
        lasting = {token for token, beats in self._leases.items() if beats}
        return (r for r in self._rows.values() if r.status not in TERMINAL and r.owner not in lasting)

    async def declare(self, functions: Mapping[str, str], seconds: float) -> list[tuple[str, str]]:
        now = time.monotonic()
        self._declared |= dict.fromkeys(functions.items(), now + seconds)
        self._declared = {each: until for each, until in self._declared.items() if until > now}
        return sorted((n, place) for n, place in self._declared if functions.get(n, place) != place)

    async def acquire(self, token: str, *, previous: str | None = None) -> None:
        owners = {row.owner for row in self._rows.values()}
        self._leases = {name: beats for name, beats in self._leases.items() if beats or name in owners}
        self._leases[token] = 1
        for row in list(self._rows.values()):
            if previous is not None and row.owner == previous:
                self._rows[row.task_id] = replace(row, owner=token)

    async def renew(self, token: str) -> bool:
        if not self._leases.get(token):
            return False
        self._leases[token] += 1
        return True

    async def leases(self) -> dict[str, int]:
        return dict(self._leases)

    async def expire(self, token: str, beats: int) -> bool:
        if not beats or self._leases.get(token) != beats:
            return False
        del self._leases[token]
        return True

    async def release(self, token: str) -> None:
        if token in self._leases:
            self._leases[token] = 0


def _place(row: TaskRow) -> Cursor:
    return row.cursor


def _can_run(row: TaskRow) -> bool:
    return row.durable or row.owner == RELEASED


def _total(durations: Sequence[float | None]) -> StatusTotal:
    timed = [seconds for seconds in durations if seconds is not None]
    return StatusTotal(len(durations), len(timed), sum(timed))
