"""Background tasks for FastAPI with retries, persistence and control, built on one stream of events."""

from __future__ import annotations

from typing import Any

from taskflow import backends, observers
from taskflow.admin import TaskAdmin, TaskAuthBackend
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
from taskflow.observers import (
    BackendEvent,
    FileLogger,
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    LoggerChain,
    StdoutLogger,
    TaskObserver,
)
from taskflow.persistence.backend import SnapshotBackend
from taskflow.persistence.snapshot import SnapshotScheduler
from taskflow.version import __version__
from taskflow.web.background import ManagedBackgroundTasks

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


def __getattr__(name: str) -> Any:
    if name in ("OpenTelemetryObserver", "PrometheusObserver"):
        return getattr(observers, name)
    if name in ("PostgresBackend", "RedisBackend", "SqliteBackend"):
        return getattr(backends, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
