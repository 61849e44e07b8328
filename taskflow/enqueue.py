"""The one way into the engine: routes, scripts, retry and requeue all enqueue here."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from taskflow.encryption import encrypt
from taskflow.exceptions import ConfigurationError, ManagerClosedError, PersistenceRequiredError
from taskflow.execution import Execution, Executor
from taskflow.registry import TaskEntry, TaskRegistry
from taskflow.store import TaskStore

if TYPE_CHECKING:
    from cryptography.fernet import Fernet, MultiFernet

__all__ = ["Enqueuer"]


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
        fernet: Fernet | MultiFernet | None = None,
    ) -> None:
        self.closed = False
        self._registry = registry
        self._store = store
        self._executor = executor
        self._fernet = fernet

    def enqueue(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        retry_of: str | None = None,
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
        if entry.config.persist:
            raise PersistenceRequiredError(entry.name)
        details: dict[str, Any] = {}
        if idempotency_key is not None:
            details["idempotency_key"] = _checked_key(idempotency_key)
        if tags:
            details["tags"] = _checked_tags(tags)
        if retry_of is not None:
            details["retry_of"] = retry_of
        stored_args, stored_kwargs = args, kwargs
        if self._fernet is not None:
            details["encrypted_payload"] = self._encrypted(self._fernet, entry, args, kwargs)
            stored_args, stored_kwargs = (), {}
        task_id = new_task_id()
        record = self._store.create(
            task_id,
            entry.name,
            stored_args,
            stored_kwargs,
            max_retries=entry.config.retries,
            registered=entry.registered,
            code_function=entry.code_function,
            **details,
        )
        if record.task_id != task_id:
            return record.task_id, None
        execution = Execution(entry, record, args, kwargs, contextvars.copy_context())
        self._executor.admit(execution)
        return task_id, execution

    def _encrypted(
        self, fernet: Fernet | MultiFernet, entry: TaskEntry, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bytes:
        return encrypt(fernet, entry.codec.encode(args, kwargs))


def new_task_id() -> str:
    """A random UUID (version 4, RFC 9562) as text; `uuid.uuid4` and `str` take three times as long."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _checked_key(key: str) -> str:
    if not isinstance(key, str) or not key:
        raise ConfigurationError("idempotency_key", key, "must be text that is not empty")
    return key


def _checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(tags, Mapping):
        raise ConfigurationError("tags", tags, "must be a dict of text to text")
    for key, value in tags.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ConfigurationError("tags", {key: value}, "keys and values must be text")
    return dict(tags)
