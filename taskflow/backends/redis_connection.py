"""A Redis: connections, scripts and the translation of errors. Needs redis-py."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, RedisError, ResponseError

from taskflow.backends.lookup import addresses, is_name
from taskflow.backends.redis_text import KIND, LISTED, OTHERS, PLACE
from taskflow.core.exceptions import BackendFormatError, BackendUnavailableError, ConfigurationError

__all__ = ["RedisAddress", "RedisConnection"]

CONNECTIONS = 8
"""Most connections; further calls wait for a free one."""

SHARED = ("rows", "order", "leases")
"""Lua files that are put before every script, because Redis has no modules."""

SCRIPTS = files("taskflow.backends") / "lua"

URLS = "must be redis://[user:password@]host[:port][/database], rediss:// (TLS) or unix://path"


class RedisAddress:
    """Where a Redis is, and how to connect to it.

    Args:
        url: as redis-py takes it; its query may set any option of a redis-py connection.
        timeout: seconds for each of connecting, waiting for a free connection, sending and receiving.

    Raises:
        ConfigurationError: it is no such URL. It is not part of the error, because it may hold a password.
    """

    def __init__(self, url: str, timeout: float) -> None:
        defaults = {
            "max_connections": CONNECTIONS,
            "timeout": timeout,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "protocol": 2,
            # If the server has closed an idle connection, one more attempt follows, at once. Longer
            # pauses are the business of the caller.
            "retry": Retry(NoBackoff(), 1, (RedisConnectionError,)),
            "retry_on_error": [RedisConnectionError],
        }
        try:
            self._options: dict[str, Any] = {**defaults, **parse_url(url), "decode_responses": False}
            # Checks the options, and does not connect.
            self._pool().make_connection()  # type: ignore[no-untyped-call]
        except (AttributeError, TypeError, ValueError, RedisError):
            raise ConfigurationError("url", "<redacted>", URLS) from None

    def __str__(self) -> str:
        if path := self._options.get("path"):
            return str(path)
        return f"{self._options.get('host', 'localhost')}:{self._options.get('port', 6379)}"

    def connect(self, prefix: str) -> RedisConnection:
        """A client, which connects at its first use."""
        return RedisConnection(Redis.from_pool(self._pool()), str(self), prefix)

    def _pool(self) -> BlockingConnectionPool:
        kind = self._options.get("connection_class", Connection)
        return BlockingConnectionPool(**{**self._options, "connection_class": FOUND.get(kind, kind)})


class _Found(Connection):
    """A connection that looks up its host by itself: asyncio would wait for the loop's default pool."""

    _place: dict[str, Any]

    async def _connect(self) -> None:
        host, port = self.host, int(self.port)
        async with asyncio.timeout(self.socket_connect_timeout):
            found = await addresses(host, port) if is_name(host) else [host]
        for number, address in enumerate(found, 1):
            self._place = {"host": address, "port": port}
            try:
                await super()._connect()  # type: ignore[no-untyped-call]
            except OSError:  # a time-out is one
                if number == len(found):
                    raise
            else:
                return

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), **self._place}


class _FoundTls(_Found, SSLConnection):
    """The same, with TLS: the certificate must be that of the name."""

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self.host}


FOUND: Final[dict[type, type]] = {Connection: _Found, SSLConnection: _FoundTls}


class RedisConnection:
    """Runs the scripts of ``lua/`` on a Redis.

    Every method but `close` raises `BackendUnavailableError` and `BackendFormatError`, as in
    `SnapshotBackend`.
    """

    def __init__(self, client: Redis, address: str, prefix: str) -> None:
        self._client = client
        self._address = address
        self._prefix = prefix
        self._scripts: dict[str, AsyncScript] = {}

    async def call(self, name: str, *args: str | bytes | float) -> Any:
        """What the script ``lua/<name>.lua`` returns."""
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self._client.register_script(source(name))
        with self._failures():
            return await script(keys=[self._prefix], args=args)

    async def info(self) -> dict[str, Any]:
        """The answer to INFO; empty if the server refuses it."""
        with self._failures():
            try:
                return dict(await self._client.info())
            except ResponseError:
                return {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise _told(error, self._address) from error


@cache
def source(name: str) -> str:
    """The text of a script, with its constants and the shared files before it."""
    constants = [f"local {field.upper()} = {number}" for number, field in enumerate(PLACE, 1)]
    others = f"local others, listed = {{{str(OTHERS)[1:-1]}}}, {{{str(LISTED)[1:-1]}}}"
    texts = [(SCRIPTS / f"{part}.lua").read_text(encoding="utf-8") for part in (*SHARED, name)]
    return "\n".join([*constants, others, *texts])


# The errors of scripts in Redis 7 and newer, and in older versions.
FOREIGN: Final = re.compile(r"(^|: )(WRONGTYPE |user_script:|(hash )?value is not )")
"""Errors that mean foreign data: a key of another type, or a value that cannot be read."""


def _told(error: Exception, address: str) -> BackendFormatError | BackendUnavailableError:
    text, _, _where = str(error).partition(" script: ")
    if isinstance(error, MovedError):
        text = (
            f"in this cluster {error.host}:{error.port} has the slot of the prefix: that is the URL to give"
        )
    reason = f"{address}: {text or type(error).__name__}"
    if isinstance(error, ResponseError) and FOREIGN.search(text):
        return BackendFormatError(KIND, f"{reason}. What is stored under our keys is not ours")
    return BackendUnavailableError(KIND, reason)
