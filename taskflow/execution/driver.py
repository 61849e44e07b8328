"""Driving tasks: from one attempt to the next, and through every state until the end.

::

    run ─► may it start? ─► place in a pool ─► RUNNING ─► is that stored? ─► runner ─► outcome ─► state
     ▲                                                                                            │
     └────────────────── retry delay ◄──────────────── RETRYING ◄─────────────────────────────────┘

A runner runs an attempt and returns its outcome; only the driver changes states. Cancelling and shutting
down are its business, too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final

from taskflow.core.exceptions import (
    InvalidTransitionError,
    TaskFinishedError,
    TaskNotCancellableError,
    TaskNotFoundError,
)
from taskflow.core.models import Failure, TaskRecord, TaskStatus
from taskflow.core.running import call_on, running_loop, sliced
from taskflow.core.waiters import Waiters
from taskflow.execution.context import enter_task
from taskflow.execution.running.attempt import Execution
from taskflow.execution.running.failure import describe, log_failure
from taskflow.execution.running.stepping import stepped
from taskflow.execution.store import TaskStore

__all__ = ["Driver"]

logger = logging.getLogger("taskflow")

PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING
SUCCESS, FAILED = TaskStatus.SUCCESS, TaskStatus.FAILED
INTERRUPTED, CANCELLED = TaskStatus.INTERRUPTED, TaskStatus.CANCELLED

LONG_DELAY: Final = 5.0
"""Seconds of a retry delay from which on the request of a task does not wait for its end."""

AT_ONCE: Final = 200
"""Executions that are ended in one turn of the event loop, which takes about ten milliseconds."""


class Driver:
    """Drives executions to their end.

    Attributes:
        executions: every execution that has not ended, by task id.
        deadline: when a shutdown stops waiting, on the monotonic clock; ``None`` in normal life.
        preview: makes what people will see of the arguments; ``None`` if nobody will.
    """

    def __init__(self, store: TaskStore) -> None:
        self.executions: dict[str, Execution] = {}
        self.deadline: float | None = None
        self.preview: Callable[[tuple[Any, ...], Mapping[str, Any]], object] | None = None
        self._store = store
        self._driven: set[Execution] = set()
        self._idle, self._idle_awaited = Waiters(), 0

    def admit(self, execution: Execution) -> None:
        """Take note of an execution that will be driven, so that it can be cancelled before."""
        record = execution.record
        self.executions[record.task_id] = execution
        if self.preview is not None:  # before the function can change them
            record.preview = self.preview(execution.args, execution.kwargs)
        if record.payload is not None or record.encrypted_payload is not None:
            execution.shed()

    def run(self, execution: Execution, host: asyncio.Task[None] | None = None) -> Coroutine[Any, Any, None]:
        """Drive an execution to its end.

        Whatever the function does, nothing is raised; only when the asyncio task that drives it is itself
        cancelled does that pass through, with the record INTERRUPTED.

        Args:
            execution: the task.
            host: the worker that drives it; the current asyncio task if ``None``.
        """
        if host is None:
            return self._run(execution)
        once = execution.gate is None and not execution.retry_delay and not execution.record.max_retries
        return self._run_once(execution, host) if once else self._run(execution, host)

    async def _run(self, execution: Execution, host: asyncio.Task[None] | None = None) -> None:
        record = execution.record
        if not self._enter(execution, host):
            return
        try:
            if (execution.gate is not None or execution.retry_delay) and not await self._is_ready(execution):
                return
            await self._attempt(execution)
            while record.status is RETRYING and record in self._store:
                await self._wait_for_retry(execution)
                await self._attempt(execution)
        except asyncio.CancelledError:
            self._stopped(execution)
            if execution.stop is None or execution.host_cancelled():
                raise
        except BaseException:
            self._stopped(execution)
            raise
        finally:
            self._leave_host(execution)

    async def _run_once(self, execution: Execution, host: asyncio.Task[None]) -> None:
        """`_run` and `_perform` in one, for a worker whose task has one attempt and no gate.

        Most tasks are like that, and each coroutine costs a tenth of what everything else does for one:
        `tests/unit/execution/test_driver_paths.py` compares the two.
        """
        if execution.record.end_time is not None or execution.stop is not None:
            self._end_undriven(execution)
            return
        execution.host, execution.loop = host, host.get_loop()
        self._driven.add(execution)
        runner = execution.runner
        pool, host_cancelled = runner.pool, False
        try:
            waited = 0.0 if pool.enter_nowait() else await pool.enter()
            try:
                if not self._begin(execution, pool.name, waited):
                    return
                execution.begun = True
                outcome = await runner.run(execution)
                if outcome.error is None:
                    if not self._store.succeed(execution.record):
                        _say_late(execution, SUCCESS)
                    return
                self._report(execution, outcome.error)
                host_cancelled = _is_cancellation(outcome.error) and execution.host_cancelled()
            finally:
                if not execution.outlived:
                    pool.leave()
        except asyncio.CancelledError:
            self._stopped(execution)
            if execution.stop is None or execution.host_cancelled():
                raise
        except BaseException:
            self._stopped(execution)
            raise
        finally:
            self._leave_host(execution)
        if host_cancelled:
            raise asyncio.CancelledError

    def _enter(self, execution: Execution, host: asyncio.Task[None] | None) -> bool:
        """Take note of what drives an execution; false if there is nothing to drive."""
        # Ended, or left for later, while it waited for its turn: no place is needed for that.
        if execution.record.end_time is not None or execution.stop is not None:
            self._end_undriven(execution)
            return False
        if host is None:
            execution.enter_host()
        else:  # a worker, which was never cancelled
            execution.host, execution.loop = host, host.get_loop()
        self._driven.add(execution)
        return True

    def _leave_host(self, execution: Execution) -> None:
        self._driven.discard(execution)
        self.executions.pop(execution.record.task_id, None)  # as `_end`, without a call for every task
        execution.over = True
        if execution.waiter is not None:
            execution.let_go()
        if self._idle_awaited and not self._driven:
            self._idle.wake()

    def _end_undriven(self, execution: Execution) -> None:
        """There is nothing to drive: it has ended, or a shutdown will end it in its turn."""
        if execution.record.end_time is not None:
            self._end(execution)

    def _end(self, execution: Execution) -> None:
        """Nobody drives an execution any more."""
        self.executions.pop(execution.record.task_id, None)
        execution.over = True
        if execution.waiter is not None:
            execution.let_go()

    async def _is_ready(self, execution: Execution) -> bool:
        """Wait until a task is stored, and for what a restart left of its retry delay.

        False if it could not be stored, or was cancelled or taken over meanwhile.
        """
        if execution.gate is not None and not await execution.gate.may_start():
            return False
        if execution.retry_delay:
            await self._wait_for_retry(execution)
        return not execution.record.finished

    def _attempt(self, execution: Execution) -> Awaitable[None]:
        """The next attempt, in a fresh copy of the captured context; an only attempt in itself."""
        if execution.record.max_retries:
            return stepped(execution.context.copy(), self._perform(execution), execution)
        if execution.inside:
            return self._perform(execution)
        return stepped(execution.context, self._perform(execution), execution)

    async def _perform(self, execution: Execution) -> None:
        """One attempt, inside its context."""
        runner, gate = execution.runner, execution.gate
        pool = runner.pool
        waited = 0.0 if pool.enter_nowait() else await pool.enter()
        try:
            if not self._begin(execution, pool.name, waited):
                return
            if gate is not None and not (await gate.start_is_stored() and self._may_enter(execution)):
                return
            execution.begun = True  # only now: its RUNNING is known to be stored
            outcome = await runner.run(execution)
            if outcome.error is None:
                self._succeed(execution)
                return
            self._report(execution, outcome.error)
        except asyncio.CancelledError:
            self._stopped(execution)
            raise
        finally:
            if not execution.outlived:
                pool.leave()
        if _is_cancellation(outcome.error) and execution.host_cancelled():
            raise asyncio.CancelledError

    def _begin(self, execution: Execution, pool: str, waited: float) -> bool:
        """Enter RUNNING; false if the task was cancelled or interrupted while it waited."""
        record = execution.record
        if execution.stop is not None:
            self._stopped(execution)
            return False
        enter_task(record, self._store)
        return self._store.start(record, pool, waited)

    def _succeed(self, execution: Execution) -> None:
        if not self._store.succeed(execution.record):
            _say_late(execution, SUCCESS)

    def _may_enter(self, execution: Execution) -> bool:
        """Whether the function may be entered; not if a shutdown is about to end it in its turn."""
        if execution.stop is not None:
            self._stopped(execution)
        return execution.stop is None

    def _report(self, execution: Execution, error: BaseException) -> None:
        """Enter the state that a failed attempt has led to."""
        cancelled = _is_cancellation(error)
        if execution.stop is None and not (cancelled and execution.host_cancelled()):
            self._failed(execution, error)  # a CancelledError, too, if it awaited something cancelled
            return
        if not cancelled:  # its answer to being stopped
            message = "task %s (%s) raised while it was stopped"
            log_failure(logger, logging.WARNING, error, message, *_names(execution))
        self._stopped(execution)

    def _failed(self, execution: Execution, error: BaseException) -> None:
        record = execution.record
        failure = describe(error)
        retry = record.retries_used
        name, attempts = record.func_name, record.max_retries + 1
        if retry < record.max_retries:
            delay = execution.retry_delay = execution.options.retry_delay(retry)
            execution.begun = False
            execution.shed()
            if self._move(execution, RETRYING, failure=failure, next_delay=delay):
                message = "task %s (%s) failed in attempt %d of %d, next in %g s"
                details = (name, record.task_id, retry + 1, attempts, delay)
                log_failure(logger, logging.WARNING, error, message, *details)
        elif self._move(execution, FAILED, failure=failure):
            message = "task %s (%s) failed in attempt %d of %d"
            log_failure(logger, logging.ERROR, error, message, name, record.task_id, retry + 1, attempts)

    def _stopped(self, execution: Execution) -> None:
        """End the record as it was asked to, unless that has been done."""
        reason = execution.unowned
        status, reason = execution.stop or (execution.left_as(reason), reason)
        self._move(execution, status, reason=reason)

    async def _wait_for_retry(self, execution: Execution) -> None:
        """Wait until the next attempt is due, and until its start can be stored."""
        execution.retry_at = time.monotonic() + execution.retry_delay
        if self._is_hopeless(execution):
            execution.stop = (self._leave(execution, "shutdown"), "shutdown")
            return
        if execution.retry_delay >= LONG_DELAY:
            execution.let_go()
        await asyncio.sleep(execution.retry_delay)
        if execution.gate is not None:
            await execution.gate.may_start()

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
                record.task_id, status, failure, next_delay, None, reason, None, record
            )
        except InvalidTransitionError:
            _say_late(execution, status)
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
            if execution is None or not _is_stoppable(execution):
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
        cancellation surfaces. What was asked to stop before goes on with that.
        """
        if execution.stop is None:
            self._halt(execution, self._leave(execution, reason), reason)

    def _leave(self, execution: Execution, reason: str) -> TaskStatus:
        """End a record that waits, or that a sync function keeps; returns what becomes of it."""
        status = execution.left_as(reason)
        if not self._end_waiting(execution.record, status, reason) and not _is_stoppable(execution):
            self._move(execution, status, reason=reason)
        return status

    async def interrupt_hopeless(self) -> None:
        """Interrupt what waits for a retry that is due only after the deadline."""
        async for execution in self._in_turns(self.executions.values()):
            if execution.record.status is not RUNNING and self._is_hopeless(execution):
                self.interrupt(execution)

    async def interrupt_all(self) -> None:
        """Interrupt everything that has not ended. None of it begins meanwhile."""
        everything = list(self.executions.values())  # other threads may add to it
        going_on = [execution for execution in everything if execution.stop is None]
        for execution in going_on:
            execution.stop = (execution.left_as("shutdown"), "shutdown")
        async for execution in self._in_turns(going_on):
            self._halt(execution, self._leave(execution, "shutdown"), "shutdown")

    async def abandon_all(self) -> None:
        """Interrupt the records of functions that do not stop; what they still return is discarded."""
        everything = list(self.executions.values())
        for execution in everything:
            execution.stop = execution.stop or (execution.left_as(execution.unowned), execution.unowned)
        async for execution in self._in_turns(everything):
            self._stopped(execution)
            self.executions.pop(execution.record.task_id, None)
            if execution.loop is running_loop():
                execution.abandon()
            elif execution.loop is None:  # nobody drives it: whoever waits for it goes on
                self._end(execution)

    async def _in_turns(self, executions: Iterable[Execution]) -> AsyncIterator[Execution]:
        """Those that have not ended by then; the loop gets a turn after some of them."""
        async for part in sliced(executions, AT_ONCE):
            for execution in part:
                if self.executions.get(execution.record.task_id) is execution:
                    yield execution

    def _end_waiting(self, record: TaskRecord, status: TaskStatus, reason: str) -> bool:
        """End a task that waits; false if it runs or has ended."""
        try:
            self._store.transition(record.task_id, status, reason=reason, unless=RUNNING)
        except InvalidTransitionError:
            return False
        return True

    def _halt(self, execution: Execution, status: TaskStatus, reason: str) -> None:
        """Raise `asyncio.CancelledError` in whatever the execution awaits, and let it end as ``status``."""
        if execution.stop is None:
            execution.stop = (status, reason)
        if execution.loop is None:
            self._end(execution)
        else:
            call_on(execution.loop, execution.cancel)

    async def wait_idle(self) -> None:
        """Return when no execution is driven."""
        self._idle_awaited += 1
        try:
            await self._idle.wait_for(lambda: not self._driven)
        finally:
            self._idle_awaited -= 1


def _is_stoppable(execution: Execution) -> bool:
    """Whether a running task can be cancelled: a sync function cannot, once it has been entered."""
    return execution.runner.stoppable or not execution.begun


def _say_late(execution: Execution, status: TaskStatus) -> None:
    logger.debug("task %s: %s came too late", execution.record.task_id, status)


def _is_cancellation(error: BaseException) -> bool:
    return issubclass(type(error), asyncio.CancelledError)  # not what it says of its class: that may raise


def _names(execution: Execution) -> tuple[str, str]:
    return execution.record.func_name, execution.record.task_id
