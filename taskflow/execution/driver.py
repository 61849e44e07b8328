"""The pipeline that an attempt goes through, and the loop of attempts around it.

::

    run ─► attempt ─► slot or thread ─► begin ─► the function ─► succeeded | failed | stopped
     ▲                                                                  │
     └────────────── retry delay ◄───────────── RETRYING ◄──────────────┘
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from taskflow.core.exceptions import (
    InvalidTransitionError,
    TaskFinishedError,
    TaskNotCancellableError,
    TaskNotFoundError,
)
from taskflow.core.models import TaskRecord, TaskStatus, qualified_name
from taskflow.core.running import running_loop
from taskflow.execution.context import enter_task
from taskflow.execution.gate import Gate
from taskflow.execution.pools import SlotPool, ThreadPool
from taskflow.execution.registry import TaskEntry
from taskflow.execution.stepping import Steered
from taskflow.execution.store import Failure, TaskStore

__all__ = ["Execution", "Executor"]

logger = logging.getLogger("taskflow")

STACKTRACE_BYTES = 64 * 1024
"""Bytes that a record keeps of a traceback, and of an exception's text."""

PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING
SUCCESS, FAILED = TaskStatus.SUCCESS, TaskStatus.FAILED
INTERRUPTED, CANCELLED = TaskStatus.INTERRUPTED, TaskStatus.CANCELLED


@dataclass(slots=True, eq=False)
class Execution(Steered):
    """One task on its way through the pipeline.

    Attributes:
        entry: the function and how it is executed.
        record: the task's record in the store.
        args, kwargs: the plain arguments, also where the record keeps them encrypted.
        context: the contextvars of the place that enqueued it.
        taken: whether somebody has undertaken to drive it.
        stop: the state and reason to end with, once it was asked to stop.
        retry_delay: seconds between the latest failure, or the recovery, and the next attempt.
        retry_at: when that attempt is due, on the monotonic clock.
        durable: what the backend knows of it; ``None`` if it is not written ahead.
        resumable: whether what a shutdown leaves of it can run after the next start.
        begun: whether its function has been entered.
    """

    entry: TaskEntry
    record: TaskRecord
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: contextvars.Context
    taken: bool = False
    stop: tuple[TaskStatus, str] | None = None
    retry_delay: float = 0.0
    retry_at: float = 0.0
    durable: Gate | None = None
    resumable: bool = False
    begun: bool = False

    def left_as(self) -> TaskStatus:
        """What a shutdown makes of it: PENDING if it can run after the next start."""
        again = not self.begun or self.entry.config.requeue_on_interrupt
        return PENDING if self.resumable and again else INTERRUPTED

    def take(self) -> bool:
        """Undertake to drive it; false if somebody has before."""
        if self.taken:
            return False
        self.taken = True
        return True


class Executor:
    """Drives executions to their end.

    Attributes:
        executions: every execution that has not ended, by task id.
        deadline: when a shutdown stops waiting, on the monotonic clock; ``None`` in normal life.
    """

    def __init__(self, store: TaskStore, slots: SlotPool, threads: ThreadPool) -> None:
        self.executions: dict[str, Execution] = {}
        self.deadline: float | None = None
        self._store = store
        self._slots = slots
        self._threads = threads
        self._driven: set[Execution] = set()
        self._idle_waiters: list[asyncio.Future[None]] = []

    def admit(self, execution: Execution) -> None:
        """Take note of an execution that will be driven, so that it can be cancelled before."""
        self.executions[execution.record.task_id] = execution

    async def run(self, execution: Execution) -> None:
        """Drive an execution to its end.

        Whatever the function does, nothing is raised; only when the calling asyncio task itself is
        cancelled does that pass through, with the record INTERRUPTED.
        """
        # Ended, or left for later, while it waited for its turn: no slot is needed for that.
        if execution.record.finished or execution.stop is not None:
            self.executions.pop(execution.record.task_id, None)
            return
        execution.loop = asyncio.get_running_loop()
        self._driven.add(execution)
        try:
            if (execution.durable or execution.retry_delay) and not await self._is_ready(execution):
                return
            await self._attempt(execution)
            while execution.record.status is RETRYING and execution.record in self._store:
                await self._wait_for_retry(execution)
                await self._attempt(execution)
        except asyncio.CancelledError:
            if not self._is_given_back(execution):
                self._stopped(execution)
            if execution.stop is None or execution.host_cancelled():
                raise
        except BaseException:
            self._stopped(execution)
            raise
        finally:
            self._driven.discard(execution)
            if execution.taken:
                self.executions.pop(execution.record.task_id, None)
            if self._idle_waiters and not self._driven:
                self._wake_idle_waiters()

    async def _is_ready(self, execution: Execution) -> bool:
        """Wait until a task is stored, and for what a restart left of its retry delay.

        False if it was refused, cancelled or taken over meanwhile.
        """
        context, durable = execution.context, execution.durable
        if durable is not None and not await execution.step_in(context, durable.settled()):
            return False
        if execution.retry_delay:
            await self._wait_for_retry(execution)
        elif durable is not None:
            await execution.step_in(context, durable.writable())
        return not execution.record.finished

    def _is_given_back(self, execution: Execution) -> bool:
        """Let somebody else drive a task that a client was promised, and that its request did not reach."""
        promised = execution.durable is not None and not execution.begun
        execution.taken = not promised or execution.stop is not None or self.deadline is not None
        return not execution.taken

    def _attempt(self, execution: Execution) -> Coroutine[Any, Any, None]:
        """The next attempt, in a fresh copy of the captured context."""
        context = execution.context.copy()
        if execution.entry.is_async:
            return execution.step_in(context, self._perform(execution))
        # The thread is inside its context all the time, so that waiting for it needs another.
        work = self._threads.run(lambda waited: context.run(self._perform_sync, execution, waited))
        return execution.step_in(execution.context, work)

    async def _perform(self, execution: Execution) -> None:
        """An attempt of an async function, inside its own context."""
        slot = self._slots.acquire_nowait() or await self._slots.acquire()
        try:
            if not self._begin(execution, self._slots.name, slot.waited):
                return
            if execution.durable is not None and not await execution.durable.settled():
                return
            execution.begun = True  # only now: its RUNNING is known to be stored
            await execution.entry.func(*execution.args, **execution.kwargs)
        except asyncio.CancelledError as exc:
            if execution.stop is not None or execution.host_cancelled():
                self._stopped(execution)
                raise
            self._failed(execution, exc)  # the function's own: it awaited something that was cancelled
        except (Exception, SystemExit) as exc:
            self._failed(execution, exc)
        except BaseException:
            self._stopped(execution)
            raise
        else:
            self._move(execution, SUCCESS)
        finally:
            slot.release()

    def _perform_sync(self, execution: Execution, waited: float) -> None:
        """An attempt of a sync function, inside its own context, in a thread."""
        if not self._begin(execution, self._threads.name, waited):
            return
        if execution.durable is not None and not execution.durable.settled_from_thread():
            return
        if execution.record.status is not RUNNING:  # stopped while it waited for that
            return
        execution.begun = True
        try:
            _refuse_coroutine(execution.entry.func(*execution.args, **execution.kwargs))
        except BaseException as exc:  # a thread has nobody to raise to
            self._failed(execution, exc)
        else:
            self._move(execution, SUCCESS)

    def _begin(self, execution: Execution, pool: str, waited: float) -> bool:
        """Enter RUNNING; false if the task was cancelled or interrupted while it waited."""
        record = execution.record
        if execution.stop is not None:
            return False
        enter_task(record, self._store)
        try:
            moved = self._store.transition(record.task_id, RUNNING, slot=(pool, waited), only=record)
        except InvalidTransitionError:
            return False
        return moved is not None

    def _failed(self, execution: Execution, exc: BaseException) -> None:
        if execution.stop is not None:  # its answer to being stopped
            _log(logging.WARNING, exc, "task %s (%s) raised while it was stopped", *_names(execution))
            self._stopped(execution)
            return
        record = execution.record
        failure = _describe(exc)
        retry = record.retries_used
        name, attempts = record.func_name, record.max_retries + 1
        if retry < record.max_retries:
            delay = execution.retry_delay = execution.entry.config.retry_delay(retry)
            execution.begun = False
            if self._move(execution, RETRYING, failure=failure, next_delay=delay):
                message = "task %s (%s) failed in attempt %d of %d, next in %g s"
                _log(logging.WARNING, exc, message, name, record.task_id, retry + 1, attempts, delay)
        elif self._move(execution, FAILED, failure=failure):
            message = "task %s (%s) failed in attempt %d of %d"
            _log(logging.ERROR, exc, message, name, record.task_id, retry + 1, attempts)

    def _stopped(self, execution: Execution) -> None:
        """End the record as it was asked to, unless that has been done."""
        status, reason = execution.stop or (execution.left_as(), "shutdown")
        self._move(execution, status, reason=reason)

    async def _wait_for_retry(self, execution: Execution) -> None:
        """Wait until the next attempt is due, and of a durable task until that it starts can be stored."""
        execution.retry_at = time.monotonic() + execution.retry_delay
        if self._is_hopeless(execution):
            execution.stop = (self._leave(execution, "shutdown"), "shutdown")
            return
        await execution.step_in(execution.context, asyncio.sleep(execution.retry_delay))
        if execution.durable is not None:
            await execution.step_in(execution.context, execution.durable.writable())

    def _is_hopeless(self, execution: Execution) -> bool:
        """Whether the next attempt is due only after the shutdown's deadline."""
        return self.deadline is not None and execution.retry_at > self.deadline

    def _move(
        self,
        execution: Execution,
        status: TaskStatus,
        failure: Failure | None = None,
        next_delay: float | None = None,
        reason: str | None = None,
    ) -> bool:
        """Make a transition; false if it comes too late: the task has ended otherwise, or has been taken up
        again, after a shutdown that did not wait for this.
        """
        record = execution.record
        try:
            moved = self._store.transition(
                record.task_id, status, failure=failure, next_delay=next_delay, reason=reason, only=record
            )
        except InvalidTransitionError:
            logger.debug("task %s: %s came too late", record.task_id, status)
            return False
        return moved is not None

    # Stopping

    def cancel(self, task_id: str, reason: str = "user") -> TaskRecord:
        """Cancel a task; from any thread.

        A task that waits is CANCELLED at once. In an async function that runs `asyncio.CancelledError`
        is raised where it awaits; the task is CANCELLED when that surfaces.

        Raises:
            TaskNotFoundError: no task has this id.
            TaskFinishedError: it has ended.
            TaskNotCancellableError: a sync function that has started.
        """
        record = self._store.get(task_id)
        if record is None:
            raise TaskNotFoundError(task_id)
        execution = self.executions.get(task_id)
        if not self._end_waiting(record, CANCELLED, reason):
            if record.finished:
                raise TaskFinishedError(task_id, record.status)
            if execution is None or not execution.entry.is_async:
                raise TaskNotCancellableError(task_id)
        if execution is not None:
            self._halt(execution, CANCELLED, reason)
        return record

    def skip(self, execution: Execution, reason: str) -> None:
        """Cancel an execution that nobody will drive."""
        self._end_waiting(execution.record, CANCELLED, reason)
        self._halt(execution, CANCELLED, reason)

    def interrupt(self, execution: Execution, reason: str = "shutdown") -> None:
        """Interrupt one execution, or leave it for later if it can run after the next start.

        Of an async function that runs, the attempt ends the record itself, inside its context, when the
        cancellation surfaces.
        """
        self._halt(execution, self._leave(execution, reason), reason)

    def _leave(self, execution: Execution, reason: str) -> TaskStatus:
        """End a record that waits, or that a sync function keeps; returns what becomes of it."""
        status = execution.left_as() if reason == "shutdown" else INTERRUPTED
        if not self._end_waiting(execution.record, status, reason) and not execution.entry.is_async:
            self._move(execution, status, reason=reason)
        return status

    def interrupt_hopeless(self) -> None:
        """Interrupt what waits for a retry that is due only after the deadline."""
        for execution in list(self.executions.values()):
            if execution.record.status is not RUNNING and self._is_hopeless(execution):
                self.interrupt(execution)

    def interrupt_all(self) -> None:
        """Interrupt everything that has not ended."""
        for execution in list(self.executions.values()):
            self.interrupt(execution)

    def abandon_all(self) -> None:
        """Interrupt the records of functions that do not stop; what they still return is discarded."""
        for execution in list(self.executions.values()):
            self._move(execution, execution.left_as(), reason="shutdown")
            if execution.loop is running_loop():
                execution.abandon()
        self.executions.clear()

    def _end_waiting(self, record: TaskRecord, status: TaskStatus, reason: str) -> bool:
        """End a task that waits; false if it runs or has ended."""
        try:
            self._store.transition(record.task_id, status, reason=reason, unless=RUNNING)
        except InvalidTransitionError:
            return False
        return True

    def _halt(self, execution: Execution, status: TaskStatus, reason: str) -> None:
        """Raise `asyncio.CancelledError` in whatever the execution awaits, and let it end as ``status``."""
        execution.stop = (status, reason)
        loop = execution.loop
        if loop is None:
            self.executions.pop(execution.record.task_id, None)
        elif loop is running_loop():
            execution.cancel()
        elif not loop.is_closed():
            loop.call_soon_threadsafe(execution.cancel)

    async def wait_idle(self) -> None:
        """Return when no execution is driven."""
        while self._driven:
            waiter = asyncio.get_running_loop().create_future()
            self._idle_waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._idle_waiters:
                    self._idle_waiters.remove(waiter)

    def _wake_idle_waiters(self) -> None:
        for waiter in self._idle_waiters:
            waiter.get_loop().call_soon_threadsafe(_wake, waiter)
        self._idle_waiters.clear()


def _refuse_coroutine(result: object) -> None:
    """A sync function that only makes a coroutine, such as a lambda, has done nothing yet."""
    if asyncio.iscoroutine(result):
        result.close()
        raise TypeError("it returned a coroutine that nobody would await: make it an async def")


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _describe(exc: BaseException) -> Failure:
    text = "".join(traceback.format_exception(type(exc), exc, _own_traceback(exc)))
    return Failure(_capped(_text(exc)), qualified_name(type(exc)), _capped(text))


def _own_traceback(exc: BaseException) -> TracebackType | None:
    """The traceback from the task function on: the first frame is ours."""
    return exc.__traceback__.tb_next if exc.__traceback__ is not None else None


def _text(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as broken:
        return f"<{type(exc).__name__}.__str__ raised {type(broken).__name__}>"


def _capped(text: str) -> str:
    """The text within its limit; of a long traceback the end says most, so the middle is cut."""
    octets = text.encode(errors="replace")
    if len(octets) <= STACKTRACE_BYTES:
        return text
    half = STACKTRACE_BYTES // 2
    head, tail = (part.decode(errors="ignore") for part in (octets[:half], octets[-half:]))
    return f"{head}\n… cut …\n{tail}"


def _names(execution: Execution) -> tuple[str, str]:
    return execution.record.func_name, execution.record.task_id


def _log(level: int, exc: BaseException, message: str, *args: object) -> None:
    logger.log(level, message, *args, exc_info=(type(exc), exc, _own_traceback(exc)))
