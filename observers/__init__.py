"""Observers of the event stream: their base class, the chain that calls them, and one module for each.

The observers themselves are imported at their first use, so that applications without metrics, traces or
log files do not load what these need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskflow.core.events import BackendEvent, LifecycleEvent, LogEvent
from taskflow.observers.base import TaskObserver
from taskflow.observers.chain import LoggerChain, ObserverStats

if TYPE_CHECKING:
    from taskflow.observers.file import FileLogger
    from taskflow.observers.memory import InMemoryLogger
    from taskflow.observers.opentelemetry import OpenTelemetryObserver
    from taskflow.observers.prometheus import PrometheusObserver
    from taskflow.observers.stdout import StdoutLogger

__all__ = [
    "BackendEvent",
    "FileLogger",
    "InMemoryLogger",
    "LifecycleEvent",
    "LogEvent",
    "LoggerChain",
    "ObserverStats",
    "OpenTelemetryObserver",
    "PrometheusObserver",
    "StdoutLogger",
    "TaskObserver",
]

_LAZY = {
    "FileLogger": "taskflow.observers.file",
    "InMemoryLogger": "taskflow.observers.memory",
    "OpenTelemetryObserver": "taskflow.observers.opentelemetry",
    "PrometheusObserver": "taskflow.observers.prometheus",
    "StdoutLogger": "taskflow.observers.stdout",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
