"""An SQLite file of Taskflow: connections, migrations and the translation of errors."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from taskflow.backends.statements import migrations, statement
from taskflow.core.exceptions import (
    BackendError,
    BackendFormatError,
    BackendUnavailableError,
    ConfigurationError,
)

__all__ = ["APPLICATION_ID", "KIND", "ConnectionThreads", "SqliteFile", "check_path", "transaction"]

T = TypeVar("T")

Identity: TypeAlias = tuple[int, int] | None
"""Device and inode of a file; ``None`` if there is none."""

KIND: Final = "sqlite"

APPLICATION_ID: Final = 0x54464C57
"""``TFLW``, in the header of every file that Taskflow made. https://www.sqlite.org/pragma.html#pragma_application_id"""

SETTINGS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # only for macOS, whose fsync leaves data in the cache of the drive
    "PRAGMA cache_size = -16000",  # KiB; an index of random ids needs random pages
    "PRAGMA wal_autocheckpoint = 4000",  # pages, 16 MB; a page that changes often is copied less often
    "PRAGMA journal_size_limit = 67108864",  # bytes; the log is cut to this size after a large transaction
)

RETRY_SECONDS = 0.01

# By primary result code: https://www.sqlite.org/rescode.html
UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another process held the lock for longer than busy_timeout",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened or made",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_INTERRUPT: "the operation was interrupted",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written",
    sqlite3.SQLITE_LOCKED: "the table is locked",
    sqlite3.SQLITE_NOLFS: "the file is larger than the file system allows",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_PROTOCOL: "another process held the lock of the write-ahead log for too long",
    sqlite3.SQLITE_READONLY: "the file, its folder or its file system is read-only",
}
"""Errors that may be gone at a later try."""

URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""What a URL begins with; `pathlib` leaves one slash of it. A drive of Windows is one letter."""

NO_URL: Final = (
    "must be the path of a file, and this is a URL: PostgresBackend and RedisBackend take one, "
    "as snapshot_backend=PostgresBackend(...)"
)

UNUSABLE = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup, or move it away to begin anew",
    sqlite3.SQLITE_NOTADB: "this is not an SQLite database; give Taskflow a file of its own",
}
"""Messages for errors that stay; all others get SQLite's own words."""


def check_path(path: str | os.PathLike[str]) -> Path:
    """Check that a path can be that of a file in an existing folder; returns it absolute.

    Raises:
        ConfigurationError: it cannot be one.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if isinstance(text, str) and URL.match(text):
        raise ConfigurationError("path", path, NO_URL)
    if not isinstance(text, str) or not text or "\0" in text or text.endswith(os.sep):
        raise ConfigurationError("path", path, "must be the path of a file")
    if text == ":memory:":
        raise ConfigurationError("path", path, "must be the path of a file; MemoryBackend needs none")
    file = Path(os.path.realpath(text))
    if file.is_dir():
        raise ConfigurationError("path", path, "must be the path of a file, not of a folder")
    if not file.parent.is_dir():
        raise ConfigurationError("path", path, f"the folder {file.parent} does not exist; create it first")
    return file


@dataclass(frozen=True)
class SqliteFile:
    """A file of Taskflow, which may not exist yet.

    Attributes:
        path: absolute path.
        busy_timeout: seconds to wait for other processes.
        search_index: whether it is to have the index of ``search_index.sql``.
    """

    path: Path
    busy_timeout: float
    search_index: bool = False

    def connect(self) -> sqlite3.Connection:
        """A connection to the file, which is made or migrated first if necessary.

        Raises:
            sqlite3.Error: it cannot be used.
            BackendUnavailableError: it is read-only.
            BackendFormatError: it is not of Taskflow, or of a newer version.
        """
        deadline = time.monotonic() + self.busy_timeout
        while True:
            try:
                return self._connect()
            except sqlite3.OperationalError as error:
                # While another process makes the file, SQLite may fail at once instead of waiting.
                if _kind(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(RETRY_SECONDS)

    def _connect(self) -> sqlite3.Connection:
        if self.identity is not None:
            self._check_access()
            self._look()
        connection = sqlite3.connect(
            self.path, timeout=self.busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def identity(self) -> Identity:
        """Tells whether the path still leads to the same file; ``None`` if there is none."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def translated(self, error: sqlite3.Error | ValueError) -> BackendError:
        """The exception of the contract for an error of the driver or for a stored value that is invalid."""
        code = _kind(error)
        if code in UNAVAILABLE:
            return BackendUnavailableError(KIND, f"{self.path}: {UNAVAILABLE[code]} ({error})")
        return BackendFormatError(KIND, f"{self.path}: {UNUSABLE.get(code, 'unexpected content')} ({error})")

    def _check_access(self) -> None:
        # SQLite would make a read-only log, which stays read-only when the file becomes writable.
        if not os.access(self.path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise BackendUnavailableError(KIND, f"{self.path}: {UNAVAILABLE[sqlite3.SQLITE_READONLY]}")

    def _look(self) -> None:
        """Check the owner of a file before it is opened for writing, which may already change it."""
        # Not with `open`: closing a descriptor of the file drops all locks of this process on it.
        # https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
        try:
            with closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=ro&immutable=1", uri=True)
            ) as connection:
                self._check_owner(connection)
        except sqlite3.Error as error:
            # This read takes no locks: a file that is just being made looks damaged. `_prepare` checks again.
            if _kind(error) == sqlite3.SQLITE_NOTADB:
                raise

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        # In this order: another process that makes the file sets the id together with the first pages.
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        if pages and owner != APPLICATION_ID:
            reason = "this SQLite database is not one of Taskflow's; give it a file of its own"
            raise BackendFormatError(KIND, f"{self.path}: {reason}")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        for setting in SETTINGS:
            connection.execute(setting)
        self._check_owner(connection)
        if self._missing(connection):
            transaction(connection, self._migrate)
        if self.search_index and not _has_search_index(connection):
            transaction(connection, _make_search_index)
        # After the first migration, so that the application id is in the file itself, not only in the log.
        connection.execute("PRAGMA journal_mode = WAL")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        for number, script in self._missing(connection):
            for each in _statements(script):
                connection.execute(each)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")

    def _missing(self, connection: sqlite3.Connection) -> list[tuple[int, str]]:
        """The migrations that were not applied yet, with their numbers."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        known = migrations(KIND)
        if version > len(known):
            reason = f"version {version} of the format is newer than this Taskflow's, {len(known)}"
            raise BackendFormatError(KIND, f"{self.path}: {reason}; install the newer one")
        return list(enumerate(known, 1))[version:]


def _has_search_index(connection: sqlite3.Connection) -> bool:
    text = "SELECT 1 FROM sqlite_schema WHERE name = 'tasks_search'"
    return connection.execute(text).fetchone() is not None


def _make_search_index(connection: sqlite3.Connection) -> None:
    if not _has_search_index(connection):  # else another process has made it meanwhile
        for each in _statements(statement(KIND, "search_index")):
            connection.execute(each)


def _kind(error: Exception) -> int:
    """The primary result code, without the details that SQLite adds to it."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run ``work`` in a transaction; returns what it returns.

    If it raises, the caller must close the connection, which rolls the transaction back.
    """
    connection.execute("BEGIN IMMEDIATE")
    result = work(connection)
    connection.execute("COMMIT")
    return result


def _statements(script: str) -> Iterator[str]:
    text = ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            yield text
            text = ""


class ConnectionThreads:
    """A pool of threads with connections to a file; each connection is used by one thread at a time.

    Both are made when they are needed, also after a `close`. A connection is closed if its use failed, or
    if the file was moved or replaced meanwhile; the next call opens a new one.

    Args:
        file: the file.
        threads: most threads.
    """

    def __init__(self, file: SqliteFile, threads: int) -> None:
        self._file = file
        self._size = threads
        self._threads: ThreadPoolExecutor | None = None
        self._idle: deque[tuple[Identity, sqlite3.Connection]] = deque()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Call ``work`` with a connection, in a thread; returns what it returns.

        Raises:
            BackendUnavailableError: the file cannot be used now.
            BackendFormatError: it cannot be used; trying again does not help.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="taskflow-sqlite")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._use, work)

    async def close(self) -> None:
        """Wait for the calls that have begun, and close the connections."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        # A thread of its own: at a shutdown, sync tasks may still use all threads of asyncio's pool.
        ending = ThreadPoolExecutor(1, thread_name_prefix="taskflow-sqlite-end")
        try:
            await asyncio.get_running_loop().run_in_executor(ending, self._end, threads)
        finally:
            ending.shutdown(wait=False)

    def _use(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with self._connection() as connection:
                return work(connection)
        except (sqlite3.Error, ValueError) as error:
            raise self._file.translated(error) from error

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        identity, connection = self._idle_one() or self._new_one()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append((identity, connection))

    def _idle_one(self) -> tuple[Identity, sqlite3.Connection] | None:
        current = self._file.identity
        while self._idle:
            identity, connection = self._idle.pop()
            if identity == current:
                return identity, connection
            connection.close()
        return None

    def _new_one(self) -> tuple[Identity, sqlite3.Connection]:
        connection = self._file.connect()
        return self._file.identity, connection

    def _end(self, threads: ThreadPoolExecutor) -> None:
        threads.shutdown()
        while self._idle:
            self._idle.pop()[1].close()
