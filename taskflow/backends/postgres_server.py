"""A PostgreSQL server: connections, migrations and the translation of errors. Needs psycopg."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from taskflow.backends.lookup import addresses, is_name
from taskflow.backends.postgres_rows import KIND, Result, sql
from taskflow.backends.statements import migrations
from taskflow.core.exceptions import (
    BackendError,
    BackendFormatError,
    BackendUnavailableError,
    ConfigurationError,
)

__all__ = ["ConnectionPool", "PostgresServer"]

T = TypeVar("T")

logger = logging.getLogger("taskflow")

LASTING: Final = (
    errors.DataError,
    errors.IntegrityError,
    errors.NotSupportedError,
    errors.ProgrammingError,
    errors.ProgramLimitExceeded,
    UnicodeEncodeError,
)
"""Errors of the tables or the values: trying again gives the same error."""

GONE: Final = (
    errors.InvalidSchemaName,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.UndefinedTable,
)
"""Errors of tables that were dropped, or replaced by older ones: the next call makes or migrates them."""

MENDABLE: Final = (errors.InsufficientPrivilege, *GONE)
"""Exceptions to `LASTING`: an operator can grant the privilege; the next call makes the tables."""

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
"""Held to the end of the transaction, so that only one instance makes or migrates the tables of a schema."""

REPEATABLE: Final = (errors.SerializationFailure, errors.DeadlockDetected)
"""What another transaction caused, and what the same again may get around: at once, and a few times."""

REPEATS: Final = 12

LONGEST_PAUSE: Final = 0.2
"""Seconds between two of those, at most; the first ones are shorter."""

MIGRATION: Final = 600.0
"""Seconds that a migration may take: to index millions of rows anew takes minutes."""

DSNS: Final = "must be postgresql://[user[:password]@]host[:port]/database, or keywords: host=... dbname=..."


class PostgresServer:
    """A server, and the schema in it that has Taskflow's tables.

    Args:
        dsn: as libpq takes it; what it leaves out comes from the environment (``PGHOST`` ...).
        schema: created if it does not exist.
        search_index: whether it is to have the indexes of ``search_index.sql``.

    Raises:
        ConfigurationError: that is no DSN. It is not part of the error, because it may hold a password.
    """

    def __init__(self, dsn: str, schema: str, search_index: bool = False) -> None:
        try:
            given = conninfo_to_dict(dsn)
        except (psycopg.Error, TypeError, ValueError, AttributeError):
            raise ConfigurationError("dsn", "<redacted>", DSNS) from None
        self._dsn = dsn
        self._given = {key: str(value) for key, value in given.items()}
        self._address = _address(self._given)
        self._name = schema
        self.schema = f'"{schema}"'
        self.search_index = search_index

    def _connect_timeout(self, timeout: float) -> int | None:
        """Seconds to try each of several hosts, so that the last one has a chance; ``None`` leaves it."""
        hosts = (self._given.get("hostaddr") or self._given.get("host") or "").split(",")
        if len(hosts) == 1 or "connect_timeout" in self._given or os.environ.get("PGCONNECT_TIMEOUT"):
            return None
        return max(2, int(timeout / (len(hosts) + 1)))  # libpq's least is 2

    async def connect(self, timeout: float) -> AsyncConnection:
        """A connection that leaves no state in its session, so that a proxy may share it between clients.

        Args:
            timeout: seconds for all hosts that there are.
        """
        return await AsyncConnection.connect(
            self._dsn,
            connect_timeout=self._connect_timeout(timeout),
            **await self._found(),
            autocommit=True,
            # Prepared plans stay as they were when the table was small.
            prepare_threshold=None,
            client_encoding="UTF8",
            fallback_application_name="taskflow",
        )

    async def _found(self) -> dict[str, Any]:
        """The addresses of the hosts, if some are names: psycopg would wait for the loop's default pool."""
        hosts = self._option("host").split(",")
        if self._option("hostaddr") or not any(map(is_name, hosts)):
            return {}
        ports = (self._option("port") or "5432").split(",")
        ports = ports * len(hosts) if len(ports) == 1 else ports
        places: list[tuple[str, str, str]] = []
        error = None
        for host, port in zip(hosts, ports, strict=False):
            try:
                found = await addresses(host, int(port)) if is_name(host) else [_literal(host)]
                places += [(host, address, port) for address in found]
            except (OSError, ValueError) as reason:
                error = psycopg.OperationalError(f"failed to look up the host {host!r}: {reason}")
        if not places and error is not None:
            raise error
        columns = (",".join(each) for each in zip(*places, strict=True))
        return dict(zip(("host", "hostaddr", "port"), columns, strict=True))

    def _option(self, name: str) -> str:
        """What the DSN says, or else the environment."""
        defaults = {option.keyword.decode(): option.val for option in Conninfo.get_defaults()}
        return self._given.get(name) or (defaults.get(name) or b"").decode()

    async def prepare(self, connection: AsyncConnection, on_migration: Callable[[], None]) -> None:
        """Make or migrate the tables where they are not up to date. Of several instances, one does it.

        Args:
            connection: to the server.
            on_migration: called when it is this one's turn: from here on it may take a while.

        Raises:
            BackendFormatError: the schema has other tables, or tables of a newer version.
        """
        if await self._missing(connection):
            async with connection.transaction():
                # Else it would not see what another one has made while it waited for the lock.
                await connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                await connection.execute(LOCK, [f"taskflow {self.schema}"])
                on_migration()
                await connection.execute("SET LOCAL statement_timeout = 0")
                for number, script in await self._missing(connection):
                    if number > 1:
                        message = "the tables in the schema %s are being migrated to version %d"
                        logger.info(message, self.schema, number)
                    await connection.execute(script.format(schema=self.schema))
                    await connection.execute(sql("migrated", self.schema), [number])

        if self.search_index and not (await self._searchable(connection))[0]:
            async with connection.transaction():
                await connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
                await connection.execute(LOCK, ["taskflow pg_trgm"])  # one extension for all schemas
                on_migration()
                await connection.execute("SET LOCAL statement_timeout = 0")
                await self._make_search_index(connection)

    async def _make_search_index(self, connection: AsyncConnection) -> None:
        made, extension = await self._searchable(connection)
        if extension is None:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            made, extension = await self._searchable(connection)
        if not made:
            logger.info("the tables in the schema %s get a search index", self.schema)
            await connection.execute(sql("search_index", self.schema, trigrams=str(extension)))

    async def _searchable(self, connection: AsyncConnection) -> tuple[bool, str | None]:
        found = await connection.execute(sql("searchable", self.schema), [self._name])
        ((made, extension),) = await found.fetchall()
        return made, extension

    def translated(self, error: psycopg.Error | UnicodeEncodeError) -> BackendError:
        """The exception of the contract for an error of the driver."""
        told = " ".join(str(error).split()) or type(error).__name__
        lasting = isinstance(error, LASTING) and not isinstance(error, MENDABLE)
        return (self.refused if lasting else self.unavailable)(told)

    def unavailable(self, reason: str) -> BackendUnavailableError:
        """What to raise if trying again may help."""
        return BackendUnavailableError(KIND, f"{self._address}: {reason}")

    def refused(self, reason: str) -> BackendFormatError:
        """What to raise if it cannot."""
        return BackendFormatError(KIND, f"{self._address}: {reason}")

    async def _missing(self, connection: AsyncConnection) -> list[tuple[int, str]]:
        """The migrations that were not applied yet, with their numbers."""
        version = await self._version(connection)
        known = migrations(KIND)
        if version > len(known):
            raise self.refused(
                f"the tables in the schema {self.schema} have version {version}, "
                f"which is newer than this Taskflow's, {len(known)}; install the newer one"
            )
        return list(enumerate(known, 1))[version:]

    async def _version(self, connection: AsyncConnection) -> int:
        found = await connection.execute(sql("found", self.schema), [self._name])
        ((encoding, tables),) = await found.fetchall()
        if encoding != "UTF8":
            raise self.refused(f"the encoding of the database is {encoding}; it must be UTF8")
        if not tables:
            return 0
        if "versions" not in tables:
            names = ", ".join(tables)
            reason = f"the schema {self.schema} has tables that are not Taskflow's; name another one"
            raise self.refused(f"{reason}: {names}")
        versions = await connection.execute(sql("version", self.schema))
        ((version,),) = await versions.fetchall()
        return int(version)


def _literal(host: str) -> str:
    """What libpq takes for the address of a host that is no name; nothing for a socket."""
    return "" if host[:1] in ("", "/", "@") else host


def _address(given: Mapping[str, str]) -> str:
    environment = {option.keyword.decode(): option.val for option in Conninfo.get_defaults()}
    options = {**{key: value.decode() for key, value in environment.items() if value}, **given}
    host = options.get("host") or options.get("hostaddr") or "localhost"
    return f"{host}:{options['port']}/{options.get('dbname') or options.get('user')}"


class ConnectionPool:
    """A pool of connections to a server, for one event loop. They are made when they are needed.

    A call that takes too long, or is cancelled, ends at once. Its statement is cancelled as well, once, and
    ends by itself: psycopg asks the server to stop it, and waits some seconds for that.

    Not psycopg's own pool: without a server, its callers wait for the whole timeout, and its error does
    not tell the cause.

    Args:
        size: most connections; further calls wait for a free one.
        timeout: seconds for a call, including the wait for a connection.
    """

    def __init__(self, server: PostgresServer, size: int, timeout: float) -> None:
        self._server = server
        self._timeout = timeout
        self._turns = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection] = []
        self._preparing: asyncio.Task[None] | None = None
        self._prepared = False
        self._ending: set[asyncio.Task[Any]] = set()
        self._closed = False
        self.loop = asyncio.get_running_loop()

    async def prepare(self) -> None:
        """Connect, and make or migrate the tables. Does nothing if that was done.

        A migration goes on although a call that waits for it has failed.

        Raises:
            BackendError: see `PostgresServer.translated`; the same for `ask`.
        """
        if not self._prepared:
            if self._preparing is None or self._preparing.done():
                self._preparing = self.loop.create_task(self._prepare())
                self._preparing.add_done_callback(_retrieve)
            await self._answer(self._preparing)

    async def _prepare(self) -> None:
        async with asyncio.timeout(self._timeout) as limit, self._connection() as connection:
            later = self.loop.time() + MIGRATION
            await self._server.prepare(connection, lambda: limit.reschedule(later))
        self._prepared = True

    async def ask(self, text: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run a statement in a transaction of its own; returns its rows, if any."""
        if not self._prepared:
            await self.prepare()
        return await self._bounded(self._execute(text, parameters))

    async def _execute(self, text: str, parameters: Mapping[str, Any] | None) -> Result:
        async with self._connection() as connection:
            for number in range(REPEATS + 1):
                try:
                    cursor = await connection.execute(text, parameters)
                    return await cursor.fetchall() if cursor.description else []
                except REPEATABLE:
                    if number == REPEATS:
                        raise
                await asyncio.sleep(random.uniform(0, min(LONGEST_PAUSE, 0.002 * 2**number)))  # noqa: S311
        raise AssertionError  # it has returned, or raised

    async def close(self) -> None:
        """Close the connections; those in use are closed after their use."""
        self._closed = True
        await self.close_idle()
        if self._preparing is not None:
            self._abandon(self._preparing)
        if self._ending:
            await asyncio.wait(self._ending)

    async def close_idle(self) -> None:
        """Close the connections that are not in use; from any loop."""
        while self._idle:
            await self._idle.pop().close()

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        task = self.loop.create_task(work)
        try:
            return await self._answer(task)
        finally:
            self._abandon(task)

    async def _answer(self, task: asyncio.Task[T]) -> T:
        """What a task returns, if that is in time."""
        done, _ = await asyncio.wait({task}, timeout=self._timeout)
        if done and task.cancelled():
            raise self._server.unavailable("it was closed")
        try:
            return task.result()
        except (TimeoutError, asyncio.InvalidStateError) as error:  # of its own, or of this call
            await self.close_idle()  # idle connections to the same server would not be answered either
            raise self._server.unavailable(f"no answer within {self._timeout:g} s") from error
        except (psycopg.Error, UnicodeEncodeError) as error:
            if isinstance(error, GONE):
                self._prepared = False
            raise self._server.translated(error) from error

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task if it has not ended. A second time would keep the server from hearing of it."""
        if not task.done():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.add_done_callback(_retrieve)
            task.cancel()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Borrow a connection. It is closed if its use fails: its state is unknown then."""
        async with self._turns:
            connection = await self._living() or await self._server.connect(self._timeout)
            try:
                yield connection
            except BaseException:
                await connection.close()
                raise
            self._idle.append(connection)
            if self._closed:
                await self.close_idle()

    async def _living(self) -> AsyncConnection | None:
        """An idle connection that the server has not closed meanwhile, for example by a restart."""
        while self._idle:
            connection = self._idle.pop()
            if not _has_news(connection):
                return connection
            await connection.close()
        return None


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Take note of how a task has ended that nobody may wait for any more."""
    if not task.cancelled():
        task.exception()


def _has_news(connection: AsyncConnection) -> bool:
    """Whether there is unread data on an idle connection: then the server has closed it."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))
