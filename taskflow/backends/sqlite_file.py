"""An SQLite file that is Taskflow's: connections to it, its format, and what its errors mean."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from taskflow.backends.statements import migrations
from taskflow.core.exceptions import (
    BackendError,
    BackendFormatError,
    BackendUnavailableError,
    ConfigurationError,
)

__all__ = ["APPLICATION_ID", "KIND", "Connections", "SqliteFile", "check_path", "transaction"]

T = TypeVar("T")

Identity: TypeAlias = tuple[int, int] | None
"""Device and inode of a file, as long as there is one."""

KIND: Final = "sqlite"

APPLICATION_ID: Final = 0x54464C57
"""``TFLW``, in the header of each file that is ours. https://www.sqlite.org/pragma.html#pragma_application_id"""

SETTINGS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: its fsync leaves data in the cache of the drive; nothing elsewhere
    "PRAGMA cache_size = -16000",  # KiB; the pages of an index over random ids are touched at random
    "PRAGMA wal_autocheckpoint = 4000",  # pages: 16 MB, so that a busy page goes into the file less often
    "PRAGMA journal_size_limit = 67108864",  # bytes that the log keeps after a large transaction
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
"""What a later try may find mended."""

UNUSABLE = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup, or move it away to begin anew",
    sqlite3.SQLITE_NOTADB: "this is not an SQLite database; give Taskflow a file of its own",
}
"""What no later try will; in words of ours where SQLite's do not suffice."""


def check_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a file whose folder exists.

    Raises:
        ConfigurationError: it cannot be one.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
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
    """A file of ours, or one to be made.

    Attributes:
        path: where it is.
        busy_timeout: seconds to wait for other processes.
    """

    path: Path
    busy_timeout: float

    def connect(self) -> sqlite3.Connection:
        """A connection to the file, which is made or migrated first where it has to be.

        Raises:
            sqlite3.Error: it cannot be used.
            BackendUnavailableError: it is read-only.
            BackendFormatError: it is something else, or of a newer version.
        """
        deadline = time.monotonic() + self.busy_timeout
        while True:
            try:
                return self._connect()
            except sqlite3.OperationalError as error:
                # While another process makes the file, SQLite does not always wait.
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
        """Which file is at the path now; ``None`` if there is none."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def translated(self, error: sqlite3.Error | ValueError) -> BackendError:
        """An error of the driver, or of a value that is none, in the words of the contract."""
        code = _kind(error)
        if code in UNAVAILABLE:
            return BackendUnavailableError(KIND, f"{self.path}: {UNAVAILABLE[code]} ({error})")
        return BackendFormatError(KIND, f"{self.path}: {UNUSABLE.get(code, 'unexpected content')} ({error})")

    def _check_access(self) -> None:
        # SQLite would make a log that is read-only too, and stays so when the file no longer is.
        if not os.access(self.path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise BackendUnavailableError(KIND, f"{self.path}: {UNAVAILABLE[sqlite3.SQLITE_READONLY]}")

    def _look(self) -> None:
        """Leave a file alone that is not ours: opened as usual, SQLite may move its log into it."""
        # Not with `open`: to close any descriptor of the file ends all locks that the process has on it.
        # https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
        try:
            with closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=ro&immutable=1", uri=True)
            ) as connection:
                self._check_owner(connection)
        except sqlite3.Error as error:
            # Without locks, a file that another process is making looks damaged: that is for later to tell.
            if _kind(error) == sqlite3.SQLITE_NOTADB:
                raise

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        # In this order: a file that another process makes has an owner when it has pages.
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
        # After the first migration, so that the header in the file itself says whose it is.
        connection.execute("PRAGMA journal_mode = WAL")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        for number, script in self._missing(connection):
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")

    def _missing(self, connection: sqlite3.Connection) -> list[tuple[int, str]]:
        """The migrations that are still to come, by their numbers."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        known = migrations(KIND)
        if version > len(known):
            reason = f"version {version} of the format is newer than this Taskflow's, {len(known)}"
            raise BackendFormatError(KIND, f"{self.path}: {reason}; install the newer one")
        return list(enumerate(known, 1))[version:]


def _kind(error: Exception) -> int:
    """The primary result code, without the details that SQLite adds to it."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """What ``work`` returns, done as a whole or not at all.

    Not at all needs the connection to be closed: nothing else may follow on it.
    """
    connection.execute("BEGIN IMMEDIATE")
    result = work(connection)
    connection.execute("COMMIT")
    return result


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


class Connections:
    """Connections to a file, each used by one thread at a time, and the threads.

    Both are made when they are needed, also after a `close`. A connection that failed is not used again,
    nor is one to a file that was moved or replaced meanwhile: so the next call works if the file does.

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
        """What ``work`` returns, called in a thread with a connection.

        Raises:
            BackendUnavailableError: the file cannot be used now.
            BackendFormatError: nor later.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="taskflow-sqlite")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._use, work)

    async def close(self) -> None:
        """Return when what was begun has ended, and the connections are closed."""
        threads, self._threads = self._threads, None
        if threads is None:
            return
        # Not asyncio's own threads: at a shutdown, sync tasks may still hold all of them.
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
