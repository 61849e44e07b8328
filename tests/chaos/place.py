"""Where the application keeps its tasks, and where it leaves its traces."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from taskflow import SnapshotBackend, TaskRecord, TaskStatus
from taskflow.backends import PostgresBackend, RedisBackend, SqliteBackend
from taskflow.core.models import TERMINAL
from taskflow.core.query import MAX_PAGE, Cursor, TaskQuery
from taskflow.persistence.rows import to_record

T = TypeVar("T")

UNFINISHED = frozenset(TaskStatus) - TERMINAL


@dataclass(frozen=True)
class Place:
    """What all instances of the application share, and whoever looks into it from outside.

    Attributes:
        kind: of the backend.
        folder: of the SQLite file, the witness and the logs.
        address: DSN or URL of the server; nothing for SQLite.
        name: schema or prefix of the tasks there.
        key: encrypts the arguments of the tasks, if given.
        lease: seconds; a heartbeat comes three times as often.
        look: seconds between two looks for tasks to take over.
        grace: seconds that tasks get when an instance is stopped.
        slots: how many async tasks an instance runs at once; ``None`` for no limit.
    """

    kind: str
    folder: Path
    address: str = ""
    name: str = "chaos"
    key: bytes | None = None
    lease: float = 0.6
    look: float = 0.2
    grace: float = 10.0
    slots: int | None = None

    @property
    def witness(self) -> Path:
        """What the tasks themselves say."""
        return self.folder / "witness"

    def gate(self, number: int) -> Path:
        """As soon as there is such a file, gated tasks with this number go on."""
        return self.folder / f"gate-{number}"

    def server_log(self, port: int) -> Path:
        """What the instance on a port has to say."""
        return self.folder / f"server-{port}.log"

    def backend(self) -> SnapshotBackend:
        """Another way to the same tasks."""
        if self.kind == "postgres":
            return PostgresBackend(self.address, schema=self.name)
        if self.kind == "redis":
            return RedisBackend(self.address, prefix=f"{{{self.name}}}:")
        return SqliteBackend(self.folder / "tasks.db")

    def history(self) -> dict[str, TaskRecord]:
        """Every task, as it is stored."""
        return self._read(_everything)

    def latest(self) -> list[TaskRecord]:
        """The newest ones of those that have ended."""
        return self._read(lambda backend: _page(backend, TaskQuery(status=TERMINAL, limit=MAX_PAGE)))

    def ended(self) -> int:
        """How many tasks have ended."""
        totals = self._read(lambda backend: backend.count())
        return sum(total.count for status, total in totals.items() if status in TERMINAL)

    def unfinished(self) -> list[TaskRecord]:
        """Tasks that have not ended; some of them, if they are many."""
        return self._read(lambda backend: _page(backend, TaskQuery(status=UNFINISHED, limit=MAX_PAGE)))

    def _read(self, ask: Callable[[SnapshotBackend], Coroutine[Any, Any, T]]) -> T:
        async def read() -> T:
            backend = self.backend()
            await backend.open()
            try:
                return await ask(backend)
            finally:
                await backend.close()

        return asyncio.run(read())


def new_place(kind: str, request: pytest.FixtureRequest, **options: Any) -> Place:
    """A place of which nobody else knows, on the servers of all tests. Skips the test if one is missing."""
    folder: Path = request.getfixturevalue("tmp_path")
    address = ""
    if kind == "postgres":
        address = request.getfixturevalue("postgres").dsn
    elif kind == "redis":
        address = request.getfixturevalue("redis_server").url
    return Place(kind, folder, address, f"chaos_{uuid4().hex}", **options)


async def _page(backend: SnapshotBackend, query: TaskQuery) -> list[TaskRecord]:
    return [to_record(row) for row in await backend.find(query)]


async def _everything(backend: SnapshotBackend) -> dict[str, TaskRecord]:
    found: dict[str, TaskRecord] = {}
    after: Cursor | None = None
    while page := await _page(backend, TaskQuery(limit=MAX_PAGE, after=after)):
        found |= {record.task_id: record for record in page}
        after = Cursor.of(page[-1])
    return found
