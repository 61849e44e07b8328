"""The one way into the engine: routes, scripts, retry and requeue all enqueue here."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.core.checks import check_storable
from taskflow.core.exceptions import (
    CommitError,
    ConfigurationError,
    ManagerClosedError,
    PersistenceRequiredError,
)
from taskflow.core.ids import new_task_id
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.execution.driver import Execution, Executor
from taskflow.execution.gate import Gate, Gatekeeper
from taskflow.execution.registry import TaskRegistry
from taskflow.execution.store import TaskStore

__all__ = ["Enqueuer"]

PENDING = TaskStatus.PENDING


class Enqueuer:
    """Turns a call into a record and an execution.

    Attributes:
        closed: whether a shutdown has ended the taking of tasks.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        store: TaskStore,
        executor: Executor,
        arguments: ArgumentKeeper,
        journal: Gatekeeper | None = None,
    ) -> None:
        self.closed = False
        self._registry = registry
        self._store = store
        self._executor = executor
        self._arguments = arguments
        self._journal = journal

    def enqueue(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        retry_of: str | None = None,
        task_id: str | None = None,
    ) -> tuple[str, Execution | None]:
        """Create the task, and return its id and what will run it.

        Returns:
            The id and the execution; the id of the task that holds ``idempotency_key``, and ``None``,
            if there is one.

        Raises:
            ManagerClosedError: the shutdown has begun.
            PersistenceRequiredError: the task has ``persist=True`` and there is no backend.
            TaskArgumentError: arguments that must be stored cannot be.
            ConfigurationError: not a callable, or wrong tags or key.
        """
        if self.closed:
            raise ManagerClosedError
        entry = self._registry.entry(func)
        if entry.config.persist and self._journal is None:
            raise PersistenceRequiredError(entry.name)
        # Assigned rather than passed: a keyword in the call of a class costs four to six times as much
        # (Python 3.11 to 3.13).
        record = TaskRecord(task_id or new_task_id(), entry.name, PENDING, args, kwargs, datetime.now(UTC))
        record.max_retries, record.durable = entry.config.retries, entry.config.persist
        record.registered, record.code_function = entry.registered, entry.code_function
        record.retry_of = retry_of
        if idempotency_key is not None:
            record.idempotency_key = _checked_key(idempotency_key)
        if tags is not None:
            record.tags = _checked_tags(tags)
        resumable = self._arguments.keep(record, entry, args, kwargs)
        durable = self._journal.open(record) if record.durable and self._journal is not None else None
        if (holder := self._add(record, durable, remember=resumable)) is not record:
            return holder.task_id, None
        execution = Execution(entry, record, args, kwargs, contextvars.copy_context())
        execution.resumable, execution.durable = resumable, durable
        self._executor.admit(execution)
        if durable is not None:
            durable.write_ahead()  # now that it can be refused on the spot
        if self.closed:  # by another thread, meanwhile: nobody would drive it
            self._executor.interrupt(execution)
            raise ManagerClosedError
        return record.task_id, execution

    def promise(self, task_id: str) -> Gate | None:
        """What the backend knows of an unfinished task with ``persist=True``; ``None`` of any other."""
        return None if self._journal is None else self._journal.find(task_id)

    async def committed(self, task_id: str) -> None:
        """Return once the task is stored, if it is to be.

        Raises:
            CommitError: it could not be stored.
        """
        promise = self.promise(task_id)
        if promise is not None:
            await promise.committed()
            return
        record = self._store.get(task_id)
        if record is not None and record.reason == "not_dispatched" and record.error is not None:
            raise CommitError(task_id, record.error)

    def _add(self, record: TaskRecord, durable: Gate | None, *, remember: bool) -> TaskRecord:
        """The record; or the one that holds its idempotency key."""
        # Others may find the record by its key as soon as it is in the store: what is to be stored must
        # be known by then, so that their promise waits for it as well.
        added = None
        try:
            added = self._store.add(record, remember=remember)
        finally:
            if durable is not None and added is not record:
                durable.discard()
        return added


def _checked_key(key: str) -> str:
    if not isinstance(key, str) or not key:
        raise ConfigurationError("idempotency_key", key, "must be text that is not empty")
    return check_storable("idempotency_key", key)


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(tags, Mapping):
        raise ConfigurationError("tags", tags, "must be a dict of text to text")
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str):
            kinds = f"{type(key).__name__}: {type(value).__name__}"
            raise ConfigurationError("tags", kinds, "keys and values must be text")
    return dict(tags)
