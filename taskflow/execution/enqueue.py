"""The one way into the engine: routes, scripts, retry and requeue all enqueue here."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any, TypeVar

from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.core.exceptions import (
    CommitError,
    ConfigurationError,
    ManagerClosedError,
    ManagerNotStartedError,
    PersistenceRequiredError,
)
from taskflow.core.ids import new_task_id
from taskflow.core.models import TaskRecord, pending_record
from taskflow.core.options import NOTHING, TaskOptions, Where
from taskflow.execution.driver import Driver
from taskflow.execution.gate import Gate, Gatekeeper
from taskflow.execution.registry import TaskEntry, TaskRegistry
from taskflow.execution.running.attempt import Execution
from taskflow.execution.running.runners import Runners
from taskflow.execution.store import TaskStore

__all__ = ["Enqueuer"]

E = TypeVar("E", bound=Execution)


class Enqueuer:
    """Turns a call into a record and an execution.

    Attributes:
        closed: whether a shutdown has ended the taking of tasks.
        why_closed: what to say to who tries, if it is something else.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        store: TaskStore,
        driver: Driver,
        runners: Runners,
        arguments: ArgumentKeeper,
        gates: Gatekeeper | None = None,
    ) -> None:
        self.closed = False
        self.why_closed: str | None = None
        self._registry = registry
        self._store = store
        self._driver = driver
        self._runners = runners
        self._arguments = arguments
        self._gates = gates

    def enqueue(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        said: TaskOptions,
        make: type[E],
        *,
        retry_of: str | None = None,
        task_id: str | None = None,
        promised: bool = False,
    ) -> tuple[str, E | None]:
        """Create the task, and return its id and what will run it.

        Args:
            func, args, kwargs: the call.
            said: what was said for this call.
            make: the kind of execution that is made of it.
            retry_of: id of the task that this one repeats.
            task_id: the id to give it; a new one if ``None``.
            promised: a response is about to promise the task: what nobody would store is refused.

        Returns:
            The id and the execution; the id of the task of this function that holds the idempotency
            key, and ``None``, if there is one.

        Raises:
            ManagerClosedError: the shutdown has begun.
            PersistenceRequiredError: the task has ``persist=True`` and there is no backend.
            ManagerNotStartedError: it has, a response promises it, and the manager was never started.
            TaskArgumentError: arguments that must be stored cannot be.
            ConfigurationError: not a callable, or an option that cannot be.
        """
        if self.closed:
            raise ManagerClosedError(self.why_closed) if self.why_closed else ManagerClosedError
        entry, (args, kwargs) = self._registry.resolve(func, args, kwargs)
        kept = None if said is NOTHING else said.check_where(Where.CALL).to_json()
        options = entry.options if kept is None else said.over(entry.options)
        durable = options.persist
        if durable:
            self._check_durable(entry, promised)
        record = pending_record(
            task_id or new_task_id(),
            entry.name,
            args,
            kwargs,
            options.retries,
            durable,
            entry.registered,
            entry.code_function,
            retry_of,
        )
        if said is not NOTHING:
            _say(record, said, kept)
        arguments, gates = self._arguments, self._gates
        resumable = (durable or arguments.concerns_all) and arguments.keep(record, entry, args, kwargs)
        gate = gates.open(record) if durable and gates is not None else None
        holder = (
            self._store.add(record, resumable) if gate is None else self._add_stored(record, gate, resumable)
        )
        if holder is not record:
            return holder.task_id, None
        context, runner = contextvars.copy_context(), self._runners.of(entry)
        execution = make(entry, record, args, kwargs, context, options, runner, gate, resumable)
        self._driver.admit(execution)
        if gate is not None:
            gate.write_ahead()  # now that it can be refused on the spot
        if self.closed:  # by another thread, meanwhile: nobody would drive it
            self._driver.interrupt(execution)
            raise ManagerClosedError
        return record.task_id, execution

    def _check_durable(self, entry: TaskEntry, promised: bool) -> None:
        if self._gates is None:
            raise PersistenceRequiredError(entry.name)
        if not entry.registered:
            allowed = (
                f"{entry.name!r} must be registered with @task_manager.task(), to be found after a restart"
            )
            raise ConfigurationError("persist", True, allowed)
        if promised and not self._gates.running:
            raise ManagerNotStartedError(entry.name)

    @property
    def idle_backend(self) -> bool:
        """Whether there is a backend that nothing is stored in, because the manager was not started."""
        return self._gates is not None and not self._gates.running

    def promise(self, task_id: str) -> Gate | None:
        """The storage of an unfinished task with ``persist=True``; ``None`` of any other."""
        return None if self._gates is None else self._gates.find(task_id)

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

    def _add_stored(self, record: TaskRecord, gate: Gate, remember: bool) -> TaskRecord:
        """The record; or the one that holds its idempotency key."""
        # Others may find the record by its key as soon as it is in the store: that is why its gate is
        # opened before, so that their promise waits for it as well.
        added = None
        try:
            added = self._store.add(record, remember)
        finally:
            if added is not record:
                gate.discard()
        return added


def _say(record: TaskRecord, said: TaskOptions, kept: dict[str, Any] | None) -> None:
    """Put what was said for a call on its record, and what a row keeps of it."""
    stated = dict(said.said())
    record.idempotency_key = stated.get("idempotency_key")
    record.tags = dict(stated.get("tags") or {})
    record.options = kept
