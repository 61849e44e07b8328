"""The base class of observers."""

from __future__ import annotations

from typing import Any, ClassVar

from taskflow.core.checks import check_choice
from taskflow.core.events import LEVELS, BackendEvent, LifecycleEvent, LogEvent

__all__ = ["TaskObserver"]


class TaskObserver:
    """Receives what happens to tasks. Every method is a no-op: override what you need.

    A plain ``def`` handler runs inline, on the thread that made the event, in order: it must be quick
    and thread-safe. An ``async def`` handler never delays a task: its events wait in a bounded queue
    and are awaited one by one, in order, by the observer's own worker. An observer that raises affects
    neither the task nor the other observers.

    Args:
        min_level: the least severe `task_log` level that `on_log` receives. Lifecycle events have no
            level: all of them are delivered.

    Raises:
        ConfigurationError: ``min_level`` is unknown.
    """

    # A class attribute too, so that a subclass that forgets super().__init__() still works.
    min_level: str = "info"
    queue_limit: ClassVar[int] = 10_000
    """How many events may wait for ``async def`` handlers; beyond it the newest is dropped and counted."""

    def __init__(self, min_level: str = "info") -> None:
        self.min_level = check_choice("min_level", min_level, LEVELS)

    @property
    def dropped(self) -> int:
        """Events that the observer accepted and lost later; for observers with a buffer of their own."""
        return 0

    @property
    def write_errors(self) -> int:
        """Failed tries to deliver events; for observers that write later than they are called."""
        return 0

    # Overridable as ``async def`` too: hence the loose return type.
    def on_lifecycle(self, event: LifecycleEvent) -> Any:
        """A task entered a state."""

    def on_log(self, event: LogEvent) -> Any:
        """A task logged a line of at least ``min_level``."""

    def on_backend(self, event: BackendEvent) -> Any:
        """An operation on the backend has ended."""

    def bind(self, event: LifecycleEvent) -> None:
        """An attempt is about to start, inside a context of its own: set context variables here.

        Called with the RUNNING event, before any observer's `on_lifecycle` receives it.
        """

    def inject(self, event: LifecycleEvent, carrier: dict[str, str]) -> None:
        """A task that may outlive this process was created: put what a restart must remember in ``carrier``.

        Called with the PENDING event, after `on_lifecycle` received it. The carrier comes back as
        ``trace_context`` on the task's events after the restart.
        """

    def watch(self, source: Any) -> None:
        """The `TaskManager` that feeds this observer introduces itself, once, at its construction.

        For observers that also read state (saturation gauges) instead of only receiving events.
        """

    async def startup(self) -> None:
        """The manager starts: open connections here."""

    async def flush(self) -> None:
        """Return when every event received so far has reached its destination."""

    async def close(self) -> None:
        """The manager has stopped: deliver what is buffered, and free resources."""
