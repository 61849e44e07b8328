"""What bounds how much runs at once: places for async functions, and places in threads for sync ones.

Each pool counts for itself, so that metrics read it without touching the private parts of others.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from taskflow.core.checks import check_optional_int
from taskflow.core.running import running_loop

__all__ = ["Pool", "Pools"]

DEFAULT_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)
"""As many threads as asyncio's default pool has: `concurrent.futures.ThreadPoolExecutor`."""


class Pool:
    """Places for attempts. Safe to use from any thread and from several event loops.

    Args:
        name: ``async`` or ``thread``.
        size: how many attempts it holds at most; ``None`` for no limit.

    Attributes:
        name, size: as given.
        in_use: attempts that it holds now.
        waiting: attempts that wait for a place now.
    """

    def __init__(self, name: str, size: int | None) -> None:
        self.name = name
        self.size = size
        self.in_use = 0
        self.waiting = 0
        self._lock = threading.Lock()
        # By its keys, because any of them may leave: a hundred thousand do at a shutdown.
        self._queue: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def enter_nowait(self) -> bool:
        """Take a place, if one is free and nobody waits for it."""
        if self.size is None:
            self.in_use += 1
            return True
        with self._lock:
            free = self.in_use < self.size and not self._queue
            self.in_use += free
            return free

    async def enter(self) -> float:
        """Wait for a place, first come, first served, and take it. Returns the seconds waited."""
        since = time.monotonic()
        turn = asyncio.get_running_loop().create_future()
        with self._lock:
            if self.size is None or self.in_use < self.size:
                self.in_use += 1
                return 0.0
            self._queue[turn] = None
            self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not self._stop_waiting(turn):  # it has been given a place meanwhile
                self.leave()
            raise
        finally:
            with self._lock:
                self.waiting -= 1  # only here: until it goes on, the attempt still waits
        return time.monotonic() - since

    def _stop_waiting(self, turn: asyncio.Future[None]) -> bool:
        with self._lock:
            waits = turn in self._queue
            if waits:
                del self._queue[turn]
            return waits

    def leave(self) -> None:
        """Give a place to whoever waits for longest, or back to the pool."""
        if self.size is None:
            self.in_use -= 1
            return
        while True:
            with self._lock:
                if not self._queue:
                    self.in_use -= 1
                    return
                turn, _ = self._queue.popitem(last=False)
            if _give(turn):
                return


def _give(turn: asyncio.Future[None]) -> bool:
    """Tell whoever waits that it has a place; false if its loop has ended."""
    loop = turn.get_loop()
    try:
        if loop is running_loop():
            _wake(turn)
        else:
            loop.call_soon_threadsafe(_wake, turn)
    except RuntimeError:  # the loop is closed
        return False
    return True


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():  # else it was cancelled, and gives the place back by itself
        turn.set_result(None)


class Pools:
    """All pools of a manager. Which one an attempt passes is asked of its runner.

    Args:
        max_concurrent_tasks: async functions that may run at once; ``None`` for no limit.
        max_sync_threads: sync functions that may run at once, each in a thread; ``None`` for as many as
            asyncio's default pool has threads.

    Raises:
        ConfigurationError: one is not ``None`` or a whole number of at least 1.
    """

    def __init__(self, max_concurrent_tasks: int | None = None, max_sync_threads: int | None = None) -> None:
        slots = check_optional_int("max_concurrent_tasks", max_concurrent_tasks, minimum=1)
        threads = check_optional_int("max_sync_threads", max_sync_threads, minimum=1)
        self.slots = Pool("async", slots)
        self.threads = Pool("thread", threads or DEFAULT_THREADS)

    def __iter__(self) -> Iterator[Pool]:
        return iter((self.slots, self.threads))
