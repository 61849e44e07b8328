"""`FileLogger`: log lines in a file that rotates, or that something else rotates."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import dataclass, fields
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path
from typing import Literal, get_args
from weakref import WeakSet, WeakValueDictionary

from taskflow.core.checks import check_choice, check_int
from taskflow.core.exceptions import ConfigurationError
from taskflow.observers.formatting import Format
from taskflow.observers.writer import LineLogger, LineWriter

__all__ = ["FileLogger", "Mode", "RotatingFile", "WatchedFile", "resolve_path"]

Mode = Literal["rotate", "watched"]

MODES: tuple[Mode, ...] = get_args(Mode)


class FileLogger(LineLogger):
    """Writes `task_log` lines, and lifecycle lines on request, to a file.

    Handlers only put events into a bounded buffer; a thread writes them, at most 0.2 seconds later.
    The file is opened by the first line. ``await logger.close()`` writes what is left; a line that comes
    later opens the file again. Two loggers on one file share one writer.

    While the file cannot be written (full disk, folder gone), lines wait in the buffer and are written as
    soon as that is possible again; beyond the buffer's bound they are counted in `dropped`.

    Args:
        path: the file. ``{pid}`` stands for the process id: give each worker process a file of its own,
            because processes that rotate one file get into each other's way.
        max_bytes: rotate before the file reaches this size; a single longer line gets a file of its own.
            Mode ``rotate`` only.
        backup_count: how many rotated files, ``path.1`` (newest) to ``path.N``, are kept. 0 never rotates:
            the file grows, as with `logging.handlers.RotatingFileHandler`. Mode ``rotate`` only.
        mode: ``rotate`` rotates by size, as `logging.handlers.RotatingFileHandler`; ``watched`` leaves
            that to a program such as logrotate and opens the path again when the file there is another
            one, as `logging.handlers.WatchedFileHandler` (with logrotate: ``create``, and
            ``delaycompress`` rather than ``compress`` alone; never ``copytruncate``).
        log_lifecycle: also write a line for every state that a task enters.
        min_level: the least severe `task_log` level that is written.
        format: ``text`` or ``json``, see `taskflow.observers.formatting`.

    Raises:
        ConfigurationError: an argument has a value that it cannot have, the folder is missing, the file
            cannot be written, or another logger writes it with other settings.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 10 * 1024 * 1024,
        backup_count: int = 5,
        mode: Mode = "rotate",
        log_lifecycle: bool = False,
        min_level: str = "info",
        format: Format = "text",
    ) -> None:
        super().__init__(log_lifecycle=log_lifecycle, min_level=min_level, format=format)
        self._settings = FileSettings(
            path=_check_path(path),
            max_bytes=check_int("max_bytes", max_bytes, minimum=1),
            backup_count=check_int("backup_count", backup_count, minimum=0),
            mode=check_choice("mode", mode, MODES),
        )
        _check_writable(self._settings)
        self._writer: FileWriter = _registry.claim(self._settings, self)

    @property
    def path(self) -> str:
        """The file that this process writes: absolute, links resolved, ``{pid}`` filled in."""
        return _fill(self._settings.path)

    async def startup(self) -> None:
        """Claim the file again after a `close`.

        Raises:
            ConfigurationError: another logger writes it with other settings by now.
        """
        self._writer = _registry.claim(self._settings, self)

    async def close(self) -> None:
        """Write what is left, and close the file unless another logger still writes it."""
        if _registry.leave(self._writer, self):
            await super().close()
        else:
            await self.flush()


def resolve_path(path: str | os.PathLike[str]) -> str:
    """What `FileLogger.path` is for this ``path``, so that two spellings of one file can be compared.

    Raises:
        ConfigurationError: it cannot be the path of a file.
    """
    return _fill(_check_path(path))


# ---- one writer per file ----


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What all loggers of one file must agree on. ``path`` is absolute, with ``{pid}`` still in it."""

    path: str
    max_bytes: int
    backup_count: int
    mode: Mode

    def open(self) -> WatchedFile:
        """The sink for these settings; it opens its file when it has something to write."""
        if self.mode == "watched":
            return WatchedFile(self.path)
        return RotatingFile(self.path, max_bytes=self.max_bytes, backup_count=self.backup_count)


class FileWriter(LineWriter):
    """The writer of one file, with the loggers that use it at the moment."""

    def __init__(self, settings: FileSettings) -> None:
        super().__init__(settings.open(), name=settings.path)
        self.settings = settings
        self.users: WeakSet[FileLogger] = WeakSet()


class FileRegistry:
    """The writers of this process by path. A writer is dropped with its last logger."""

    def __init__(self) -> None:
        self._writers: WeakValueDictionary[str, FileWriter] = WeakValueDictionary()
        self.reset_lock()

    def reset_lock(self) -> None:
        """For a forked child: another thread of the parent may have held it."""
        self._lock = threading.Lock()

    def claim(self, settings: FileSettings, user: FileLogger) -> FileWriter:
        """The writer of ``settings.path``, shared with the other loggers of that file.

        Raises:
            ConfigurationError: they have other settings.
        """
        with self._lock:
            writer = self._writers.get(settings.path)
            if writer is None or (writer.settings != settings and not writer.users):
                writer = self._writers[settings.path] = FileWriter(settings)
            _check_same(settings, writer.settings)
            writer.users.add(user)
            return writer

    def leave(self, writer: FileWriter, user: FileLogger) -> bool:
        """Remove ``user`` from the writer; returns whether it was the last one."""
        with self._lock:
            writer.users.discard(user)
            return not writer.users


_registry = FileRegistry()

if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_registry.reset_lock)


# ---- checks ----


def _check_path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str) or not text or "\0" in text or text.endswith(os.sep):
        raise ConfigurationError("path", path, "must be the path of a file")
    return os.path.realpath(text)


def _fill(path: str) -> str:
    # Not str.format: a path may have braces of its own.
    return path.replace("{pid}", str(os.getpid()))


def _check_writable(settings: FileSettings) -> None:
    path = Path(_fill(settings.path))
    problem = _folder_problem(path, settings) or _file_problem(path)
    if problem:
        raise ConfigurationError("path", str(path), problem)


def _folder_problem(path: Path, settings: FileSettings) -> str | None:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist; create it first"
    rotates = settings.mode == "rotate" and settings.backup_count > 0
    if (rotates or not path.exists()) and not _may(path.parent, os.W_OK | os.X_OK):
        return f"the folder {path.parent} is not writable for this process"
    return None


def _file_problem(path: Path) -> str | None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None  # the first line will make it
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    if not stat.S_ISREG(mode):
        return "must be a regular file, not a folder, pipe or device"
    return None if _may(path, os.W_OK) else "is not writable for this process"


def _may(path: Path, access: int) -> bool:
    return os.access(path, access, effective_ids=os.access in os.supports_effective_ids)


def _check_same(wanted: FileSettings, current: FileSettings) -> None:
    for field in fields(FileSettings):
        value, other = getattr(wanted, field.name), getattr(current, field.name)
        if value != other:
            allowed = f"must be {other!r}, as in the other FileLogger on {current.path}"
            raise ConfigurationError(field.name, value, allowed)


# ---- sinks ----


class WatchedFile(WatchedFileHandler):
    """A sink that opens its path again when there is another file, or none, at it.

    The logging handler keeps the file; its `emit`, 14 µs a record, is not used. Lines go to the file
    descriptor in one `os.write` per batch, so that it is known to the byte what was written.

    Args:
        path: absolute path; ``{pid}`` is filled in whenever the file is opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        super().__init__(_fill(path), encoding="utf-8", delay=True)

    def _open(self) -> TextIOWrapper:
        self.baseFilename = _fill(self._path)  # another process after a fork
        stream = super()._open()
        status = os.fstat(stream.fileno())
        self.dev, self.ino = status.st_dev, status.st_ino
        return stream

    def append(self, lines: list[str]) -> None:
        """Write whole lines and remove them from the list; raises OSError with the others still on it."""
        # logging.config.dictConfig() closes every handler of the process, from its own thread.
        self.acquire()
        try:
            while lines:
                file, count = self._fit(self._open_file(), lines)
                _write_lines(file, lines, count)
        finally:
            self.release()

    def _open_file(self) -> int:
        """The descriptor of the file that is at the path now."""
        if self.stream is not None:
            self.reopenIfNeeded()
        if self.stream is None:
            self.stream = self._open()
        return self.stream.fileno()

    def _fit(self, file: int, lines: list[str]) -> tuple[int, int]:
        """The descriptor to write to, and how many of the lines go there: at least one."""
        return file, len(lines)


class RotatingFile(WatchedFile, RotatingFileHandler):
    """A sink that rotates by size, and also notices that its file was moved or deleted.

    Args:
        path: absolute path; ``{pid}`` is filled in whenever the file is opened.
        max_bytes: rotate before the file reaches this size.
        backup_count: how many rotated files to keep; 0 never rotates.
    """

    def __init__(self, path: str, *, max_bytes: int, backup_count: int) -> None:
        self._path = path
        RotatingFileHandler.__init__(
            self, _fill(path), maxBytes=max_bytes, backupCount=backup_count, encoding="utf-8", delay=True
        )

    def _fit(self, file: int, lines: list[str]) -> tuple[int, int]:
        if self.backupCount == 0:
            return file, len(lines)
        size = os.fstat(file).st_size
        count = _count_below(self.maxBytes - size, lines)
        if count == 0 and size > 0:
            self.doRollover()
            file = self._open_file()
            count = _count_below(self.maxBytes, lines)
        return file, max(count, 1)


def _count_below(room: int, lines: list[str]) -> int:
    """How many lines fit into less than ``room`` bytes."""
    for count, line in enumerate(lines):
        room -= len(line) if line.isascii() else len(line.encode())
        if room <= 0:  # the size itself is too much already, as in RotatingFileHandler
            return count
    return len(lines)


def _write_lines(file: int, lines: list[str], count: int) -> None:
    """Write the first ``count`` lines, and remove from the list those that were written completely."""
    data = "".join(lines[:count]).encode()
    written = 0
    try:
        while written < len(data):
            written += os.write(file, memoryview(data)[written:])
    except OSError:
        whole = data.rfind(b"\n", 0, written) + 1
        _cut_off(file, written - whole)
        count = data.count(b"\n", 0, whole)
        raise
    finally:
        del lines[:count]


def _cut_off(file: int, torn: int) -> None:
    """Cut an incomplete line off the end of the file, after the disk was full."""
    if torn:
        os.ftruncate(file, os.fstat(file).st_size - torn)
