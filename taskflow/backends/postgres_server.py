"""A PostgreSQL server: connections, migrations and the translation of errors. Needs psycopg."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from taskflow.backends.postgres_rows import KIND, Result, sql
from taskflow.backends.statements import migrations
from taskflow.core.exceptions import (
    BackendError,
    BackendFormatError,
    BackendUnavailableError,
    ConfigurationError,
)

__all__ = ["ConnectionPool", "PostgresServer"]

LASTING: Final = (
    errors.DataError,
    errors.IntegrityError,
    errors.NotSupportedError,
    errors.ProgrammingError,
    errors.ProgramLimitExceeded,
    UnicodeEncodeError,
)
"""Errors of the tables or the values: trying again gives the same error."""

GONE: Final = (errors.InvalidSchemaName, errors.UndefinedColumn, errors.UndefinedTable)
"""Errors of tables that were dropped, or replaced by older ones: the next call makes or migrates them."""

MENDABLE: Final = (errors.InsufficientPrivilege, *GONE)
"""Exceptions to `LASTING`: an operator can grant the privilege; the next call makes the tables."""

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
"""Held to the end of the transaction, so that only one instance makes or migrates the tables of a schema."""

MIGRATION: Final = 600.0
"""Seconds that a migration may take: to index millions of rows anew takes minutes."""

DSNS: Final = "must be postgresql://[user[:password]@]host[:port]/database, or keywords: host=... dbname=..."


class PostgresServer:
    """A server, and the schema in it that has Taskflow's tables.

    Args:
        dsn: as libpq takes it; what it leaves out comes from the environment (``PGHOST`` ...).
        schema: created if it does not exist.

    Raises:
        ConfigurationError: that is no DSN. It is not part of the error, because it may hold a password.
    """

    def __init__(self, dsn: str, schema: str) -> None:
        try:
            given = conninfo_to_dict(dsn)
        except (psycopg.Error, TypeError, ValueError, AttributeError):
            raise ConfigurationError("dsn", "<redacted>", DSNS) from None
        self._dsn = dsn
        self._address = _address({key: str(value) for key, value in given.items()})
        self._name = schema
        self.schema = f'"{schema}"'

    async def connect(self) -> AsyncConnection:
        """A connection that leaves no state in its session, so that a proxy may share it between clients."""
        return await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            # Prepared plans stay as they were when the table was small.
            prepare_threshold=None,
            client_encoding="UTF8",
            fallback_application_name="taskflow",
        )

    async def prepare(self, connection: AsyncConnection, on_migration: Callable[[], None]) -> None:
        """Make or migrate the tables if they are not up to date. Only one of several instances does it.

        Args:
            connection: to the server.
            on_migration: called when it is this one's turn: from here on it may take a while.

        Raises:
            BackendFormatError: the schema has other tables, or tables of a newer version.
        """
        if await self._missing(connection):
            async with connection.transaction():
                await connection.execute(LOCK, [f"taskflow {self.schema}"])
                on_migration()
                await connection.execute("SET LOCAL statement_timeout = 0")
                for number, script in await self._missing(connection):
                    await connection.execute(script.format(schema=self.schema))
                    await connection.execute(sql("migrated", self.schema), [number])

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


def _address(given: Mapping[str, str]) -> str:
    environment = {option.keyword.decode(): option.val for option in Conninfo.get_defaults()}
    options = {**{key: value.decode() for key, value in environment.items() if value}, **given}
    host = options.get("host") or options.get("hostaddr") or "localhost"
    return f"{host}:{options['port']}/{options.get('dbname') or options.get('user')}"


class ConnectionPool:
    """A pool of connections to a server, for one event loop. They are made when they are needed.

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
        self._preparing = asyncio.Lock()
        self._prepared = False
        self._closed = False

    async def prepare(self) -> None:
        """Connect, and make or migrate the tables. Does nothing if that was done.

        Raises:
            BackendError: see `PostgresServer.translated`; the same for `ask`.
        """
        loop = asyncio.get_running_loop()
        async with self._limited() as limit, self._preparing:
            if not self._prepared:
                async with self._connection() as connection:
                    await self._server.prepare(connection, lambda: limit.reschedule(loop.time() + MIGRATION))
                self._prepared = True

    async def ask(self, text: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run a statement in a transaction of its own; returns its rows, if any."""
        if not self._prepared:
            await self.prepare()
        async with self._limited(), self._connection() as connection:
            cursor = await connection.execute(text, parameters)
            return await cursor.fetchall() if cursor.description else []

    async def close(self) -> None:
        """Close the connections; those in use are closed after their use."""
        self._closed = True
        await self._close_idle()

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[asyncio.Timeout]:
        try:
            async with asyncio.timeout(self._timeout) as limit:
                yield limit
        except TimeoutError as error:
            await self._close_idle()  # idle connections to the same server would not be answered either
            raise self._server.unavailable(f"no answer within {self._timeout:g} s") from error
        except (psycopg.Error, UnicodeEncodeError) as error:
            if isinstance(error, GONE):
                self._prepared = False
            raise self._server.translated(error) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Borrow a connection. It is closed if its use fails: its state is unknown then."""
        async with self._turns:
            connection = await self._living() or await self._server.connect()
            try:
                yield connection
            except BaseException:
                await connection.close()
                raise
            self._idle.append(connection)
            if self._closed:
                await self._close_idle()

    async def _living(self) -> AsyncConnection | None:
        """An idle connection that the server has not closed meanwhile, for example by a restart."""
        while self._idle:
            connection = self._idle.pop()
            if not _has_news(connection):
                return connection
            await connection.close()
        return None

    async def _close_idle(self) -> None:
        while self._idle:
            await self._idle.pop().close()


def _has_news(connection: AsyncConnection) -> bool:
    """Whether there is unread data on an idle connection: then the server has closed it."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))
