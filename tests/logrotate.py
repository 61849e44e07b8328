"""The real logrotate with the shipped configuration, on files that tasks write to meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from taskflow import FileLogger, TaskManager, task_log
from tests.processes import PATIENCE, eventually
from tests.shipping import LOGS, write_shipped

ROTATIONS = 6
"""Fewer than the 14 files that the shipped configuration keeps, so that none of a test's lines is deleted."""

LINES_BETWEEN = 300
"""How many lines at least are logged from one rotation to the next."""


@dataclass(frozen=True)
class Logrotate:
    """A logrotate that rotates the ``*.log`` of one folder whenever it is told to."""

    command: tuple[str | Path, ...]

    @classmethod
    def of(cls, binary: Path, logs: Path, folder: Path) -> Logrotate:
        """Rotate the files in ``logs``; configuration and state are kept in ``folder``."""
        configuration = write_shipped("logrotate/taskflow", folder, {LOGS: logs})
        return cls((binary, "--force", "--state", folder / "logrotate.state", configuration))

    def rotate(self) -> None:
        """Rotate now, due or not."""
        subprocess.run(self.command, check=True, timeout=PATIENCE)


@dataclass(frozen=True)
class Chatter:
    """Tasks that log numbered lines without a pause, two in threads and one on the event loop.

    Attributes:
        messages: what was logged so far; of one task in order, and ``the last one`` last.
    """

    logger: FileLogger
    messages: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[None]:
        """Log until the block ends, then close the logger."""
        manager = TaskManager(loggers=[self.logger], max_sync_threads=2)
        await manager.startup()
        try:
            manager.enqueue(self._talk_in_a_thread, "thread 1")
            manager.enqueue(self._talk_in_a_thread, "thread 2")
            manager.enqueue(self._talk_on_the_loop)
            yield
        finally:
            self._stop.set()
            await manager.drain()
            manager.enqueue(self._say, "the last one")
            await manager.shutdown()

    async def more(self, lines: int) -> None:
        """Return when ``lines`` more have been logged."""
        enough = len(self.messages) + lines
        await asyncio.to_thread(eventually, lambda: len(self.messages) >= enough)

    def _talk_in_a_thread(self, name: str) -> None:
        numbers = count()
        while not self._stop.wait(0.005):
            self._say(*[f"{name} {next(numbers)}" for _ in range(20)])

    async def _talk_on_the_loop(self) -> None:
        numbers = count()
        while not self._stop.is_set():
            self._say(*[f"loop {next(numbers)}" for _ in range(20)])
            await asyncio.sleep(0.005)

    def _say(self, *messages: str) -> None:
        for message in messages:
            task_log(message)
            self.messages.append(message)


async def log_while_rotating(
    logger: FileLogger, logrotate: Logrotate, *, has_arrived: Callable[[str], bool] = lambda message: True
) -> list[str]:
    """Let a `Chatter` log while its file is rotated `ROTATIONS` times; gives its messages.

    Args:
        logger: writes the file; closed in the end.
        logrotate: rotates it.
        has_arrived: whether a message has reached the reader of the file. A file is rotated when the reader
            has begun with it: one that comes and goes before anybody looks is seen by no log shipper.
    """
    chatter = Chatter(logger)
    async with chatter.talking():
        for _ in range(ROTATIONS):
            await chatter.more(LINES_BETWEEN)
            message = chatter.messages[-1]
            await logger.flush()
            await asyncio.to_thread(eventually, lambda message=message: has_arrived(message))
            await asyncio.to_thread(logrotate.rotate)
    return chatter.messages
