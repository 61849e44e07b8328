"""Writes events as lines to a file or stream, in a thread of its own.

    on_log: render ──► LineWriter.put ──► buffer ──► writer thread: join ──► Sink.append
    (calling thread)                      (bounded)  (every INTERVAL while there is something to do)

An observer formats an event and returns. The writer thread starts with the first line, writes in batches,
and ends by itself after some seconds without lines.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from concurrent.futures import Future
from typing import Protocol
from weakref import WeakSet

from taskflow.core.checks import check_bool, check_choice
from taskflow.core.complaints import Complaints
from taskflow.core.events import RANKS, LifecycleEvent, LogEvent
from taskflow.observers.base import TaskObserver
from taskflow.observers.formatting import FORMATS, Format

__all__ = ["BATCH_LINES", "BUFFER_LIMIT", "INTERVAL", "LineLogger", "LineWriter", "Sink"]

logger = logging.getLogger("taskflow.observers")

INTERVAL = 0.1
"""Seconds between two batches, and between tries after an error: a file is about this far behind."""

BUFFER_LIMIT = 50_000
"""Most lines that wait for the writer thread; then the newest is dropped and counted."""

BATCH_LINES = 1_000
"""Lines written at a time.

Each write frees the interpreter lock, and a busy event loop then keeps it for up to 5 ms
(`sys.getswitchinterval`): with small batches the writer is too slow, with large ones the loop is delayed.
"""

QUIET_PASSES = 50
"""After this many passes without a line the thread ends and the file is closed, until the next line."""

EXIT_SECONDS = 5.0
"""Seconds that the end of the process waits for a write that hangs."""

WARNING_SECONDS = 60.0
"""Seconds between two log records about the same trouble."""


class Sink(Protocol):
    """Where lines go. Called by one thread at a time."""

    def append(self, lines: list[str]) -> None:
        """Write whole lines and remove them from the list.

        When this raises, what is still on the list has not been written and is tried again.
        """

    def close(self) -> None:
        """Close the file; a later `append` opens it again."""


class LineWriter:
    """A bounded buffer and the thread that empties it into one sink.

    Args:
        sink: where the lines go.
        name: what to call the sink in messages, such as its path.

    Attributes:
        dropped: lines that were lost because the buffer was full, or because the sink still failed at
            `close`.
        write_errors: writes that failed; their lines are kept and tried again.
    """

    def __init__(self, sink: Sink, name: str) -> None:
        self.name = name
        self.dropped = 0
        self.write_errors = 0
        self._sink = sink
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        self._pending: deque[str] = deque()
        self._unwritten: list[str] = []
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()
        self._waiters: list[Future[None]] = []
        self._closing = False
        self._lock = threading.Lock()  # guards thread, waiters, closing and the counters
        self._pass_lock = threading.Lock()  # held by whoever writes
        self._failing = False
        self._reported = self.dropped
        self._write_complaints = Complaints(logger, WARNING_SECONDS, logging.WARNING)
        self._drop_complaints = Complaints(logger, WARNING_SECONDS, logging.WARNING)

    # ---- called from any thread ----

    def put(self, line: str) -> None:
        """Take a line. Never blocks, never raises."""
        if len(self._pending) >= BUFFER_LIMIT:
            self._drop(1)
            return
        self._pending.append(line)
        # After the append: a thread that ends clears `_thread` first and then looks at the buffer again,
        # so that either that thread or this one sees the line.
        if self._thread is None:
            self._ensure_thread()

    def request_flush(self, *, close: bool = False) -> Future[None]:
        """A future that is done once every line put so far was written, or has been tried.

        Args:
            close: also drop lines that cannot be written, close the sink and end the thread. A later line
                starts both again.
        """
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # a caller that stops waiting does not cancel the flush
        with self._lock:
            if self._thread is None and not self._pending and not self._unwritten:
                done.set_result(None)  # nothing to write, and the sink is closed
                return done
            self._waiters.append(done)
            self._closing = self._closing or close
        self._hurry.set()
        if not self._ensure_thread():
            self._pass()
        return done

    def drain(self) -> None:
        """Write what is left in the calling thread: at the end of the process no thread can be started."""
        self._pass(timeout=EXIT_SECONDS)

    def reset_in_child(self) -> None:
        """Reset in a forked child: it has no writer thread, and the waiting lines are the parent's."""
        self._reset()
        self._sink.close()

    # ---- the thread ----

    def _ensure_thread(self) -> bool:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=f"taskflow-log {self.name}", daemon=True)
                try:
                    thread.start()
                except (
                    RuntimeError
                ):  # no more threads, or the interpreter is ending: the next line tries again
                    return False
                self._thread = thread
            return True

    def _run(self) -> None:
        quiet = 0
        while True:
            self._hurry.wait(INTERVAL)
            self._hurry.clear()
            idle = not self._pending and not self._unwritten
            quiet = quiet + 1 if idle else 0
            closed = self._pass()
            if (closed or quiet >= QUIET_PASSES) and self._end():
                return

    def _end(self) -> bool:
        with self._lock:
            thread, self._thread = self._thread, None
            if self._pending or self._waiters:
                self._thread = thread
                return False
        with self._pass_lock:
            self._close_sink()
        return True

    def _pass(self, timeout: float = -1) -> bool:
        """Write the lines so far; returns whether a close was requested."""
        if not self._pass_lock.acquire(timeout=timeout):
            return False
        try:
            with self._lock:
                waiters, self._waiters = self._waiters, []
                closing, self._closing = self._closing, False
            self._write_pending(len(self._pending))
            if closing:
                self._drop_unwritten()
                self._close_sink()
            self._report_dropped()
        finally:
            self._pass_lock.release()
        for waiter in waiters:
            waiter.set_result(None)
        return closing

    # ---- one pass; under the pass lock ----

    def _write_pending(self, count: int) -> None:
        """Write earlier unwritten lines, then ``count`` lines of the buffer; stop at an error."""
        while self._write() and count > 0:
            size = min(count, BATCH_LINES)
            self._unwritten += [self._pending.popleft() for _ in range(size)]
            count -= size

    def _write(self) -> bool:
        if not self._unwritten:
            return True
        try:
            self._sink.append(self._unwritten)
        except Exception as error:  # whatever a file system or a user's stream raises
            self._write_failed(error)
            return False
        if self._failing:
            self._failing = False
            logger.info("writing to %s again", self.name)
        return True

    def _write_failed(self, error: Exception) -> None:
        self.write_errors += 1
        self._failing = True
        self._write_complaints.log("cannot write to %s, will try again: %r", self.name, error)

    def _drop_unwritten(self) -> None:
        lost = len(self._unwritten) + len(self._pending) if self._unwritten else 0
        if lost:
            self._unwritten.clear()
            self._pending.clear()
            self._drop(lost)

    def _close_sink(self) -> None:
        try:
            self._sink.close()
        except Exception as error:  # as in _write
            self._write_failed(error)

    # ---- losses ----

    def _drop(self, count: int) -> None:
        with self._lock:
            self.dropped += count

    def _report_dropped(self) -> None:
        lost = self.dropped - self._reported
        if lost and self._drop_complaints.log("%d log lines for %s were lost", lost, self.name):
            self._reported += lost


class LineLogger(TaskObserver):
    """Base of the observers that write lines: captures events for a `LineWriter`, which the subclass sets.

    Args:
        log_lifecycle: also write a line for every state that a task enters.
        min_level: the least severe `task_log` level that is written.
        format: ``text`` or ``json``, see `taskflow.observers.formatting`.

    Raises:
        ConfigurationError: an argument has a value that it cannot have.
    """

    _writer: LineWriter

    def __init__(self, *, log_lifecycle: bool, min_level: str, format: Format) -> None:
        super().__init__(min_level)
        self.log_lifecycle = check_bool("log_lifecycle", log_lifecycle)
        self._format = FORMATS[check_choice("format", format, FORMATS)]

    @property
    def dropped(self) -> int:
        """Lines lost so far, see `LineWriter`."""
        return self._writer.dropped

    @property
    def write_errors(self) -> int:
        """Writes that failed so far; their lines are tried again."""
        return self._writer.write_errors

    def on_log(self, event: LogEvent) -> None:
        """Put the line into the buffer if it is severe enough."""
        if RANKS[event.level] >= RANKS[self.min_level]:
            self._writer.put(self._format.log(event))

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Put a line into the buffer if lifecycle lines are wanted."""
        if self.log_lifecycle:
            self._writer.put(self._format.lifecycle(event))

    async def flush(self) -> None:
        """Return when every line so far is written, or could not be."""
        await asyncio.wrap_future(self._writer.request_flush())

    async def close(self) -> None:
        """Write what is left and end the writer thread. A line that comes later starts it again."""
        await asyncio.wrap_future(self._writer.request_flush(close=True))


_writers: WeakSet[LineWriter] = WeakSet()


def _forget_in_child() -> None:
    for writer in list(_writers):
        writer.reset_in_child()


def _drain_at_exit() -> None:
    for writer in list(_writers):
        writer.drain()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_drain_at_exit)
