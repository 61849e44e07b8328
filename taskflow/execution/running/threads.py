"""Threads for sync functions, which a process does not wait for at its end."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from taskflow.execution.running.attempt import Outcome
from taskflow.execution.running.from_thread import event_loop_token, reachable

__all__ = ["Job", "Threads"]

logger = logging.getLogger("taskflow")


class Job:
    """A call in a thread. To be made on the event loop that waits for it.

    Attributes:
        outcome: done when the call has ended.
    """

    def __init__(self, work: Callable[[], Outcome]) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._work = work
        self._anyio = event_loop_token()
        self._lock = threading.Lock()
        self._ended = False
        self._on_end: Callable[[], None] | None = None

    def run(self) -> None:
        """Make the call; in the thread."""
        with reachable(self._anyio):
            outcome = self._work()
        with self._lock:
            self._ended = True
            on_end = self._on_end
        if on_end is not None:  # nobody waits
            on_end()
            return
        try:
            self.outcome.get_loop().call_soon_threadsafe(self._tell, outcome)
        except RuntimeError:
            logger.debug("a sync function has ended after its event loop")

    def _tell(self, outcome: Outcome) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    def leave(self, on_end: Callable[[], None]) -> bool:
        """Wait no more: call ``on_end`` when the call ends, in the thread. False if it has ended."""
        with self._lock:
            self._on_end = on_end
            return not self._ended


class Threads:
    """Daemon threads, made when they are needed and kept until `close`.

    Python joins the threads of an ordinary pool at exit: Ctrl-C would wait for a function that nothing can
    stop. `anyio.from_thread` works in them. How many there are is bounded by whoever starts jobs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._idle = 0
        self._started = 0

    def start(self, work: Callable[[], Outcome]) -> Job:
        """Make a call in a thread, at once."""
        job = Job(work)
        with self._lock:
            self._queue.put(job)
            if self._idle:
                self._idle -= 1
                return job
            self._started += 1
            name, queue = f"taskflow_{self._started}", self._queue
        threading.Thread(target=self._serve, args=(queue,), name=name, daemon=True).start()
        return job

    def _serve(self, queue: SimpleQueue[Job | None]) -> None:
        while (job := queue.get()) is not None:
            job.run()
            del job  # nothing of a task is kept while the thread waits for the next
            with self._lock:
                if queue is not self._queue:  # closed meanwhile
                    return
                self._idle += 1

    def close(self) -> None:
        """Let every thread end when its call has returned. The next call makes new ones."""
        with self._lock:
            queue, self._queue = self._queue, SimpleQueue()
            idle, self._idle = self._idle, 0
        for _ in range(idle):
            queue.put(None)
