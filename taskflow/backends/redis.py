"""Rows in Redis: a hash for each row, sorted sets as indexes, and Lua scripts for all changes."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Final

from taskflow.backends.redis_text import KIND, LISTED, as_insert, as_json, as_update, read_rows
from taskflow.core.checks import check_seconds, check_storable, check_text, is_utf8, not_installed
from taskflow.core.exceptions import BackendFormatError, ConfigurationError
from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.core.query import Cursor, TaskQuery, microseconds
from taskflow.core.running import CODEC_SLICE
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
    from taskflow.backends.redis_connection import RedisConnection

__all__ = ["RedisBackend"]

LAYOUT: Final = 1
"""Number of the layout that ``lua/rows.lua`` describes."""

REFUSED: Final = {None: LOST, 0: MISSING}
"""What ``lua/commit.lua`` returns for a change that was not applied, other than the id of the holder."""

LOOKS = 1_000
"""Most rows that one call of a script reads: Redis does nothing else meanwhile, for some milliseconds."""

DELETIONS = 250
"""Most rows that one call of a script deletes, for the same reason."""

INHERITED_AT_ONCE: Final = 250
"""Rows that one call of a script gives to a new lease, for the same reason."""

HASH_TAG = 'must have a hash tag, "{name}": all keys then lie in one slot of a cluster'

logger = logging.getLogger("taskflow")


class RedisBackend(SnapshotBackend):
    """Stores rows in a Redis, for one or more instances.

    How durable they are depends on the server. With ``appendonly yes``, a crash of Redis, of its machine or
    a busy disk may lose the last two seconds; with ``appendfsync always``, nothing is lost. The server
    must not evict keys. `open` logs a warning if the server is configured otherwise.

    In a cluster, the URL must name the node that has the slot of the prefix.

    Args:
        url: ``redis://[user:password@]host[:port][/database]``, ``rediss://`` for TLS, or ``unix://path``.
        prefix: beginning of the names of all its keys.
        timeout: seconds for each step: to connect, to send a request, to receive an answer.
        namespace: keeps the tasks of several applications under one prefix apart: their keys, claims,
            listings and counts. Instances with the same prefix and namespace share their rows.

    Raises:
        ConfigurationError: an option has a value that it cannot have, or redis-py is not installed.
    """

    kind: ClassVar[str] = KIND

    def __init__(
        self, url: str, *, prefix: str = "{taskflow}:", timeout: float = 5.0, namespace: str = NAMESPACE
    ) -> None:
        self.namespace = check_namespace(namespace)
        try:
            from taskflow.backends.redis_connection import RedisAddress
        except ImportError as error:
            raise not_installed("url", "redis", extra="redis") from error
        self._address = RedisAddress(url, check_seconds("timeout", timeout, above=True))
        self._prefix = _check_prefix(prefix)
        if namespace != NAMESPACE:
            self._prefix += f"namespace:{namespace}:"
        self._connection: RedisConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._warned = False

        def twin(limit: float) -> RedisBackend:
            return RedisBackend(url, prefix=prefix, timeout=min(timeout, limit), namespace=namespace)

        self._twin = twin

    async def open(self) -> None:
        connection = await self._opened()
        if not self._warned:
            for warning in _warnings(await connection.info()):
                logger.warning("redis at %s %s", self._address, warning)
            self._warned = True

    async def close(self) -> None:
        connection, self._connection, self._warned = self._connection, None, False
        if connection is not None and self._loop is asyncio.get_running_loop():
            await connection.close()

    async def _opened(self) -> RedisConnection:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the one before may have ended without a close: it took the connections
            self._loop, self._connection = loop, None
        if self._connection is not None:
            return self._connection
        connection = self._address.connect(self._prefix)
        try:
            await self._prepare(connection)
        except BaseException:
            await connection.close()
            raise
        if self._connection is None:
            self._connection = connection
        else:  # another call was faster
            await connection.close()
        return self._connection

    async def _prepare(self, connection: RedisConnection) -> None:
        layout, *foreign = await connection.call("open", LAYOUT)
        if foreign:
            found = ", ".join(f"{_text(key)} is a {_text(kind)}" for key, kind in _pairs(foreign))
            raise self._unreadable(f"{found}. Something else has this prefix: choose another one")
        if layout != b"%d" % LAYOUT:
            raise self._unreadable(f"its layout is {_text(layout)}, and this Taskflow knows {LAYOUT}")

    def _unreadable(self, reason: str) -> BackendFormatError:
        return BackendFormatError(KIND, f"{self._address}, prefix {self._prefix}: {reason}")

    async def _call(self, script: str, *args: str | bytes | float) -> Any:
        connection = await self._opened()
        return await connection.call(script, *args)

    async def incarnation(self) -> str:
        return _text(await self._call("incarnation", LAYOUT, uuid.uuid4().hex))

    # History

    async def save(self, rows: Sequence[TaskRow]) -> None:
        await self._call("save", as_json([as_insert(row) for row in rows]))

    async def get(self, task_id: str) -> TaskRow | None:
        if not is_utf8(task_id):
            return None  # no stored row can have this id
        found = read_rows(await self._call("get", task_id))
        return found[0] if found else None

    async def find(self, query: TaskQuery) -> list[TaskRow]:
        parts = [await self._listed(name, query) for name in await self._listings(query)]
        return heapq.nlargest(query.limit, chain.from_iterable(parts), key=lambda row: row.cursor)

    async def _listings(self, query: TaskQuery) -> list[str]:
        """The smallest sorted sets that together have every matching row."""
        choices = [["all"]]
        if query.func_name is not None:
            choices.append([f"name:{query.func_name}"])
        if query.status:
            choices.append(sorted({s if s in TERMINAL else "unfinished" for s in query.status}))
        if len(choices) < 3:
            return choices[-1]
        _, named, states = choices
        size, *sizes = await self._call("sizes", *named, *states)
        return named if size < sum(sizes) else states

    async def _listed(self, name: str, query: TaskQuery) -> list[TaskRow]:
        """The first rows of a sorted set that match."""
        place: Sequence[Any] = _beginning(query)
        since = "-inf" if query.since is None else microseconds(query.since)
        filters = as_json(_filters(query))
        found: list[TaskRow] = []
        while place and len(found) < query.limit:
            wanted = min(CODEC_SLICE, query.limit - len(found))
            part, *place = await self._call("find", name, *place, since, wanted, LOOKS, filters)
            found += read_rows(part, LISTED)
        return found

    async def count(self) -> dict[TaskStatus, StatusTotal]:
        numbers = iter(await self._call("count", *TaskStatus))
        found = zip(TaskStatus, zip(numbers, numbers, numbers, strict=True), strict=True)
        return {
            status: StatusTotal(rows, timed, total / 1e6) for status, (rows, timed, total) in found if rows
        }

    async def prune(self, before: datetime, limit: int = 10_000) -> int:
        deleted = 0
        while deleted < limit:
            wanted = min(DELETIONS, limit - deleted)
            some = await self._call("prune", microseconds(before), wanted)
            deleted += some
            if some < wanted:
                break
        return deleted

    # Durable tasks

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        refused = await self._call("commit", as_json([_plain(change) for change in changes]))
        outcomes = [APPLIED] * len(changes)
        for number, holder in _pairs(refused):
            outcomes[number - 1] = REFUSED.get(holder) or Outcome(applied=False, holder=_text(holder))
        return outcomes

    async def claimable(
        self, names: Collection[str], limit: int, *, after: Cursor | None = None
    ) -> list[TaskRow]:
        place = () if after is None else (after.created, after.task_id)
        return read_rows(await self._call("claimable", as_json(list(names)), limit, *place))

    async def unclaimable(self, names: Collection[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name, count in _pairs(await self._call("unclaimable", as_json(list(names)))):
            counts[_text(name)] = counts.get(_text(name), 0) + count
        return counts

    # Functions

    async def declare(self, functions: Mapping[str, str], seconds: float) -> list[tuple[str, str]]:
        others = await self._call("declare", seconds, as_json(list(functions.items())))
        return sorted((_text(name), _text(place)) for name, place in _pairs(others))

    # Leases

    async def acquire(self, token: str, *, previous: str | None = None) -> None:
        await self._call("acquire", token)
        if previous is not None and previous != token:
            while await self._call("inherit", token, previous, INHERITED_AT_ONCE) == INHERITED_AT_ONCE:
                pass

    async def renew(self, token: str) -> bool:
        return bool(await self._call("renew", token))

    async def leases(self) -> dict[str, int]:
        scores = ((_text(token), int(float(score))) for token, score in _pairs(await self._call("beats")))
        return {token: max(0, score) for token, score in scores if score}

    async def expire(self, token: str, beats: int) -> bool:
        return bool(await self._call("expire", token, beats))

    async def release(self, token: str) -> None:
        await self._call("release", token)

    def twin(self, timeout: float) -> RedisBackend:
        return self._twin(timeout)


def _check_prefix(prefix: str) -> str:
    check_storable("prefix", check_text("prefix", prefix))
    # As Redis reads it: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    if not re.match(r"[^{]*\{[^}]+\}", prefix):
        raise ConfigurationError("prefix", prefix, HASH_TAG)
    return prefix


def _warnings(info: dict[str, Any]) -> Iterator[str]:
    """Warnings about the configuration of a server, from its INFO, which some servers refuse."""
    if "aof_enabled" not in info:
        yield "does not tell whether it runs with appendonly: without, it forgets tasks when it crashes"
    elif not info["aof_enabled"]:
        yield "runs without `appendonly yes`: it forgets tasks when it crashes, those with persist=True too"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys-") and info.get("maxmemory"):
        yield f"runs with `maxmemory-policy {policy}`: it deletes tasks when it is full; set `noeviction`"


def _plain(change: Change) -> tuple[Any, ...]:
    if change.expected is None:
        return as_insert(change.row)
    return as_update(change.row, *change.expected)


def _beginning(query: TaskQuery) -> tuple[float, str]:
    """The place after which a descending listing begins."""
    places = [] if query.after is None else [query.after]
    if query.until is not None:
        places.append(Cursor(microseconds(query.until), ""))
    first = min(places, default=None)
    return (math.inf, "") if first is None else (first.created, first.task_id)


def _filters(query: TaskQuery) -> dict[str, Any]:
    """The filters that are applied to each row. Times and cursors only decide where the listing begins."""
    q = None if query.q is None else query.q.lower()
    filters = {"status": list(query.status), "func_name": query.func_name, "tag": query.tag, "q": q}
    return {name: value for name, value in filters.items() if value}


def _pairs(flat: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    values = iter(flat)
    return zip(values, values, strict=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
