"""`InMemoryLogger`: collects events in lists, for tests."""

from __future__ import annotations

from taskflow.core.events import LifecycleEvent, LogEvent, is_at_least
from taskflow.observers.base import TaskObserver

__all__ = ["InMemoryLogger"]


class InMemoryLogger(TaskObserver):
    """Keeps every event in a list. Unbounded: for tests, not for production.

    Args:
        min_level: the least severe `task_log` level that is kept.

    Attributes:
        log_events: `task_log` lines, oldest first.
        lifecycle_events: states entered, oldest first.

    Raises:
        ConfigurationError: ``min_level`` is unknown.
    """

    def __init__(self, min_level: str = "debug") -> None:
        super().__init__(min_level)
        self.log_events: list[LogEvent] = []
        self.lifecycle_events: list[LifecycleEvent] = []

    def on_log(self, event: LogEvent) -> None:
        """Keep the line if it is severe enough."""
        if is_at_least(event.level, self.min_level):
            self.log_events.append(event)

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Keep the event."""
        self.lifecycle_events.append(event)

    def clear(self) -> None:
        """Forget everything kept so far; the lists stay the same objects."""
        self.log_events.clear()
        self.lifecycle_events.clear()
