"""Every exception that Taskflow raises on purpose.

::

    TaskflowError
    ├── ConfigurationError (ValueError)      a wrong constructor or decorator value
    │   └── DuplicateTaskNameError           two functions under one registered name
    ├── TaskArgumentError (ValueError)       arguments that cannot be stored and revived unchanged
    ├── DecryptionError                      stored arguments and none of the keys fits
    ├── PersistenceRequiredError             persist=True and no backend
    ├── ManagerClosedError (RuntimeError)    enqueued after the shutdown began
    ├── ManagerNotStartedError (RuntimeError)    persist=True in a request, and nobody started the manager
    ├── InvalidTransitionError               the state machine has no such transition
    ├── BackendError                         an operation of the backend failed
    │   ├── BackendUnavailableError          it may work later: the server is away, the disk is full
    │   └── BackendFormatError               it cannot work: foreign, damaged or newer data
    ├── CommitError                          the write-ahead of a persist=True task failed
    ├── TaskNotFoundError (LookupError)
    ├── TaskFinishedError                    cancel of a task that has ended
    ├── TaskNotRetryableError                retry of a task that may still succeed, or has
    ├── FunctionNotRegisteredError           no function has the name of a stored task
    ├── ArgumentsNotKeptError                a stored task without its arguments
    └── TaskNotCancellableError              cancel of a sync function that has started
"""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "ArgumentsNotKeptError",
    "BackendError",
    "BackendFormatError",
    "BackendUnavailableError",
    "CommitError",
    "ConfigurationError",
    "DecryptionError",
    "DuplicateTaskNameError",
    "FunctionNotRegisteredError",
    "InvalidTransitionError",
    "ManagerClosedError",
    "ManagerNotStartedError",
    "PersistenceRequiredError",
    "TaskArgumentError",
    "TaskFinishedError",
    "TaskNotCancellableError",
    "TaskNotFoundError",
    "TaskNotRetryableError",
    "TaskflowError",
]


SECRETS: Final = frozenset({"auth", "dsn", "encrypt_args_key", "metrics_token", "secret_key", "url"})
"""Options that are secrets, or hold one: their values are never shown."""

REDACTED: Final = "<redacted>"

CREDENTIALS: Final = (
    (re.compile(r"(\b[A-Za-z][\w+.-]*:/{1,3})\S*@"), r"\1…@"),
    (re.compile(r"(?i)(\b\w*(?:password|passwd|pwd|secret|token)\s*=\s*)('[^']*'|[^\s&'\"]+)"), r"\1…"),
)
"""Credentials in a text: before the ``@`` of a URL, of which `pathlib` leaves one slash; or behind a name."""


class TaskflowError(Exception):
    """Root of every exception that Taskflow raises on purpose."""


class ConfigurationError(TaskflowError, ValueError):
    """A public option has a value that it cannot have.

    Attributes:
        parameter: name of the option.
        value: what was given; ``"<redacted>"`` if the option is a secret. Of a URL, the credentials are
            left out.
        allowed: which values are allowed, in words.
    """

    def __init__(self, parameter: str, value: object, allowed: str) -> None:
        self.parameter = parameter
        shown = _without_credentials(value) if isinstance(value, str) else value
        self.value = REDACTED if parameter in SECRETS else shown
        self.allowed = _without_credentials(allowed)
        super().__init__(f"{parameter}={_without_credentials(repr(self.value))}: {self.allowed}")


class DuplicateTaskNameError(ConfigurationError):
    """Two different functions were registered under one name.

    Attributes:
        name: the registered name.
        first, second: where the two functions are defined, as ``file:line (module.qualname)``.
    """

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        self.first = first
        self.second = second
        super().__init__(
            "name",
            name,
            f"already registered for {first}; {second} needs a name of its own "
            f'(@task_manager.task(name="..."))',
        )


class TaskArgumentError(TaskflowError, ValueError):
    """An argument cannot be stored and revived as the same value of the same type.

    Attributes:
        func_name: registered name of the task.
        parameter: name of the parameter whose argument it is.
        reason: what went wrong, in words.
    """

    def __init__(self, func_name: str, parameter: str, reason: str) -> None:
        self.func_name = func_name
        self.parameter = parameter
        self.reason = reason
        super().__init__(f"task {func_name!r}, argument {parameter!r}: {reason}")


class DecryptionError(TaskflowError):
    """Stored arguments could not be decrypted with any of the configured keys."""


class PersistenceRequiredError(TaskflowError):
    """A ``persist=True`` task was enqueued on a manager that has no backend.

    Attributes:
        func_name: registered name of the task.
    """

    def __init__(self, func_name: str) -> None:
        self.func_name = func_name
        super().__init__(
            f"task {func_name!r} has persist=True, but its TaskManager has no backend to keep it in"
        )


class ManagerClosedError(TaskflowError, RuntimeError):
    """The manager takes no more tasks because its shutdown has begun."""

    def __init__(self, message: str = "the TaskManager is shut down and takes no more tasks") -> None:
        super().__init__(message)


class ManagerNotStartedError(TaskflowError, RuntimeError):
    """A request has added a ``persist=True`` task to a manager that was never started.

    Nothing could be stored, and the response would promise what nobody keeps.

    Attributes:
        func_name: registered name of the task.
    """

    def __init__(self, func_name: str) -> None:
        self.func_name = func_name
        super().__init__(
            f"task {func_name!r} has persist=True, but its TaskManager was never started: call "
            f"manager.init_app(app) or TaskAdmin(app, manager), or await manager.startup() in the lifespan"
        )


class InvalidTransitionError(TaskflowError):
    """A record should have entered a state that cannot follow its present one.

    Attributes:
        task_id: the record.
        current, wanted: the two states.
    """

    def __init__(self, task_id: str, current: str, wanted: str) -> None:
        self.task_id = task_id
        self.current = current
        self.wanted = wanted
        super().__init__(f"task {task_id}: no transition from {current} to {wanted}")


class BackendError(TaskflowError):
    """An operation of a snapshot backend failed.

    Attributes:
        backend: kind of the backend: ``sqlite``, ``postgres`` ...
        reason: what went wrong, in words.
    """

    def __init__(self, backend: str, reason: str) -> None:
        self.backend = backend
        self.reason = reason
        super().__init__(f"{backend}: {reason}")


class BackendUnavailableError(BackendError):
    """The backend cannot be used now, and may work later: trying again makes sense."""


class BackendFormatError(BackendError):
    """The stored data is not Taskflow's, is damaged, or was written by a newer version.

    Trying again does not help; nothing was changed.
    """


class CommitError(TaskflowError):
    """A ``persist=True`` task was not written ahead: it is cancelled and will not run.

    Attributes:
        task_id: the task.
        reason: why, in words.
        public: the text for a client: without the hosts and databases that ``reason`` may name.
    """

    def __init__(self, task_id: str, reason: str, public: str = "the backend cannot be used now") -> None:
        self.task_id = task_id
        self.reason = reason
        self.public = f"task {task_id} was not stored and will not run: {public}"
        super().__init__(f"task {task_id} was not stored and will not run: {reason}")


class TaskNotFoundError(TaskflowError, LookupError):
    """No task has this id.

    Attributes:
        task_id: the id that was looked up.
    """

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"no task with id {task_id!r}")


class TaskFinishedError(TaskflowError):
    """The task has already ended.

    Attributes:
        task_id, status: the task and the state it ended in.
    """

    def __init__(self, task_id: str, status: str) -> None:
        self.task_id = task_id
        self.status = status
        super().__init__(f"task {task_id} has already ended: {status}")


class TaskNotCancellableError(TaskflowError):
    """A task that cannot be stopped here: as a rule a sync function that has started.

    Attributes:
        task_id: the task.
    """

    def __init__(
        self, task_id: str, why: str = "is a sync function that has started: it cannot be stopped"
    ) -> None:
        self.task_id = task_id
        super().__init__(f"task {task_id} {why}")


class TaskNotRetryableError(TaskflowError):
    """Only a failed, interrupted or cancelled task can be retried.

    Attributes:
        task_id, status: the task and its state.
    """

    def __init__(self, task_id: str, status: str) -> None:
        self.task_id = task_id
        self.status = status
        super().__init__(
            f"task {task_id} is {status}: only a failed, interrupted or cancelled task is retried"
        )


class FunctionNotRegisteredError(TaskflowError):
    """A stored task has the name of a function that is not registered here.

    Attributes:
        task_id, func_name: the task and its registered name.
    """

    def __init__(self, task_id: str, func_name: str) -> None:
        self.task_id = task_id
        self.func_name = func_name
        super().__init__(f"task {task_id}: no function is registered under the name {func_name!r}")


class ArgumentsNotKeptError(TaskflowError):
    """The arguments of a task are gone: it has ended with success, or was read from the history without them.

    They are stored with ``persist=True``, ``encrypt_args_key`` or ``requeue_pending=True``. The memory lets
    them go at a success.

    Attributes:
        task_id: the task.
    """

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(
            f"task {task_id}: its arguments were not kept; persist=True, encrypt_args_key "
            f"or requeue_pending=True keep those of a task that has not succeeded"
        )


def _without_credentials(text: str) -> str:
    for pattern, replacement in CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text
