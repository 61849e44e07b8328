"""Task records in memory, and the only place where one changes its state."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from taskflow.core.clock import rfc3339, utcnow
from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.core.exceptions import InvalidTransitionError
from taskflow.core.models import TRANSITIONS, Failure, TaskRecord, TaskStatus
from taskflow.execution.changes import change, end
from taskflow.execution.finished import HISTORY_BYTES, FinishedRecords
from taskflow.execution.indexes.keys import Keys
from taskflow.execution.indexes.levels import Levels
from taskflow.execution.indexes.order import Order, Place
from taskflow.execution.lines import KeptLines
from taskflow.execution.stream import EventStream, event_of

__all__ = ["TaskStore"]

FEW_LINES, SHORT_LINE = 8, 1_000
"""A log of fewer lines than that, none of them of more characters, is kept as it is."""

PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING
SUCCESS = TaskStatus.SUCCESS

FIELDS = frozenset(f.name for f in fields(TaskRecord))


class TaskStore:
    """Every unfinished record, and the latest finished ones.

    Safe to use from any thread. Events of one task are emitted one after the other, in the order of
    its transitions, whichever threads made them; never under the store's lock, so that an observer
    may call back.

    Args:
        max_history: how many finished records stay in memory, oldest out first.
        stream: where the events go.
        max_history_bytes: how many bytes they may take together, about. The latest one stays in any case.

    Raises:
        ConfigurationError: ``max_history`` or ``max_history_bytes`` is not a whole number of at least 1.
    """

    def __init__(
        self,
        max_history: int = 10_000,
        stream: EventStream | None = None,
        *,
        max_history_bytes: int = HISTORY_BYTES,
    ) -> None:
        self._stream = stream if stream is not None else EventStream()
        self._lock = threading.Lock()
        self._records: dict[str, TaskRecord] = {}
        self._order = Order(self._records)
        self._levels: Levels | None = None
        self._finished = FinishedRecords(max_history, max_history_bytes, self._leave)
        self._keys = Keys()

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, record: TaskRecord) -> bool:
        return self._records.get(record.task_id) is record

    def create(
        self,
        task_id: str,
        func_name: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        remember: bool = False,
        **fields: Any,
    ) -> TaskRecord:
        """Add a PENDING record and return it; or return the record that holds its idempotency key.

        Args:
            task_id: UUID of the task.
            func_name: registered name of the function.
            args: its positional arguments.
            kwargs: its named arguments.
            remember: the task may outlive this process: ask the observers what to remember.
            fields: further fields of `TaskRecord`.

        Raises:
            ValueError: there is a task with this id.
        """
        record = TaskRecord(task_id, func_name, PENDING, args, kwargs or {}, **fields)
        return self.add(record, remember=remember)

    def add(self, record: TaskRecord, remember: bool = False) -> TaskRecord:
        """As `create`, with a PENDING record that the caller made."""
        if self._stream.active or record.idempotency_key is not None:
            return self._add(record, remember)
        # As `_add`, where nobody reads and no key is held: two steps, neither of which needs the lock.
        if self._records.setdefault(record.task_id, record) is not record:
            raise _is_there(record)
        order = self._order
        order.fresh.append(record.task_id)
        if len(order.fresh) > order.most_fresh:
            with self._lock:
                order.settle()
        return record

    def _add(self, record: TaskRecord, remember: bool) -> TaskRecord:
        emit = self._stream.active
        task_id = record.task_id
        with self._lock:
            if (holder := self._holder(record)) is not None:
                return holder
            if task_id in self._records:
                raise _is_there(record)
            self._keys.hold(record)
            if emit:
                record.backlog = []
                # Here, because from now on others may find the record and change it.
                event = event_of(record, record.created_at)
            self._records[task_id] = record
            self._order.add(record)
        if emit:
            self._emit(record, event)
            if remember:
                record.trace_context = self._stream.inject(event)
        return record

    def adopt(self, record: TaskRecord, reason: str) -> None:
        """Add a record that another process has left behind; of a PENDING one, emit that it is back.

        Args:
            record: as it was stored; its arguments may be encoded.
            reason: ``requeued`` or ``rescued``.

        Raises:
            ValueError: there is a task with this id.
        """
        # How long it has waited is known by the wall clock alone.
        waited = (utcnow() - record.created_at).total_seconds()
        record.state_clock = time.monotonic() - max(0.0, waited)
        record.reason = reason
        emit = self._stream.active and record.status is PENDING
        with self._lock:
            if record.task_id in self._records:
                raise _is_there(record)
            self._keys.hold(record)
            if emit:
                record.backlog = []
                event = event_of(record, utcnow())
                event.reason = reason
            self._records[record.task_id] = record
            self._order.add(record)
        if emit:
            self._emit(record, event)

    def forget(self, task_id: str) -> None:
        """Let go of a record whose truth is elsewhere. No event is made."""
        with self._lock:
            record = self._records.pop(task_id, None)
            if record is not None:
                if record.end_time is not None:
                    self._finished.remove(record)
                self._keys.release(record)
                self._unindex(record)

    def get(self, task_id: str) -> TaskRecord | None:
        """The record with this id, or ``None``."""
        return self._records.get(task_id)

    @property
    def history_bytes(self) -> int:
        """Bytes that the finished records take together, about."""
        return self._finished.bytes

    @property
    def max_history(self) -> int:
        """How many finished records stay, at most."""
        return self._finished.max_history

    def live(self) -> list[TaskRecord]:
        """The unfinished records, oldest first."""
        return [record for record in self.list() if not record.finished]

    def newest_first(self, before: Place | None = None) -> Iterator[list[TaskRecord]]:
        """The records in the order of the listing, some hundred at a time; a part may be empty.

        However many there are, each part costs the same, and the lock is free between two of them. A record
        that is added meanwhile may be missing.

        Args:
            before: begin with what comes after this place in the listing, which it is not part of.
        """
        for _ in range(self._order.parts):
            with self._lock:
                self._order.settle()
        place = before
        while True:
            with self._lock:
                part, place = self._order.before(place)
            yield part
            if place is None:
                return

    def levels(self) -> Levels:
        """How many tasks have not ended, and since when; counted as events come, from the first call on."""
        if self._levels is None:
            self._levels = Levels(self.get)
            self._stream.count(self._levels)
            for record in self.live():
                self._levels.add(record)
        return self._levels

    def find_by_idempotency_key(self, key: str, func_name: str | None = None) -> TaskRecord | None:
        """The pending, running, retrying or successful task that holds ``key``, or ``None``.

        Args:
            key: what was given to ``add_task``.
            func_name: registered name of the function that the key belongs to. ``None`` finds the task
                of any function; of several, the one whose function had a task with this key first.
        """
        with self._lock:
            holder = self._keys.holder(key, func_name)
            return None if holder is None else self._records[holder]

    def clear(self) -> None:
        """Forget every record, unfinished ones included. No events are made."""
        with self._lock:
            self._records.clear()
            self._keys.clear()
            self._finished.clear()
            self._order.clear()
            if self._levels is not None:
                self._levels.clear()

    def start(self, record: TaskRecord, pool: str, waited: float) -> bool:
        """`transition` to RUNNING; false if it comes too late.

        Args:
            record: the task.
            pool: name of the pool that holds the attempt.
            waited: seconds waited for a place in it.
        """
        if self._stream.active:
            return self._moved(record, RUNNING, (pool, waited))
        # Most tasks come here and to `succeed`, and nobody reads: `transition` without its questions, and
        # without the two objects that a with statement makes. A test compares what both leave behind.
        self._lock.acquire()
        try:
            first = record.status is PENDING and record.start_time is None
            if first and not record.retries_used and self._records.get(record.task_id) is record:
                record.attempt_started = record.start_time = datetime.now(UTC)
                record.state_clock = record.started_clock = time.monotonic()
                record.status = RUNNING
                return True
        finally:
            self._lock.release()
        return self._moved(record, RUNNING, (pool, waited))

    def succeed(self, record: TaskRecord) -> bool:
        """`transition` to SUCCESS; false if it comes too late."""
        if self._stream.active:
            return self._moved(record, SUCCESS)
        self._lock.acquire()
        try:
            if record.status is RUNNING and self._records.get(record.task_id) is record:
                record.state_clock = clock = time.monotonic()
                end(record, SUCCESS, datetime.now(UTC), clock)
                self._finished.add(record, SUCCESS)
                record.status = SUCCESS
                return True
        finally:
            self._lock.release()
        return self._moved(record, SUCCESS)

    def _moved(self, record: TaskRecord, status: TaskStatus, slot: tuple[str, float] | None = None) -> bool:
        try:
            return self.transition(record.task_id, status, slot=slot, only=record) is not None
        except InvalidTransitionError:
            return False

    def transition(
        self,
        task_id: str,
        status: TaskStatus,
        failure: Failure | None = None,
        next_delay: float | None = None,
        slot: tuple[str, float] | None = None,
        reason: str | None = None,
        unless: TaskStatus | None = None,
        only: TaskRecord | None = None,
    ) -> TaskRecord | None:
        """Move a record along an arrow of `TaskStatus` and emit the event; ``None`` for an unknown id.

        Args:
            task_id: the record.
            status: the state to enter.
            failure: why the attempt failed; for RETRYING and FAILED.
            next_delay: seconds until the next attempt; for RETRYING.
            slot: name of the pool that holds the attempt, and the seconds waited for it; for RUNNING.
            reason: why it was interrupted, cancelled, requeued or rescued.
            unless: a state to leave alone, although there is an arrow from it.
            only: the record that it must be: a later one with its id counts as unknown.

        Raises:
            InvalidTransitionError: there is no such arrow; nothing was changed.
        """
        with self._lock:
            record = self._records.get(task_id)
            if record is None or (only is not None and record is not only):
                return None
            left, since = record.status, record.state_clock
            # The arrows of most tasks first, told by identity: a look-up would hash two texts.
            usual = (status is SUCCESS and left is RUNNING) or (status is RUNNING and left is PENDING)
            if left is unless or not (usual or status in TRANSITIONS[left]):
                raise InvalidTransitionError(task_id, left, status)
            now = datetime.now(UTC)
            first_start = status is RUNNING and record.start_time is None
            change(record, status, now, failure, next_delay, reason)
            if record.end_time is not None:
                if status is not SUCCESS:
                    self._keys.release(record)
                self._finished.add(record, status)
            # Last: who reads the state first, without the lock, finds all that belongs to it.
            record.status = status
            if not self._stream.active:
                return record
            event = event_of(record, now, failure)
            event.reason, event.next_delay = reason, next_delay
            if first_start:
                event.queue_duration = record.state_clock - since
            if slot is not None:
                event.pool, event.slot_wait = slot
            if left is RUNNING and record.started_clock is not None:  # here, not where it was left behind
                event.attempt_duration = record.state_clock - since
            if record.backlog is not None:
                # Another thread is emitting this record's previous event: it will
                # emit this one too, so that no observer sees them in the wrong order.
                record.backlog.append(event)
                return record
            record.backlog = []
        self._emit(record, event)
        return record

    def _leave(self, record: TaskRecord) -> None:
        """Forget a finished record that has to leave the memory."""
        # One that was forgotten may have come back under its id, and live.
        if self._records.get(record.task_id) is record:
            del self._records[record.task_id]
            fresh = self._order.fresh
            if fresh and fresh[0] == record.task_id:  # as `Order.leave`, without a call for every task
                fresh.popleft()
            if record.idempotency_key is not None:
                self._keys.release(record)

    def _holder(self, record: TaskRecord) -> TaskRecord | None:
        """The record of the same function that holds the key of this one, or ``None``."""
        holder = self._keys.holder(record.idempotency_key, record.func_name)
        return None if holder is None else self._records[holder]

    def _emit(self, record: TaskRecord, event: LifecycleEvent) -> None:
        """Publish the event and those that other threads left meanwhile. The caller made the backlog."""
        interrupt: BaseException | None = None
        while True:
            try:
                self._stream.lifecycle(event)
            except BaseException as error:  # KeyboardInterrupt: all others end in the stream
                interrupt = error
            with self._lock:
                if not record.backlog:
                    # In any case: as long as it is there, later events are left to this loop.
                    record.backlog = None
                    break
                event = record.backlog.pop(0)
        if interrupt is not None:
            raise interrupt

    def update(self, task_id: str, **fields: Any) -> TaskRecord | None:
        """Set fields of a record; ``status`` goes through `transition`. ``None`` for an unknown id.

        Without a status no event is made, and so a backend is told only with the record's next one.

        Raises:
            TypeError: `TaskRecord` has no such field.
            InvalidTransitionError: the status cannot follow the present one; nothing was changed.
        """
        unknown = fields.keys() - FIELDS
        if unknown:
            raise TypeError(f"TaskRecord has no field {', '.join(sorted(unknown))}")
        record = self._records.get(task_id)
        if record is None:
            return None
        status = fields.pop("status", None)
        if status is not None and status != record.status:
            self.transition(task_id, TaskStatus(status), failure=_failure(fields))
        with self._lock:
            rekeyed = fields.keys() & {"idempotency_key", "func_name"}
            if rekeyed:
                self._keys.release(record)
            self._unindex(record)
            for name, value in fields.items():
                setattr(record, name, value)
            self._index(record)
            if rekeyed and not record.finished and record.idempotency_key is not None:
                self._keys.hold(record)
            if record.end_time is not None and record in self:
                self._finished.weigh_again(record)
        return record

    def _index(self, record: TaskRecord) -> None:
        self._order.add(record)
        if self._levels is not None:
            self._levels.add(record)

    def _unindex(self, record: TaskRecord) -> None:
        self._order.discard(record)
        if self._levels is not None:
            self._levels.discard(record)

    def append_log(self, task_id: str, line: str) -> None:
        """Keep a log line on the record, of many the first and the last; an unknown id is ignored.

        No event is made: `log` does both. A line may come after its task's end, and after the record
        was evicted.
        """
        record = self._records.get(task_id)
        if record is None:
            return
        self._lock.acquire()
        try:
            if record.kept_lines is None and len(record.logs) < FEW_LINES and len(line) <= SHORT_LINE:
                record.logs.append(line)  # as most tasks: nothing else needs to be counted yet
            else:
                self._append(record, line)
            if record.end_time is not None:
                self._finished.weigh_again(record)
        finally:
            self._lock.release()

    def _append(self, record: TaskRecord, line: str) -> None:
        kept = record.kept_lines
        if kept is None or kept.lines is not record.logs:
            kept = record.kept_lines = KeptLines(record.logs)
            record.logs = kept.lines
        kept.add(line)

    def log(self, event: LogEvent) -> None:
        """Keep a `task_log` line on its record and publish it."""
        self.append_log(event.task_id, f"{rfc3339(event.timestamp)} {event.level.upper()} {event.message}")
        if self._stream.active:
            self._stream.log(event)

    def __iter__(self) -> Iterator[TaskRecord]:
        return iter(self.list())

    # Last, because below it the class body's `list` is this method.
    def list(self) -> list[TaskRecord]:
        """All records, oldest first."""
        with self._lock:
            return list(self._records.values())


def _is_there(record: TaskRecord) -> ValueError:
    return ValueError(f"there is a task with id {record.task_id!r} already")


def _failure(fields: dict[str, Any]) -> Failure | None:
    """The failure that an update describes, if it does."""
    if fields.get("error") is None:
        return None
    return Failure(fields["error"], fields.get("error_type") or "", fields.get("stacktrace") or "")
