"""Connects a backend to the engine; the engine also runs without one."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.core.backoff import Backoff
from taskflow.core.events import LifecycleEvent
from taskflow.core.exceptions import BackendError, BackendUnavailableError
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.options import PersistenceOptions
from taskflow.execution.dispatch import Dispatcher
from taskflow.execution.registry import TaskRegistry
from taskflow.execution.running.runners import Runners
from taskflow.execution.store import TaskStore
from taskflow.execution.stream import Event, EventStream
from taskflow.persistence.backend import Change, SnapshotBackend
from taskflow.persistence.claims import Claims
from taskflow.persistence.handover import HandOver
from taskflow.persistence.health import BackendVitals
from taskflow.persistence.heart import Heart
from taskflow.persistence.journal import DurableTask, Journal
from taskflow.persistence.lease import Instance
from taskflow.persistence.namesakes import Namesakes
from taskflow.persistence.recovery import Recovery
from taskflow.persistence.rows import to_row
from taskflow.persistence.snapshot import SnapshotScheduler

__all__ = ["EngineParts", "Persistence"]

logger = logging.getLogger("taskflow")

TAKEN_OVER: Final = (
    "task %s (%s) was taken over by another instance: what it does here does not count",
    "lease_lost",
)
DELETED: Final = ("task %s (%s) stops: somebody has deleted its row from the store", "store_lost")
"""What the log says of a task that is not ours any more, and the reason that it ends with."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between tries to reach a backend that was away at the start, see `Backoff`."""

LAST_STEPS: Final = 2.0
"""Seconds for each of the last two steps of a shutdown, which have nothing to hand over."""


@dataclass(frozen=True, slots=True)
class EngineParts:
    """The parts of the engine that persistence uses."""

    stream: EventStream
    store: TaskStore
    registry: TaskRegistry
    arguments: ArgumentKeeper
    dispatcher: Dispatcher
    runners: Runners


class Persistence:
    """Stores the tasks of one manager in a backend.

    It subscribes to the event stream. At each event of a durable task, the journal writes the new state;
    all other tasks are saved by the scheduler, every now and then.

    Args:
        backend: where the tasks are stored.
        engine: the parts of the engine.
        options: times and limits.

    Attributes:
        vitals: whether the backend can be used now.
        journal: writes the states of durable tasks.
        scheduler: saves all other tasks.
    """

    def __init__(self, backend: SnapshotBackend, engine: EngineParts, options: PersistenceOptions) -> None:
        self.backend = backend
        self.vitals = BackendVitals(backend.kind, engine.stream)
        self._instance = Instance(backend, self.vitals)
        self._heart = Heart(
            self._instance,
            options.heartbeat_interval,
            options.lease_timeout,
            options.rescue_interval,
            options.max_loop_stall,
        )
        self.journal = Journal(self._instance, self._on_refused, self._on_lost)
        self.scheduler = SnapshotScheduler(self._instance, options.snapshot_interval, options.retention_days)
        self._claims = Claims(self._instance, engine.registry, engine.arguments)
        self._namesakes = Namesakes(self._instance, engine.registry)
        self._recovery = Recovery(
            self._claims,
            engine.store,
            self.journal,
            engine.dispatcher,
            engine.runners,
            options.rescue_interval,
            options.max_rescues,
            self._heart.watch,
        )
        self._store = engine.store
        self._driver = engine.dispatcher.driver
        self._connected = False
        self._loops: set[asyncio.Task[None]] = set()
        self._saving: asyncio.Task[None] | None = None
        self._recovering: asyncio.Task[None] | None = None
        self._stopping = False
        self._lost: set[str] = set()
        engine.stream.subscribe(self._on_event)

    # Life

    async def connect(self) -> None:
        """Open the backend and acquire a lease. If the backend is unavailable, `begin` tries again later.

        Raises:
            BackendFormatError: the stored data cannot be used; trying again does not help.
        """
        self.vitals.start()
        try:
            await self._connect()
        except BackendUnavailableError as error:  # logged
            self.journal.suspend(str(error))

    async def begin(self) -> None:
        """Start the loops that write, save and recover tasks; recover the first tasks at once."""
        self._stopping = False
        self.journal.start()
        if self._connected:
            await self._begin()
        else:
            self._spawn(self._connect_later())

    async def _connect(self) -> None:
        await self.vitals.measure("open", self.backend.open())
        await self._instance.acquire()
        await self.journal.recognise()
        self._connected = True

    async def _connect_later(self) -> None:
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        while not self._connected:
            await asyncio.sleep(backoff.next())
            try:
                await self._connect()
            except BackendError:  # logged
                continue
        self.journal.resume()
        await self._begin()

    async def _begin(self) -> None:
        self._spawn(self._heart.keep(self.journal.confirm))
        self._saving = self._spawn(self.scheduler.run())
        self._spawn(self._namesakes.run())
        if self._stopping:  # the backend has come back during a shutdown
            return
        with contextlib.suppress(BackendError):  # logged; the loop tries again
            await self._recovery.begin()
        self._recovering = self._spawn(self._recovery.run())

    def _spawn(self, loop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # An empty context: the loop must not become part of the trace of the code that starts it.
        task = asyncio.get_running_loop().create_task(loop, context=contextvars.Context())
        self._loops.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._loops.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.critical("a loop of the persistence has ended", exc_info=task.exception())

    def stop_recovering(self) -> None:
        """Do not recover any more tasks: a shutdown has begun."""
        self._stopping = True
        if self._recovering is not None:
            self._recovering.cancel()

    async def shutdown(self) -> None:
        """Hand over what the backend does not know yet, within `BUDGET` seconds; then let go.

        What ended comes first: unknown, it would run again. Then what is to run again and was never
        stored, then the history. Durable tasks that wait are stored as they are, however many: that
        the lease is released is all that is needed for them.
        """
        hand_over = HandOver()
        left = [record for record in self._store.live() if self.journal.find(record.task_id) is None]
        if self._connected:
            await hand_over.step("changes of durable tasks", self.journal.drained(), self._changes)
        await self.journal.close()
        await _end(self._saving, self._recovering)
        if self._connected:
            await hand_over.step("claimed tasks", self._claims.undo_unanswered(), self._claims.undecided)
            await hand_over.step("unfinished tasks", self.scheduler.hand_over(left), lambda: len(left))
            await hand_over.step("records of the history", self.scheduler.flush(), self._unsaved)
        elif left or self.journal.backlog:
            logger.error("the backend never answered: what was to be kept is lost")
        await _end(*self._loops)
        self._saving = self._recovering = None
        if self._connected:
            # After the last heartbeat: finding no lease, it would take a new one.
            await self._let_go_of_lease()
        await self._close()
        for record in self._store.live():
            self._store.forget(record.task_id)
        self._connected = False

    def _changes(self) -> int:
        return self.journal.backlog

    def _unsaved(self) -> int:
        return self.scheduler.backlog

    async def _let_go_of_lease(self) -> None:
        try:
            async with asyncio.timeout(LAST_STEPS):
                await self._instance.release()
        except (BackendError, TimeoutError) as error:
            message = "shutdown: the lease could not be released: its tasks wait for lease_timeout: %s"
            logger.error(message, str(error) or "no answer")  # noqa: TRY400

    async def _close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_STEPS):
                await self.backend.close()

    async def reserve(self, record: TaskRecord) -> bool:
        """Store a record before its task exists; false if another instance has stored this id already.

        Raises:
            BackendError: the backend could not be used.
        """
        if not self._connected:
            return True
        (outcome,) = await self._instance.commit(lambda token: [Change(to_row(record, token))])
        return outcome.applied

    async def cancel(self, task_id: str) -> TaskRecord:
        """Cancel a task that is stored and that no instance has.

        Raises:
            TaskNotFoundError: no task has this id.
            TaskFinishedError: it has ended.
            TaskNotCancellableError: an instance has it.
            BackendError: the backend cannot be asked.
            CommitError: the backend does not take it.
        """
        record = await self._recovery.cancel(task_id)
        gate = self.journal.find(task_id)
        if gate is not None:
            await gate.committed()
        else:
            await self.scheduler.save([record])
        with contextlib.suppress(BackendError):  # logged
            await self._recovery.complain()
        return record

    @property
    def waiting(self) -> Mapping[str, int]:
        """By name: how many stored tasks wait for a function that is not registered here."""
        return self._claims.waiting

    # What the engine and the journal tell

    def _on_event(self, event: Event) -> None:
        record = self._record(event.task_id)
        if record is None:
            return
        finished = record.finished
        if isinstance(event, LifecycleEvent):
            if finished or record.status is TaskStatus.RETRYING:
                self._recovery.make_room(record.task_id)
            if finished and record.task_id in self._lost:
                self._let_go(record.task_id)
                return
        if record.durable and (self.journal.note(record) or not finished):
            return
        self.scheduler.note(record)

    def _record(self, task_id: str) -> TaskRecord | None:
        """The record with this id. The store may have dropped it before its last event arrives here."""
        task = self.journal.find(task_id)
        return self._store.get(task_id) if task is None else task.record

    def _on_refused(self, task: DurableTask) -> None:
        """Cancel a task that could not be stored. It is kept for the history, and will not be recovered."""
        record = task.record
        record.durable = task.sent
        if task.holder == record.task_id:  # another instance made the same retry, and owns this record
            self._lost.add(record.task_id)
        else:
            record.duplicate_of = task.holder
        if task.holder is None:
            record.error = task.refused
        execution = self._driver.executions.get(record.task_id)
        if execution is not None:
            self._driver.skip(execution, "duplicate" if task.holder is not None else "not_dispatched")

    def _on_lost(self, task: DurableTask) -> None:
        record = task.record
        if task.refused is not None:  # it turned out that nothing was stored
            record.durable = False
            self.scheduler.note(record)
            return
        message, reason = TAKEN_OVER
        if task.deleted:
            message, reason = DELETED
        logger.warning(message, record.func_name, record.task_id)
        self._lost.add(record.task_id)
        execution = self._driver.executions.get(record.task_id)
        if record.finished:
            self._let_go(record.task_id)
        elif execution is not None:
            self._driver.interrupt(execution, reason)

    def _let_go(self, task_id: str) -> None:
        """Forget a record: another instance has the task, and the backend has its true state."""
        self._lost.discard(task_id)
        self._store.forget(task_id)


async def _end(*loops: asyncio.Task[None] | None) -> None:
    """Cancel the loops that run, and wait for their end."""
    running = [loop for loop in loops if loop is not None]
    for loop in running:
        loop.cancel()
    await asyncio.gather(*running, return_exceptions=True)
