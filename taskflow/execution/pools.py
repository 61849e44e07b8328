"""What bounds how much runs at once: slots for async functions, threads for sync ones.

Both keep their own counters, so that metrics read them without touching the private parts of
`asyncio.Semaphore` or `ThreadPoolExecutor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, Protocol, TypeVar

from taskflow.core.checks import check_optional_int

__all__ = ["Pool", "Slot", "SlotPool", "ThreadPool"]


P = ParamSpec("P")
T = TypeVar("T")


class Pool(Protocol):
    """What both kinds tell of themselves.

    Attributes:
        name: ``async`` or ``thread``.
        size: how many attempts it holds at most; ``None`` if it sets no limit of its own.
        in_use: attempts that it holds now.
        waiting: attempts that wait for it now.
    """

    name: str
    size: int | None
    in_use: int
    waiting: int


class SlotPool:
    """Slots for attempts of async functions.

    Args:
        size: how many may run at once; ``None`` for no limit.

    Raises:
        ConfigurationError: ``size`` is not ``None`` or a whole number of at least 1.
    """

    name = "async"

    def __init__(self, size: int | None = None) -> None:
        self.size = check_optional_int("max_concurrent_tasks", size, minimum=1)
        self.in_use = 0
        self.waiting = 0
        self._semaphore: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unlimited = Slot(self, None, 0.0) if size is None else None

    def acquire_nowait(self) -> Slot | None:
        """A slot, if there is no limit; else ``None``: `acquire` it."""
        if self._unlimited is not None:
            self.in_use += 1
        return self._unlimited

    async def acquire(self) -> Slot:
        """Wait for a slot of a limited pool and return it."""
        semaphore = self._current()
        waited = 0.0
        if semaphore.locked():
            waited = await self._wait(semaphore)
        else:
            await semaphore.acquire()
        self.in_use += 1
        return Slot(self, semaphore, waited)

    async def _wait(self, semaphore: asyncio.Semaphore) -> float:
        since = time.monotonic()
        self.waiting += 1
        try:
            await semaphore.acquire()
        finally:
            self.waiting -= 1
        return time.monotonic() - since

    def _current(self) -> asyncio.Semaphore:
        # A semaphore belongs to the loop that it was first waited on; a manager may
        # see several, one after the other (a TestClient makes one for each run).
        loop = asyncio.get_running_loop()
        if self._semaphore is None or self._loop is not loop:
            assert self.size is not None  # without a limit, `acquire_nowait` has given a slot
            self._semaphore, self._loop = asyncio.Semaphore(self.size), loop
        return self._semaphore


class Slot:
    """A place in a `SlotPool`.

    Attributes:
        waited: seconds that it took to get.
    """

    __slots__ = ("_pool", "_semaphore", "waited")

    def __init__(self, pool: SlotPool, semaphore: asyncio.Semaphore | None, waited: float) -> None:
        self._pool = pool
        self._semaphore = semaphore
        self.waited = waited

    def release(self) -> None:
        """Give it back."""
        self._pool.in_use -= 1
        if self._semaphore is not None:
            self._semaphore.release()


class ThreadPool:
    """Threads for attempts of sync functions: asyncio's default pool, or one of their own.

    Args:
        size: threads of a dedicated pool; ``None`` for asyncio's default pool, as `asyncio.to_thread`
            uses it. At Ctrl-C `asyncio.run` waits for the default pool's threads, not for dedicated ones.

    Raises:
        ConfigurationError: ``size`` is not ``None`` or a whole number of at least 1.
    """

    name = "thread"

    def __init__(self, size: int | None = None) -> None:
        self.size = check_optional_int("max_sync_threads", size, minimum=1)
        self.in_use = 0
        self.waiting = 0
        self._lock = threading.Lock()
        self._executor: DaemonThreadPool | None = None

    async def run(self, work: Callable[[float], None]) -> None:
        """Call ``work`` in a thread with the seconds that it waited for one; return when it has returned.

        When the caller is cancelled, work that has not started never will; work that has started goes
        on, and counts as in use until it returns.
        """
        ticket = _Ticket(self, work)
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._dedicated(), ticket.work)
        try:
            await future
        except asyncio.CancelledError:
            ticket.give_up()
            raise

    def _dedicated(self) -> DaemonThreadPool | None:
        if self.size is None:
            return None
        with self._lock:
            if self._executor is None:
                self._executor = DaemonThreadPool(self.size)
            return self._executor

    def count(self, *, waiting: int = 0, in_use: int = 0) -> None:
        """Change the counters; from any thread."""
        with self._lock:
            self.waiting += waiting
            self.in_use += in_use

    def close(self) -> None:
        """Let go of the dedicated threads without waiting for those that still work.

        The pool can be used again: it makes new threads then.
        """
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.close()


class _Ticket:
    """A piece of work on its way into a thread: counted as waiting, then in use, then not at all."""

    def __init__(self, pool: ThreadPool, work: Callable[[float], None]) -> None:
        self._pool = pool
        self._work = work
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self._taken = False
        pool.count(waiting=1)

    def _take(self) -> bool:
        """Whether the caller is the first: the thread that starts the work, or whoever gives it up."""
        with self._lock:
            first = not self._taken
            self._taken = True
            return first

    def work(self) -> None:
        if not self._take():
            return
        self._pool.count(waiting=-1, in_use=1)
        try:
            self._work(time.monotonic() - self._since)
        finally:
            self._pool.count(in_use=-1)

    def give_up(self) -> None:
        if self._take():
            self._pool.count(waiting=-1)


class DaemonThreadPool(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` whose threads a process does not wait for at its end.

    Python joins an ordinary pool's threads at exit: Ctrl-C would wait for a function that nothing can
    stop. None of the base's threads is ever started.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._size = size
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0
        self._start_lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``fn`` in a thread, as soon as one is free."""
        future: Future[T] = Future()
        self._queue.put((future, functools.partial(fn, *args, **kwargs)))
        with self._start_lock:
            if not self._idle.acquire(blocking=False) and self._started < self._size:
                self._started += 1
                name = f"taskflow_{self._started}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
        return future

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            future, work = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as exc:  # as the base does: whoever waits for the future gets it
                    future.set_exception(exc)
            del item, future, work  # nothing of a task is kept while the thread waits for the next
            self._idle.release()

    def close(self) -> None:
        """Cancel what no thread has begun, and let every thread end when it has returned."""
        with self._start_lock:
            with contextlib.suppress(Empty):
                while (item := self._queue.get_nowait()) is not None:
                    item[0].cancel()
            for _ in range(self._started):
                self._queue.put(None)
