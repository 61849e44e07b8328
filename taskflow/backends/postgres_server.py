"""A PostgreSQL server: connections to it, our tables in it, and its errors in our words. Needs psycopg."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Mapping
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

__all__ = ["Connections", "PostgresServer"]

LASTING: Final = (
    errors.DataError,
    errors.IntegrityError,
    errors.NotSupportedError,
    errors.ProgrammingError,
    errors.ProgramLimitExceeded,
    UnicodeEncodeError,
)
"""What is wrong with the tables or the values: the same again comes to the same end."""

MENDABLE: Final = (errors.InsufficientPrivilege,)
"""The exceptions to that: an operator grants it."""

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
"""Held to the end of the transaction, by one instance that makes or migrates the tables of a schema."""

DSNS: Final = "must be postgresql://[user[:password]@]host[:port]/database, or keywords: host=... dbname=..."


class PostgresServer:
    """A server, and the schema in it that has Taskflow's tables.

    Args:
        dsn: as libpq takes it; what it leaves out comes from the environment (``PGHOST`` ...).
        schema: made if there is none.

    Raises:
        ConfigurationError: that is no DSN. It may hold a password, and is not part of the error.
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
        """A connection that leaves no traces in its session: a proxy may give it to others in between."""
        return await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            # A plan made while a table was small would outlive its growth.
            prepare_threshold=None,
            client_encoding="UTF8",
            fallback_application_name="taskflow",
        )

    async def prepare(self, connection: AsyncConnection) -> None:
        """Make or migrate the tables where they are not up to date. Of several instances, one does it.

        Raises:
            BackendFormatError: there is something else, or of a newer version.
        """
        if await self._missing(connection):
            async with connection.transaction():
                await connection.execute(LOCK, [f"taskflow {self.schema}"])
                for number, script in await self._missing(connection):
                    await connection.execute(script.format(schema=self.schema))
                    await connection.execute(sql("migrated", self.schema), [number])

    def translated(self, error: psycopg.Error | UnicodeEncodeError) -> BackendError:
        """An error of the driver in the words of the contract."""
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
        """The migrations that are still to come, by their numbers."""
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


class Connections:
    """Connections to a server, for the calls on one event loop. They are made when they are needed.

    psycopg's own pool lets its callers wait until their time is up while there is no server, and then
    cannot tell why.

    Args:
        size: most connections at once; further calls wait for their turn.
        timeout: seconds for a call, all its waiting included.
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
        """Connect, and see to the tables. Does nothing if that was done.

        Raises:
            BackendError: as `PostgresServer.translated` tells; also below.
        """
        async with self._limited(), self._preparing:
            if not self._prepared:
                async with self._connection() as connection:
                    await self._server.prepare(connection)
                self._prepared = True

    async def ask(self, text: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """The rows that a statement gives, if it gives any; it is a transaction of its own."""
        if not self._prepared:
            await self.prepare()
        async with self._limited(), self._connection() as connection:
            cursor = await connection.execute(text, parameters)
            return await cursor.fetchall() if cursor.description else []

    async def close(self) -> None:
        """Close the connections; one that is in use is closed when it is not."""
        self._closed = True
        await self._close_idle()

    @asynccontextmanager
    async def _limited(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError as error:
            await self._close_idle()  # they lead to the same silence
            raise self._server.unavailable(f"no answer within {self._timeout:g} s") from error
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise self._server.translated(error) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection that is not used again if its use fails: nobody knows what is left of it."""
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
        """An idle connection that the server has not closed meanwhile, as a restart does."""
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
    """Whether something has come on a connection on which nothing was asked: that is its end."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        return bool(selector.select(0))
