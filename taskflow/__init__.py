"""Background tasks for FastAPI with retries, persistence and control, built on one stream of events."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from taskflow.core.events import BackendEvent, LifecycleEvent, LogEvent
from taskflow.core.exceptions import (
    ArgumentsNotKeptError,
    BackendError,
    BackendFormatError,
    BackendUnavailableError,
    CommitError,
    ConfigurationError,
    DecryptionError,
    DuplicateTaskNameError,
    FunctionNotRegisteredError,
    InvalidTransitionError,
    ManagerClosedError,
    ManagerNotStartedError,
    PersistenceRequiredError,
    TaskArgumentError,
    TaskFinishedError,
    TaskflowError,
    TaskNotCancellableError,
    TaskNotFoundError,
    TaskNotRetryableError,
)
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.options import TaskConfig, TaskOptions
from taskflow.execution.context import TaskContext, TaskLogFilter, get_task_context, task_log
from taskflow.execution.registry import TaskRegistry
from taskflow.execution.running.middleware import TaskCall, TaskMiddleware
from taskflow.execution.store import TaskStore
from taskflow.manager import TaskManager
from taskflow.observers.base import TaskObserver
from taskflow.observers.chain import LoggerChain
from taskflow.persistence.backend import SnapshotBackend
from taskflow.version import __version__
from taskflow.web.background import ManagedBackgroundTasks

if TYPE_CHECKING:
    from taskflow.admin import TaskAdmin, TaskAuthBackend
    from taskflow.backends import PostgresBackend, RedisBackend, SqliteBackend
    from taskflow.observers import (
        FileLogger,
        InMemoryLogger,
        OpenTelemetryObserver,
        PrometheusObserver,
        StdoutLogger,
    )
    from taskflow.persistence.snapshot import SnapshotScheduler

__all__ = [
    "ArgumentsNotKeptError",
    "BackendError",
    "BackendEvent",
    "BackendFormatError",
    "BackendUnavailableError",
    "CommitError",
    "ConfigurationError",
    "DecryptionError",
    "DuplicateTaskNameError",
    "FileLogger",
    "FunctionNotRegisteredError",
    "InMemoryLogger",
    "InvalidTransitionError",
    "LifecycleEvent",
    "LogEvent",
    "LoggerChain",
    "ManagedBackgroundTasks",
    "ManagerClosedError",
    "ManagerNotStartedError",
    "OpenTelemetryObserver",
    "PersistenceRequiredError",
    "PostgresBackend",
    "PrometheusObserver",
    "RedisBackend",
    "SnapshotBackend",
    "SnapshotScheduler",
    "SqliteBackend",
    "StdoutLogger",
    "TaskAdmin",
    "TaskArgumentError",
    "TaskAuthBackend",
    "TaskCall",
    "TaskConfig",
    "TaskContext",
    "TaskFinishedError",
    "TaskLogFilter",
    "TaskManager",
    "TaskMiddleware",
    "TaskNotCancellableError",
    "TaskNotFoundError",
    "TaskNotRetryableError",
    "TaskObserver",
    "TaskOptions",
    "TaskRecord",
    "TaskRegistry",
    "TaskStatus",
    "TaskStore",
    "TaskflowError",
    "__version__",
    "get_task_context",
    "task_log",
]

# Imported at the first use: a worker that shows no dashboard and writes no file does not wait for them.
_LAZY = {
    "FileLogger": "taskflow.observers",
    "InMemoryLogger": "taskflow.observers",
    "OpenTelemetryObserver": "taskflow.observers",
    "PostgresBackend": "taskflow.backends",
    "PrometheusObserver": "taskflow.observers",
    "RedisBackend": "taskflow.backends",
    "SnapshotScheduler": "taskflow.persistence.snapshot",
    "SqliteBackend": "taskflow.backends",
    "StdoutLogger": "taskflow.observers",
    "TaskAdmin": "taskflow.admin",
    "TaskAuthBackend": "taskflow.admin",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "admin":
        return importlib.import_module("taskflow.admin")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
