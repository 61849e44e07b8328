"""What becomes of tasks that another process left unfinished: at a clean stop, by dying, or in silence.

::

    released at a clean stop               → PENDING, runs         requeued
    durable, left PENDING or RETRYING      → PENDING, runs         rescued | lease_expired
    durable, left RUNNING                  → PENDING, runs again   the same; with requeue_on_interrupt
                                           → INTERRUPTED           the same; without
                                           → FAILED                poison; it ended so too often
    not durable                            → INTERRUPTED           shutdown | lease_expired

``rescued`` if its process is known to have ended, ``lease_expired`` if it was not heard of for too long:
then it may live. If it comes back, that time does not count towards poison.

They go through the store like any other task, so that they make the same events.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from typing import Final

from taskflow.core.clock import utcnow
from taskflow.core.exceptions import (
    BackendError,
    TaskFinishedError,
    TaskNotCancellableError,
    TaskNotFoundError,
)
from taskflow.core.models import Failure, TaskRecord, TaskStatus
from taskflow.core.options import TaskOptions
from taskflow.core.query import Cursor
from taskflow.core.running import call_on
from taskflow.execution.dispatch import Dispatcher
from taskflow.execution.registry import TaskEntry
from taskflow.execution.running.attempt import Execution
from taskflow.execution.running.runners import Runners
from taskflow.execution.store import TaskStore
from taskflow.persistence.claims import Claim, Claims
from taskflow.persistence.identity import life_of
from taskflow.persistence.journal import Journal
from taskflow.persistence.rows import to_record
from taskflow.persistence.watch import Watch

__all__ = ["Recovery"]

logger = logging.getLogger("taskflow")

BATCH: Final = 250
"""Most rows that one call claims."""

MAX_RECOVERED: Final = 500
"""Most recovered tasks that wait or run at the same time, so that new tasks get their turn."""

COMPLAINTS: Final = 60.0
"""Seconds between two looks for tasks that nobody here can run."""

PENDING, RUNNING = TaskStatus.PENDING, TaskStatus.RUNNING


class Recovery:
    """Recovers such tasks at the start, and then every few seconds.

    Args:
        claims: finds them.
        store, journal, dispatcher, runners: where they go on.
        interval: seconds between two looks.
        max_rescues: a task that was left in its middle so often, by processes that did not come back, is
            poison.
        watch: knows whose lease is silent.
    """

    def __init__(
        self,
        claims: Claims,
        store: TaskStore,
        journal: Journal,
        dispatcher: Dispatcher,
        runners: Runners,
        interval: float,
        max_rescues: int,
        watch: Watch,
    ) -> None:
        self._claims = claims
        self._store = store
        self._journal = journal
        self._dispatcher = dispatcher
        self._runners = runners
        self._interval = interval
        self._max_rescues = max_rescues
        self._watch = watch
        self._under_way: set[str] = set()
        self._room = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._complained = 0.0

    async def begin(self) -> None:
        """Recover the first tasks, and log which ones cannot run here.

        Raises:
            BackendError: the backend could not be used.
        """
        self._loop, self._room = asyncio.get_running_loop(), asyncio.Event()
        self._under_way.clear()
        self._claims.waiting = {}
        await self.complain()
        await self._take_some(None)

    async def run(self) -> None:
        """Search every ``interval`` seconds until cancelled."""
        while True:
            with contextlib.suppress(BackendError):  # logged; the next search tries again
                await self._take_all()
                if time.monotonic() - self._complained > COMPLAINTS:
                    await self.complain()
            await asyncio.sleep(self._interval)

    async def complain(self) -> None:
        """See which tasks nobody here can run.

        Raises:
            BackendError: the backend cannot be asked.
        """
        await self._claims.complain()
        self._complained = time.monotonic()

    async def cancel(self, task_id: str) -> TaskRecord:
        """Cancel a task that is stored and that no instance has; the commit is on its way.

        Raises:
            TaskNotFoundError: no task has this id.
            TaskFinishedError: it has ended.
            TaskNotCancellableError: an instance has it.
            BackendError: the backend cannot be asked.
        """
        row = await self._claims.find(task_id)
        if row is None:
            raise TaskNotFoundError(task_id)
        record = self._store.get(task_id) or to_record(row)
        if record.finished:
            raise TaskFinishedError(task_id, record.status)
        if self._is_here(task_id) or not await self._claims.take_one(row):
            raise TaskNotCancellableError(task_id, "belongs to another instance: it can be cancelled there")
        if record.durable:
            self._journal.adopt(record, record.status)
        self._store.adopt(record, "user")
        self._store.transition(task_id, TaskStatus.CANCELLED, reason="user", only=record)
        return record

    def make_room(self, task_id: str) -> None:
        """Called when any task has ended or waits for a retry: the next one can be recovered. Thread-safe."""
        if task_id in self._under_way:
            self._under_way.discard(task_id)
            call_on(self._loop, self._room.set)

    async def _take_all(self) -> None:
        await self._claims.end(self._watch.silent())
        place = await self._take_some(None)
        while place is not None:
            while len(self._under_way) > MAX_RECOVERED - BATCH:
                self._room.clear()
                await self._room.wait()
            place = await self._take_some(place)

    async def _take_some(self, place: Cursor | None) -> Cursor | None:
        claims, place = await self._claims.take(BATCH, place, unless=self._is_here)
        for claim in claims:
            self._go_on(claim)
        return place

    def _is_here(self, task_id: str) -> bool:
        """Whether the task is unfinished in this process. The journal notices if another instance has it."""
        record = self._store.get(task_id)
        return (record is not None and not record.finished) or self._journal.find(task_id) is not None

    def _go_on(self, claim: Claim) -> None:
        record = claim.record
        present = self._store.get(record.task_id)
        if present is not None:
            self._has_ended(claim, present)
            return
        if claim.entry is None:
            reason = claim.reason if claim.reason == "lease_expired" else "shutdown"
            self._store.adopt(record, reason)
            self._store.transition(record.task_id, TaskStatus.INTERRUPTED, reason=reason)
            return
        if record.durable:
            self._journal.adopt(record, record.status)
        if self._comes_back(claim, claim.options):
            self._start(claim, claim.entry)

    def _has_ended(self, claim: Claim, present: TaskRecord) -> None:
        """Store the end of a task of this process, which an earlier shutdown could not store."""
        if present.durable:
            self._journal.adopt(present, claim.row.status)
            self._journal.note(present)

    def _comes_back(self, claim: Claim, options: TaskOptions) -> bool:
        """Put the task into its next state: whether that is PENDING."""
        record, reason = claim.record, claim.reason
        self._store.adopt(record, reason)
        if record.status is RUNNING:
            record.rescues += 1
            record.left_by = self._gone(claim)
            if len(record.left_by) >= self._max_rescues:
                self._store.transition(
                    record.task_id, TaskStatus.FAILED, failure=_poison(record), reason="poison"
                )
                return False
            if not options.requeue_on_interrupt:
                self._store.transition(record.task_id, TaskStatus.INTERRUPTED, reason=reason)
                return False
        if record.status is not PENDING:
            self._store.transition(record.task_id, PENDING, reason=reason)
        return True

    def _gone(self, claim: Claim) -> list[str]:
        """The lives that have left the task in its middle, but for those that have been heard of again."""
        assert claim.row.owner is not None  # it has not ended
        left_by, lives = [*claim.record.left_by, life_of(claim.row.owner)], self._claims.lives()
        return [life for life in left_by if life not in lives]

    def _start(self, claim: Claim, entry: TaskEntry) -> None:
        record = claim.record
        execution = Execution(
            entry,
            record,
            claim.args,
            claim.kwargs or {},
            contextvars.Context(),
            claim.options,
            self._runners.of(entry),
            self._journal.find(record.task_id),
            resumable=True,
        )
        if record.next_attempt_at is not None:
            execution.retry_delay = max(0.0, (record.next_attempt_at - utcnow()).total_seconds())
        if not execution.retry_delay:  # a task that waits for its retry does not count
            self._under_way.add(record.task_id)
        self._dispatcher.driver.admit(execution)
        self._dispatcher.dispatch((execution,))


def _poison(record: TaskRecord) -> Failure:
    times = len(record.left_by)
    error = f"its processes were gone in the middle of it, {times} times; it is not tried again"
    logger.error("task %s (%s) is poison: %s", record.func_name, record.task_id, error)
    return Failure(error, "taskflow.Poison", "")
