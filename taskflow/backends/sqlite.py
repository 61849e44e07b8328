"""Rows in an SQLite file, for one or more processes of one host."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

from taskflow.backends.sqlite_file import KIND, ConnectionThreads, SqliteFile, check_path, transaction
from taskflow.backends.sqlite_rows import (
    INSERT,
    NAMED,
    SAVE,
    insert_values,
    listing,
    row_of,
    save_values,
    update,
)
from taskflow.backends.sqlite_search import few
from taskflow.backends.statements import statement
from taskflow.core.checks import check_bool, check_seconds
from taskflow.core.models import TaskStatus
from taskflow.core.query import Cursor, TaskQuery, microseconds
from taskflow.persistence.backend import (
    APPLIED,
    LOST,
    MISSING,
    NAMESPACE,
    Change,
    Outcome,
    SnapshotBackend,
    StatusTotal,
    check_namespace,
)
from taskflow.persistence.rows import TaskRow

__all__ = ["SqliteBackend"]

T = TypeVar("T")

READERS: Final = 3
"""Threads that read: a slow search of the whole history must not delay other queries."""

PRUNED_AT_ONCE: Final = 1_000
"""Most rows that one transaction deletes: commits of tasks wait for it."""

INHERITED_AT_ONCE: Final = 5_000
"""Rows that one transaction gives to a new lease."""

OWNERS_AT_ONCE: Final = 200
"""Most owners in one statement. SQLite allows 500 parts of a UNION."""

ONE: Final = "task_id = :task_id AND namespace = :namespace"

START = Cursor(-(2**63), "")
"""A place before all rows."""


class SqliteBackend(SnapshotBackend):
    """Stores rows in a file, which several processes of one host may share.

    Commits are durable (``synchronous=FULL``). The file is in WAL mode: readers and the writer do not wait
    for each other. It must be on a local disk, because WAL mode needs memory that the processes share.

    Args:
        path: the file; created if it does not exist.
        busy_timeout: seconds that a write waits for those of other processes.
        namespace: keeps the tasks of several applications in one file apart: their keys, claims,
            listings and counts. Instances with the same one share their rows.
        search_index: make an index for the filters ``tag`` and ``q``, so that rare text is found at once in
            a long history. Each new task then takes longer to store. Once made, the index stays in the file,
            and all instances keep it up to date. It needs SQLite 3.34 or newer, with FTS5.

    Raises:
        ConfigurationError: an argument has a value that it cannot have, or the folder is missing.
    """

    kind: ClassVar[str] = KIND

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        busy_timeout: float = 5.0,
        namespace: str = NAMESPACE,
        search_index: bool = False,
    ) -> None:
        self.namespace = check_namespace(namespace)
        wait = check_seconds("busy_timeout", busy_timeout)
        indexed = check_bool("search_index", search_index)
        file = self._file = SqliteFile(check_path(path), wait, indexed)
        self._writer = ConnectionThreads(file, threads=1)
        self._readers = ConnectionThreads(file, threads=READERS)

    async def open(self) -> None:
        await self._writer.run(lambda connection: None)  # connecting makes, migrates and checks the file

    async def close(self) -> None:
        await self._readers.close()
        await self._writer.close()

    async def incarnation(self) -> str:
        return await self._write(_incarnation)

    # History

    async def save(self, rows: Sequence[TaskRow]) -> None:
        await self._write(partial(_save, rows, self.namespace))

    async def get(self, task_id: str) -> TaskRow | None:
        text = statement(KIND, "select", columns=NAMED, table="tasks", conditions=ONE)
        found = await self._read(text, {"task_id": task_id}, _rows)
        return found[0] if found else None

    async def find(self, query: TaskQuery) -> list[TaskRow]:
        if not self._file.search_index:
            return await self._read(*listing(query, self.namespace), _rows)
        return await self._readers.run(partial(_find_indexed, query, self.namespace))

    async def count(self) -> dict[TaskStatus, StatusTotal]:
        return await self._read(statement(KIND, "count"), {}, _totals)

    async def prune(self, before: datetime, limit: int = 10_000) -> int:
        """Delete up to ``limit`` rows that ended before a moment, oldest first; returns how many."""
        pruned = 0
        while pruned < limit:
            some = min(limit - pruned, PRUNED_AT_ONCE)
            parameters = {"before": microseconds(before), "limit": some}
            deleted = await self._execute(statement(KIND, "prune"), parameters)
            pruned += deleted
            if deleted < some:
                break
        return pruned

    # Durable tasks

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        return await self._write(partial(_commit, changes, self.namespace))

    async def claimable(
        self, names: Collection[str], limit: int, *, after: Cursor | None = None
    ) -> list[TaskRow]:
        owners = await self._ownerless()
        parts = [owners[n : n + OWNERS_AT_ONCE] for n in range(0, len(owners), OWNERS_AT_ONCE)]
        found = []
        for part in parts:
            found += await self._read(*_claims(part, names, limit, after or START), _rows)
        return sorted(found, key=_place)[:limit]

    async def unclaimable(self, names: Collection[str]) -> Mapping[str, int]:
        parameters = {"owners": json.dumps(await self._ownerless()), "names": json.dumps(list(names))}
        return await self._read(statement(KIND, "unclaimable"), parameters, dict)

    async def _ownerless(self) -> list[str]:
        """Owners of unfinished rows that have no lease, or a released one."""
        return await self._read(statement(KIND, "ownerless"), {}, _first_column)

    # Functions

    async def declare(self, functions: Mapping[str, str], seconds: float) -> list[tuple[str, str]]:
        return await self._write(partial(_declare, functions, seconds, self.namespace))

    # Leases

    async def acquire(self, token: str, *, previous: str | None = None) -> None:
        await self._execute(statement(KIND, "forget"), {})
        await self._execute(statement(KIND, "acquire"), {"token": token})
        if previous is not None and previous != token:
            rows = {"token": token, "previous": previous, "limit": INHERITED_AT_ONCE}
            while await self._execute(statement(KIND, "inherit"), rows) == INHERITED_AT_ONCE:
                pass

    async def renew(self, token: str) -> bool:
        text = "UPDATE leases SET beats = beats + 1 WHERE token = :token AND beats > 0"
        return await self._execute(text, {"token": token}) == 1

    async def leases(self) -> dict[str, int]:
        return await self._read("SELECT token, beats FROM leases WHERE namespace = :namespace", {}, dict)

    async def expire(self, token: str, beats: int) -> bool:
        text = "DELETE FROM leases WHERE token = :token AND beats = :beats AND beats > 0"
        return await self._execute(text, {"token": token, "beats": beats}) == 1

    async def release(self, token: str) -> None:
        await self._execute("UPDATE leases SET beats = 0 WHERE token = :token", {"token": token})

    def twin(self, timeout: float) -> SqliteBackend:
        return SqliteBackend(
            self._file.path, busy_timeout=min(self._file.busy_timeout, timeout), namespace=self.namespace
        )

    # In threads

    async def _read(
        self, text: str, parameters: Mapping[str, Any], fetch: Callable[[sqlite3.Cursor], T]
    ) -> T:
        asked = {"namespace": self.namespace, **parameters}
        return await self._readers.run(lambda connection: fetch(connection.execute(text, asked)))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._writer.run(partial(transaction, work=work))

    async def _execute(self, text: str, parameters: Mapping[str, Any]) -> int:
        """Run a statement; returns how many rows it changed."""
        asked = {"namespace": self.namespace, **parameters}
        return await self._write(lambda connection: connection.execute(text, asked).rowcount)


# Reading


def _find_indexed(query: TaskQuery, namespace: str, connection: sqlite3.Connection) -> list[TaskRow]:
    return _rows(connection.execute(*listing(query, namespace, few(query, connection))))


def _rows(result: sqlite3.Cursor) -> list[TaskRow]:
    return [row_of(values) for values in result]


def _first_column(result: sqlite3.Cursor) -> list[str]:
    return [value for (value,) in result]


def _totals(result: sqlite3.Cursor) -> dict[TaskStatus, StatusTotal]:
    return {TaskStatus(status): StatusTotal(*total) for status, *total in result}


def _place(row: TaskRow) -> Cursor:
    return row.cursor


def _claims(
    owners: Sequence[str], names: Collection[str], limit: int, after: Cursor
) -> tuple[str, dict[str, Any]]:
    """The statement for the claimable rows of these owners, and its parameters."""
    parts = (statement(KIND, "claimable", columns=NAMED, owner=f":owner_{n}") for n in range(len(owners)))
    parameters: dict[str, Any] = {f"owner_{n}": owner for n, owner in enumerate(owners)}
    parameters |= {"names": json.dumps(list(names)), "limit": limit}
    parameters |= {"created": after.created, "task_id": after.task_id}
    return f"{' UNION ALL '.join(parts)} ORDER BY created, task_id LIMIT :limit", parameters


# Writing, within a transaction


def _save(rows: Sequence[TaskRow], namespace: str, connection: sqlite3.Connection) -> None:
    connection.executemany(SAVE, ((*save_values(row), namespace) for row in rows))


def _commit(changes: Sequence[Change], namespace: str, connection: sqlite3.Connection) -> list[Outcome]:
    cursor = connection.cursor()
    return [_apply(change, namespace, cursor) for change in changes]


def _apply(change: Change, namespace: str, cursor: sqlite3.Cursor) -> Outcome:
    if change.expected is None:
        cursor.execute(INSERT, (*insert_values(change.row), namespace))
    else:
        cursor.execute(*update(change.row, *change.expected, namespace))
    return APPLIED if cursor.rowcount else _why_not(change, namespace, cursor)


def _why_not(change: Change, namespace: str, cursor: sqlite3.Cursor) -> Outcome:
    row = change.row
    # Whatever its namespace: an id is unique in the whole file.
    cursor.execute("SELECT owner, status, namespace FROM tasks WHERE task_id = ?", (row.task_id,))
    stored = cursor.fetchone()
    if stored == (row.owner, row.status, namespace):
        return APPLIED
    if change.expected is not None:
        return LOST if stored is not None and stored[-1] == namespace else MISSING
    if stored is not None:
        return Outcome(applied=False, holder=row.task_id)
    text = "SELECT task_id FROM tasks WHERE namespace = ? AND func_name = ? AND held_key = ?"
    cursor.execute(text, (namespace, row.func_name, row.held_key))
    (holder,) = cursor.fetchone()
    return Outcome(applied=False, holder=holder)


def _incarnation(connection: sqlite3.Connection) -> str:
    # There is one, unless somebody has emptied that table.
    text = "INSERT INTO store SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM store)"
    connection.execute(text)
    (incarnation,) = connection.execute("SELECT min(incarnation) FROM store").fetchone()
    return str(incarnation)


def _declare(
    functions: Mapping[str, str], seconds: float, namespace: str, connection: sqlite3.Connection
) -> list[tuple[str, str]]:
    now = time.time()
    connection.execute("DELETE FROM declared WHERE expires <= ?", (now,))
    told = ((namespace, name, place, now + seconds) for name, place in functions.items())
    connection.executemany(statement(KIND, "declare"), told)
    text = "SELECT func_name, code_function FROM declared WHERE namespace = ? ORDER BY 1, 2"
    found = connection.execute(text, (namespace,))
    return [(name, place) for name, place in found if functions.get(name, place) != place]
