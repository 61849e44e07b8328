"""Rows in PostgreSQL: each statement is a transaction of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from taskflow.backends.postgres_rows import (
    KIND,
    RARE,
    Result,
    change_arrays,
    listing,
    row_of,
    save_arrays,
    searches,
    sql,
)
from taskflow.core.checks import check_bool, check_int, check_seconds, is_storable, not_installed
from taskflow.core.exceptions import ConfigurationError
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

if TYPE_CHECKING:  # needs the extra
    from taskflow.backends.postgres_server import ConnectionPool

__all__ = ["PostgresBackend"]

NAMES: Final = re.compile("[a-z_][a-z0-9_]{0,62}")

INHERITED_AT_ONCE: Final = 5_000
"""Rows that one transaction gives to a new lease."""

START: Final = Cursor(-(2**63), "")
"""A place before all rows."""


class PostgresBackend(SnapshotBackend):
    """Stores rows in a PostgreSQL database, for one or more instances.

    Commits survive a crash, unless the server has ``synchronous_commit`` or ``fsync`` off. No session
    state and no prepared statements are used, so that a proxy in transaction mode (PgBouncer) works. The
    encoding of the database must be UTF8.

    Args:
        dsn: ``postgresql://[user[:password]@]host[:port]/database``, or anything else that libpq takes.
        schema: schema of the tables, created if it does not exist.
        max_connections: most connections of this instance.
        timeout: seconds after which an operation fails, including the wait for a connection.
        namespace: keeps the tasks of several applications in one schema apart: their keys, claims,
            listings and counts. Instances with the same schema and namespace share their rows.
        search_index: make indexes for the filters ``tag`` and ``q``, so that rare text is found at once in
            a long history. Each task then takes longer to store. Once made, they stay, and all instances
            keep them up to date. They need the extension ``pg_trgm``, which is installed if the user may.

    Raises:
        ConfigurationError: an option has a value that it cannot have, or psycopg is not installed.
    """

    kind: ClassVar[str] = KIND

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "taskflow",
        max_connections: int = 4,
        timeout: float = 10.0,
        namespace: str = NAMESPACE,
        search_index: bool = False,
    ) -> None:
        self.namespace = check_namespace(namespace)
        check_bool("search_index", search_index)
        try:
            from taskflow.backends.postgres_server import PostgresServer
        except ImportError as error:
            raise not_installed("dsn", "psycopg[binary]", extra="postgres") from error
        self._server = PostgresServer(dsn, _check_schema(schema), search_index)
        self._max_connections = check_int("max_connections", max_connections, minimum=1)
        self._timeout = check_seconds("timeout", timeout, above=True)
        self._connections: ConnectionPool | None = None

        def twin(limit: float) -> PostgresBackend:
            bounds: dict[str, Any] = {"max_connections": 1, "timeout": min(timeout, limit)}
            return PostgresBackend(dsn, schema=schema, namespace=namespace, **bounds)

        self._twin = twin

    async def open(self) -> None:
        await (await self._opened()).prepare()

    async def close(self) -> None:
        connections, self._connections = self._connections, None
        if connections is not None and connections.loop is asyncio.get_running_loop():
            await connections.close()
        elif connections is not None:  # their loop has ended without this
            await connections.close_idle()

    async def incarnation(self) -> str:
        ((incarnation,),) = await self._ask("incarnation")
        return str(incarnation)

    # History

    async def save(self, rows: Sequence[TaskRow]) -> None:
        if rows:
            await self._ask("save", save_arrays(rows))

    async def get(self, task_id: str) -> TaskRow | None:
        if not is_storable(task_id):
            return None  # no stored row can have this id
        found = await self._ask("get", {"task_id": task_id})
        return row_of(found[0]) if found else None

    async def find(self, query: TaskQuery) -> list[TaskRow]:
        among = await self._few(query) if self._server.search_index else None
        if among is not None and not among:
            return []
        text, parameters = listing(query, self._server.schema, among)
        return [row_of(values) for values in await self._tell(text, parameters)]

    async def _few(self, query: TaskQuery) -> list[str] | None:
        """The ids of all rows that can match, if they are few; ``None`` if the search index does not help."""
        for what, wanted in searches(query):
            found = await self._ask("few", {"wanted": wanted, "most": RARE}, what=what)
            if len(found) < RARE:
                return [task_id for (task_id,) in found]
        return None

    async def count(self) -> dict[TaskStatus, StatusTotal]:
        return {TaskStatus(status): StatusTotal(*total) for status, *total in await self._ask("count")}

    async def prune(self, before: datetime, limit: int = 10_000) -> int:
        """Delete up to ``limit`` rows that ended before a moment, oldest first; returns how many."""
        ((pruned,),) = await self._ask("prune", {"before": microseconds(before), "limit": limit})
        return int(pruned)

    # Durable tasks

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        outcomes: dict[str, Outcome] = {}
        while left := [change for change in changes if change.row.task_id not in outcomes]:
            outcomes |= await self._commit(left)
        return [outcomes[change.row.task_id] for change in changes]

    async def _commit(self, changes: Sequence[Change]) -> dict[str, Outcome]:
        """Outcomes by id. A change is missing if what prevented it has gone meanwhile: it is tried again."""
        written = {task_id for (task_id,) in await self._ask("commit", change_arrays(changes))}
        refused = [change for change in changes if change.row.task_id not in written]
        return dict.fromkeys(written, APPLIED) | (await self._why_not(refused) if refused else {})

    async def _why_not(self, changes: Sequence[Change]) -> dict[str, Outcome]:
        rows = [change.row for change in changes]
        keyed = [row for row in rows if row.held_key is not None]
        parameters = {
            "ids": [row.task_id for row in rows],
            "names": [row.func_name for row in keyed],
            "keys": [row.held_key for row in keyed],
        }
        found = await self._ask("standing", parameters)
        stored = {task_id: (owner, status) for task_id, owner, status, *_ in found}
        holders = {(name, key): task_id for task_id, _, _, name, key in found if key is not None}
        told = ((change.row.task_id, _outcome(change, stored, holders)) for change in changes)
        return {task_id: outcome for task_id, outcome in told if outcome is not None}

    async def claimable(
        self, names: Collection[str], limit: int, *, after: Cursor | None = None
    ) -> list[TaskRow]:
        place = after or START
        bounds = {"created": place.created, "task_id": place.task_id, "limit": limit}
        return [row_of(values) for values in await self._ask_ownerless("claimable", names, bounds)]

    async def unclaimable(self, names: Collection[str]) -> Mapping[str, int]:
        return dict(await self._ask_ownerless("unclaimable", names))

    # Functions

    async def declare(self, functions: Mapping[str, str], seconds: float) -> list[tuple[str, str]]:
        told = {"names": list(functions), "places": list(functions.values()), "seconds": seconds}
        return [(name, place) for name, place in await self._ask("declare", told)]

    # Leases

    async def acquire(self, token: str, *, previous: str | None = None) -> None:
        await self._ask("acquire", {"token": token})
        if previous is not None and previous != token:
            rows = {"token": token, "previous": previous, "limit": INHERITED_AT_ONCE}
            while len(await self._ask("inherit", rows)) == INHERITED_AT_ONCE:
                pass

    async def renew(self, token: str) -> bool:
        return bool(await self._ask("renew", {"token": token}))

    async def leases(self) -> dict[str, int]:
        return dict(await self._ask("leases"))

    async def expire(self, token: str, beats: int) -> bool:
        return bool(await self._ask("expire", {"token": token, "beats": beats}))

    async def release(self, token: str) -> None:
        await self._ask("release", {"token": token})

    def twin(self, timeout: float) -> PostgresBackend:
        return self._twin(timeout)

    # Statements

    async def _ask(self, name: str, parameters: Mapping[str, Any] | None = None, **parts: str) -> Result:
        return await self._tell(sql(name, self._server.schema, **parts), parameters or {})

    async def _tell(self, text: str, parameters: Mapping[str, Any]) -> Result:
        return await (await self._opened()).ask(text, {"namespace": self.namespace, **parameters})

    async def _ask_ownerless(
        self, name: str, names: Collection[str], parameters: Mapping[str, Any] | None = None
    ) -> Result:
        """What a statement tells of the unfinished rows whose owner has no lease."""
        ownerless = sql("ownerless", self._server.schema)
        return await self._ask(name, {"names": list(names), **(parameters or {})}, ownerless=ownerless)

    async def _opened(self) -> ConnectionPool:
        connections = self._connections
        if connections is None or connections.loop is not asyncio.get_running_loop():
            from taskflow.backends.postgres_server import ConnectionPool

            self._connections = ConnectionPool(self._server, self._max_connections, self._timeout)
            if connections is not None:  # their loop has ended without a close
                await connections.close_idle()
            return self._connections
        return connections


def _outcome(
    change: Change,
    stored: Mapping[str, tuple[str | None, str]],
    holders: Mapping[tuple[str, str | None], str],
) -> Outcome | None:
    """The outcome of a change that was not written; ``None`` if it could be written now."""
    row, now = change.row, stored.get(change.row.task_id)
    if now is not None and now == change.expected:
        return None
    if now == (row.owner, row.status):
        return APPLIED
    if change.expected is not None:
        return LOST if now is not None and now[1] else MISSING
    holder = row.task_id if now is not None else holders.get((row.func_name, row.held_key))
    return None if holder is None else Outcome(applied=False, holder=holder)


def _check_schema(schema: str) -> str:
    if not isinstance(schema, str) or not NAMES.fullmatch(schema):
        raise ConfigurationError("schema", schema, "must be at most 63 of a-z, 0-9 and _, no digit first")
    return schema
