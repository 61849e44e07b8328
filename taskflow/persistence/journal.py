"""Durable tasks on their way to the backend: written ahead, in groups, each change conditional.

Every state that a durable task enters is queued here, and one commit takes everything that queued up
while the commit before was under way. So a hundred requests wait for two commits, not for a hundred.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from taskflow.core.backoff import Backoff
from taskflow.core.exceptions import BackendError, CommitError
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.running import CODEC_SLICE, call_on, running_loop, sliced
from taskflow.core.waiters import Waiters
from taskflow.persistence.backend import Change, Outcome
from taskflow.persistence.lease import Instance
from taskflow.persistence.rows import RELEASED, Rows, TaskRow

__all__ = ["DurableTask", "Journal"]

logger = logging.getLogger("taskflow")

GROUP: Final = 500
"""The most changes of one commit."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between tries to write to a backend that failed, see `Backoff`."""

UNAVAILABLE = "the backend cannot be used now"
"""What a client is told of a failure: an error of the backend may name hosts and databases."""

NOT_STARTED = "the TaskManager has not been started, so that nothing can be stored"


class DurableTask:
    """What the backend knows of one task, and is still to be told.

    Attributes:
        record: the task.
        rows: makes its rows.
        status: the latest state that was queued; ``None`` before the first.
        queued: how many changes are on their way.
        sent: whether the backend has or may have a row of it, or is about to be given one.
        refused: why it was not stored; ``None`` if it was, or that is still open.
        holder: id of the task that was there first, if that is why.
        lost: whether it is not ours any more: another instance has it, or somebody has deleted its row.
        deleted: whether it is the latter.
        stored_in: the incarnation of the store that has its row, see `SnapshotBackend.incarnation`;
            ``None`` as long as it is not known to have one.
    """

    __slots__ = (
        "_journal", "_waiters", "deleted", "holder", "lost", "queued", "record", "refused", "rows", "sent",
        "status", "stored_in",
    )  # fmt: skip

    def __init__(self, journal: Journal, record: TaskRecord, status: TaskStatus | None = None) -> None:
        self.record = record
        self.rows = Rows(record)
        self.status = status
        self.queued = 0
        self.sent = status is not None
        self.refused: str | None = None
        self.holder: str | None = None
        self.lost = False
        self.deleted = False
        self.stored_in: str | None = None
        self._journal = journal
        self._waiters = Waiters()

    @property
    def open(self) -> bool:
        """Whether something is on its way that decides whether the task is ours to run."""
        if self.lost or (self.refused is not None and self.holder is None):
            return False
        # That it is a duplicate is stored, too; what nobody has refused will be written ahead.
        return self.queued > 0 or (self.status is None and self.refused is None)

    def write_ahead(self) -> None:
        """Store it; refused at once while the backend is known to be away."""
        self._journal.write_ahead(self)

    def discard(self) -> None:
        """Forget it: it is not to be stored."""
        self._journal.discard(self)

    async def may_start(self) -> bool:
        """Wait until the task is stored and the backend is usable: whether an attempt may begin."""
        if await self._is_ours():
            await self._journal.usable()
        return not self.lost and self.refused is None

    async def start_is_stored(self) -> bool:
        """Wait until it is stored that the attempt has begun: whether the function may be entered."""
        return await self._is_ours()

    async def committed(self) -> None:
        """Wait until the task is stored; or another one with its idempotency key, which counts as well.

        Before the manager has started, that waits for its start.

        Raises:
            CommitError: it is not, and will not run.
        """
        if self.open:
            await self._journal.started()
        await self._is_ours()
        if self.refused is not None and self.holder is None:
            public = NOT_STARTED if self.refused == NOT_STARTED else UNAVAILABLE
            raise CommitError(self.record.task_id, self.refused, public)

    async def _is_ours(self) -> bool:
        """Wait until the backend has answered all that it was told: whether the task is ours to run."""
        if self.open:
            await self._journal.answered(self)
        return self.refused is None and not self.lost

    def wait(self) -> Coroutine[Any, Any, None]:
        """Return when nothing is open; on the journal's loop."""
        return self._waiters.wait_for(self._is_answered)

    def _is_answered(self) -> bool:
        return not self.open

    def wake(self) -> None:
        """Let go of those who wait; on the journal's loop."""
        self._waiters.wake()


@dataclass(slots=True)
class QueuedChange:
    """One change in the queue: from the state ``expected``, ``None`` for an insert, to that of ``row``."""

    task: DurableTask
    row: TaskRow
    expected: TaskStatus | None

    def change(self, token: str) -> Change:
        """The change, under the lease of this moment."""
        if self.row.owner is not None:
            self.row.owner = token
        return Change(self.row, None if self.expected is None else (token, self.expected))


class Journal:
    """Writes the changes of durable tasks: in order for each, in groups for all.

    Args:
        instance: whose rows they are.
        on_refused: called with a task that could not be stored; from any thread.
        on_lost: called with a task that is not ours any more.
    """

    def __init__(
        self,
        instance: Instance,
        on_refused: Callable[[DurableTask], None],
        on_lost: Callable[[DurableTask], None],
    ) -> None:
        self._instance = instance
        self._on_refused = on_refused
        self._on_lost = on_lost
        self._tasks: dict[str, DurableTask] = {}
        self._queue: deque[QueuedChange] = deque()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._down: str | None = None
        self._suspended = False
        self._backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        self._incarnation: str | None = None
        self._starts = Waiters()

    @property
    def running(self) -> bool:
        """Whether it writes."""
        return self._loop is not None

    # What the engine tells it, from any thread

    def open(self, record: TaskRecord) -> DurableTask:
        """Take note of a new task, which `write_ahead` will store: whoever finds it until then can wait.

        Raises:
            ValueError: there is a task with this id.
        """
        task = self._tasks.setdefault(record.task_id, DurableTask(self, record))
        if task.record is not record:
            raise ValueError(f"there is a task with id {record.task_id!r} already")
        return task

    def discard(self, task: DurableTask) -> None:
        """Forget a new task that will not be written ahead."""
        self._tasks.pop(task.record.task_id, None)

    def adopt(self, record: TaskRecord, status: TaskStatus) -> DurableTask:
        """Take note of a task that was taken over, and that the backend has in the state ``status``."""
        task = self._tasks[record.task_id] = DurableTask(self, record, status)
        task.stored_in = self._incarnation
        return task

    async def recognise(self) -> bool:
        """Ask the store which incarnation it is: whether it is another one than before.

        Raises:
            BackendError: it cannot be asked.
        """
        known = self._incarnation
        asked = self._instance.backend.incarnation()
        self._incarnation = await self._instance.vitals.measure("incarnation", asked)
        return known != self._incarnation

    def find(self, task_id: str) -> DurableTask | None:
        """The unfinished task with this id, or ``None``."""
        return self._tasks.get(task_id)

    def write_ahead(self, task: DurableTask) -> None:
        """Store a new task; refused at once while the backend is known to be away."""
        if self._down is not None:
            self._refuse(task, self._down)
            self._soon(task.wake)
        else:
            self._put(task)

    def note(self, record: TaskRecord) -> bool:
        """Queue the state that a task has just entered; false if it is not (any more) this journal's."""
        task = self._tasks.get(record.task_id)
        if task is None or task.lost or (task.refused is not None and not task.sent):
            return False
        coming = task.status is None and task.refused is None  # its write_ahead
        if record.status is not task.status and not coming:
            self._put(task)
        return True

    async def confirm(self) -> None:
        """Store again in which state every task is: what others took over meanwhile turns out to be lost."""
        async for tasks in sliced(self._tasks.values(), CODEC_SLICE):
            for task in tasks:
                if task.status is not None and not task.queued and not task.lost:
                    self._put(task)

    def _put(self, task: DurableTask) -> None:
        row = task.rows.next(RELEASED)
        with self._lock:
            self._queue.append(QueuedChange(task, row, task.status))
            task.status = row.status
            task.queued += 1
        self._soon(self._work.set)

    def _soon(self, call: Callable[[], None]) -> None:
        """Call something on the journal's loop, if it has one; from any thread."""
        call_on(self._loop, call)

    @property
    def backlog(self) -> int:
        """Changes that are not stored yet."""
        return sum(task.queued for task in list(self._tasks.values()))  # others may add some meanwhile

    def suspend(self, reason: str) -> None:
        """Refuse new tasks and keep the changes of others, until `resume`: the backend is away."""
        self._down, self._suspended = reason, True

    def resume(self) -> None:
        """Write again."""
        self._down, self._suspended = None, False
        self._work.set()

    # Waiting

    def answered(self, task: DurableTask) -> Coroutine[Any, Any, None]:
        """Return when nothing of a task is open; from any loop. If the journal does not run, refuse it."""
        # Not an async def: it would only await another coroutine, twice for every task.
        here = self._loop is not None and self._loop is running_loop()
        return task.wait() if here else self._answered_elsewhere(task)

    async def _answered_elsewhere(self, task: DurableTask) -> None:
        if self._loop is None:
            self._refuse(task, NOT_STARTED)
        else:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(task.wait(), self._loop))

    async def started(self) -> None:
        """Return once it writes."""
        await self._starts.wait_for(lambda: self.running)

    async def usable(self) -> None:
        """Return when the backend is not known to be away."""
        if self._instance.vitals.error is not None:
            await self._instance.vitals.usable()

    # The worker

    def start(self) -> None:
        """Begin to write, on the running loop, with what was queued before."""
        self._loop = asyncio.get_running_loop()
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._backoff.reset()
        self._worker = self._new_worker(self._loop)
        self._work.set()
        self._starts.wake()

    def _new_worker(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        return loop.create_task(self._run(), context=contextvars.Context())

    async def close(self) -> None:
        """Stop to write; what is still queued is given up."""
        if self._worker is None:
            return
        self._worker.cancel()
        await asyncio.wait({self._worker})
        self._worker = self._loop = None
        self.resume()
        for task in self._tasks.values():
            task.lost, task.queued = True, 0  # whoever takes them over decides
            task.wake()
        self._tasks.clear()
        self._queue.clear()

    async def drained(self) -> None:
        """Return when everything that was queued is stored."""
        while self.backlog:
            # Who ends a loop cancels everything on it, and lets the lifespan shut down only then.
            if self._loop is not None and self._worker is not None and self._worker.done():
                self._worker = self._new_worker(self._loop)
            self._work.set()
            self._idle.clear()
            await self._idle.wait()

    async def _run(self) -> None:
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                self._idle.clear()
                while not self._suspended and (group := self._next_group()):
                    await self._commit(group)
                self._idle.set()
        finally:
            self._idle.set()  # who waits looks again, and sees that it has ended

    def _next_group(self) -> list[QueuedChange]:
        """What may go into one commit: a task at most once, because its changes have an order."""
        group: dict[str, QueuedChange] = {}
        with self._lock:
            while self._queue and len(group) < GROUP and self._queue[0].row.task_id not in group:
                change = self._queue.popleft()
                group[change.row.task_id] = change
        return list(group.values())

    async def _commit(self, group: list[QueuedChange]) -> None:
        for change in group:
            change.task.sent = True
        try:
            outcomes = await self._instance.commit(lambda token: [queued.change(token) for queued in group])
            emptied = any(outcome.missing for outcome in outcomes) and await self.recognise()
        except BackendError as error:
            self._refuse_inserts(group, str(error))
            await self._wait_a_while()
            return
        except asyncio.CancelledError:
            with self._lock:  # stored or not: a change that is made already is not made again
                self._queue.extendleft(reversed(group))
            raise
        self._down = None
        self._backoff.reset()
        for change, outcome in zip(group, outcomes, strict=True):
            if outcome.missing and change.task.stored_in not in (None, self._incarnation):
                self._insert_again(change)
            else:
                self._apply_outcome(change, outcome)
        if emptied:
            message = "the store was emptied, or is another one: %d tasks that are under way are stored again"
            logger.error(message, len(self._tasks))
            await self.confirm()  # those of which nothing is queued will be missing, too

    def _insert_again(self, change: QueuedChange) -> None:
        """Store a task whose row went with the whole store."""
        change.expected = None
        with self._lock:
            self._queue.appendleft(change)
        self._work.set()

    def _apply_outcome(self, change: QueuedChange, outcome: Outcome) -> None:
        task = change.task
        if not outcome.applied and change.expected is None:
            # That it lost its key goes into a row of its own; there is none to be had with a taken id.
            task.sent = outcome.holder != change.row.task_id
            task.status = None
            self._refuse(task, f"task {outcome.holder} was there first", outcome.holder)
        elif not outcome.applied and not task.lost:
            task.lost, task.deleted = True, outcome.missing
            self._on_lost(task)
        elif outcome.applied:
            task.stored_in = self._incarnation
        if task.lost or change.row.owner is None:
            self._tasks.pop(change.row.task_id, None)
        self._done(task)

    def _refuse_inserts(self, group: list[QueuedChange], reason: str) -> None:
        """Refuse whatever was to be inserted, here and in the queue: who waits for it has waited enough."""
        self._down = reason
        with self._lock:
            changes = [*group, *self._queue]
            self._queue = deque(change for change in changes if change.expected is not None)
        for change in changes:
            if change.expected is None:
                self._refuse(change.task, reason)
                self._done(change.task)

    async def _wait_a_while(self) -> None:
        """Return when it is time to try again.

        With what is queued, while new tasks are still refused: they would wait for the answer. There is
        something as a rule, if only that those were cancelled which may have been stored.
        """
        await asyncio.sleep(self._backoff.next())
        if not self._queue:
            self._down = None

    def _refuse(self, task: DurableTask, reason: str, holder: str | None = None) -> None:
        if task.refused is None:
            task.refused, task.holder = reason, holder
            self._on_refused(task)
        elif task.holder is not None:  # a duplicate of which not even that could be stored
            task.holder, task.lost = None, True
            self._on_lost(task)
        if not task.sent or task.lost:
            self._tasks.pop(task.record.task_id, None)

    def _done(self, task: DurableTask) -> None:
        with self._lock:
            task.queued -= 1
        if not task.open:
            task.wake()
