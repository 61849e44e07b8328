"""Running a task again that has ended without success."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Protocol

from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.core.exceptions import FunctionNotRegisteredError, TaskNotFoundError, TaskNotRetryableError
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.options import TaskOptions
from taskflow.execution.dispatch import Dispatcher
from taskflow.execution.enqueue import Enqueuer
from taskflow.execution.registry import TaskEntry, TaskRegistry
from taskflow.execution.running.attempt import Execution
from taskflow.execution.store import TaskStore

__all__ = ["Retrier", "retry_id"]

RETRYABLE = frozenset({TaskStatus.FAILED, TaskStatus.INTERRUPTED, TaskStatus.CANCELLED})

RETRIES: Final = uuid.UUID("8d2d4c6e-53b1-4b1e-9f4e-0a7b1c9d5e21")
"""The name space (RFC 9562, section 5.5) of the ids of retries."""

MOST_PLACES: Final = 1_000
"""Tasks of which is remembered how far their retries were followed: from there on the next time."""


def retry_id(task_id: str) -> str:
    """The id of the task that repeats another one: always the same, so that twice is once."""
    return str(uuid.uuid5(RETRIES, task_id))


class Archive(Protocol):
    """Where records are looked up, also those that have left the memory."""

    async def get(self, task_id: str) -> TaskRecord | None:
        """The record with this id, or ``None``."""


class Retrier:
    """Enqueues a task again: a new record, linked to the old one by ``retry_of``.

    Args:
        reserve: stores that the record of a task without ``persist=True`` is about to be made; false if
            another instance has made it. ``None`` without a backend.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        store: TaskStore,
        history: Archive,
        arguments: ArgumentKeeper,
        enqueuer: Enqueuer,
        dispatcher: Dispatcher,
        reserve: Callable[[TaskRecord], Awaitable[bool]] | None = None,
    ) -> None:
        self._registry = registry
        self._store = store
        self._history = history
        self._arguments = arguments
        self._enqueuer = enqueuer
        self._dispatcher = dispatcher
        self._reserve = reserve
        self._places: dict[str, str] = {}

    async def retry(self, task_id: str) -> TaskRecord:
        """Enqueue the task again, unless that was done before, and return the record of the new one.

        A retry that ended before it began, because it could not be stored or was cancelled, is itself
        enqueued again.

        Raises:
            TaskNotFoundError: no task has this id.
            TaskNotRetryableError: it has not ended, or with success.
            FunctionNotRegisteredError: its function is not registered.
            ArgumentsNotKeptError, DecryptionError, TaskArgumentError: its arguments are lost.
            ManagerClosedError: the shutdown has begun.
            BackendError: the backend cannot be asked.
            CommitError: the backend does not take the new task.
        """
        # A loop: each retry that came to nothing may have one of its own, and there may be thousands.
        asked, task_id = task_id, await self._place(task_id)
        while True:
            record = await self._history.get(task_id)
            if record is None:
                raise TaskNotFoundError(task_id)
            if record.status not in RETRYABLE:
                raise TaskNotRetryableError(task_id, record.status)
            again = await self._history.get(retry_id(task_id))
            if again is None:
                again = await self._enqueue(record)
                if again is not None:
                    return again
            elif _came_to_nothing(again):
                task_id = again.task_id
                self._remember(asked, task_id)
            else:
                return again

    async def _place(self, task_id: str) -> str:
        """Where to go on: at the last retry that is known to have come to nothing, or at the task itself.

        Only if both are still there: rows are deleted.
        """
        known = self._places.get(task_id)
        if known is None or await self._history.get(task_id) is None:
            return task_id
        last = await self._history.get(known)
        return known if last is not None and _came_to_nothing(last) else task_id

    def _remember(self, task_id: str, last: str) -> None:
        self._places.pop(task_id, None)
        self._places[task_id] = last
        if len(self._places) > MOST_PLACES:
            del self._places[next(iter(self._places))]

    async def _enqueue(self, record: TaskRecord) -> TaskRecord | None:
        """The record of the new task; ``None`` if another instance was quicker, and its record is gone."""
        entry = self._registry.named(record.func_name)
        if entry is None:
            raise FunctionNotRegisteredError(record.task_id, record.func_name)
        args, kwargs = self._arguments.recall(record, entry)
        new_id = retry_id(record.task_id)
        # What is durable is written ahead, and refused if another instance was quicker.
        said = TaskOptions.from_json(record.options)
        if self._reserve is not None and not said.over(entry.options).persist:
            if (holder := self._holder(record)) is not None:
                return holder
            if not await self._reserve(_draft(record, new_id, args, kwargs)):
                return await self._history.get(new_id)
        # The store last: from here on nobody else gets a turn.
        return self._store.get(new_id) or self._run(record, entry, args, kwargs)

    def _holder(self, record: TaskRecord) -> TaskRecord | None:
        key = record.idempotency_key
        return None if key is None else self._store.find_by_idempotency_key(key, record.func_name)

    def _run(
        self, record: TaskRecord, entry: TaskEntry, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> TaskRecord:
        new_id, execution = self._enqueuer.enqueue(
            entry.func,
            args,
            kwargs,
            replace(
                TaskOptions.from_json(record.options),
                idempotency_key=record.idempotency_key,
                tags=record.tags,
            ),
            Execution,
            retry_of=record.task_id,
            task_id=retry_id(record.task_id),
        )
        if execution is not None:
            self._dispatcher.dispatch((execution,))
        added = self._store.get(new_id)
        assert added is not None  # a moment ago
        return added


def _came_to_nothing(again: TaskRecord) -> bool:
    """Whether a retry ended before it began, and not because another task has its idempotency key."""
    return again.status in RETRYABLE and again.start_time is None and again.duplicate_of is None


def _draft(record: TaskRecord, new_id: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskRecord:
    """What others see of a retry until its own record is saved."""
    return TaskRecord(
        new_id,
        record.func_name,
        args=args,
        kwargs=kwargs,
        retry_of=record.task_id,
        tags=record.tags,
        options=record.options,
        payload=record.payload,
        encrypted_payload=record.encrypted_payload,
        registered=True,
        code_function=record.code_function,
    )
