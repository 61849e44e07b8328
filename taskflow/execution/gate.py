"""What the engine asks of whoever stores a task, without knowing who that is."""

from __future__ import annotations

from typing import Protocol

from taskflow.core.models import TaskRecord

__all__ = ["Gate", "Gatekeeper"]


class Gate(Protocol):
    """The storage of one task with ``persist=True``."""

    async def may_start(self) -> bool:
        """Whether an attempt may begin: waits until the task is stored and the store can be written to.

        False if the task could not be stored, or another instance has it.
        """

    async def start_is_stored(self) -> bool:
        """Whether the function may be entered: waits until it is stored that the attempt has begun.

        False if another instance has the task.
        """

    async def committed(self) -> None:
        """Wait until the task is stored, or another one with its idempotency key.

        Raises:
            CommitError: it is not, and will not run.
        """

    def write_ahead(self) -> None:
        """Store the new task."""

    def discard(self) -> None:
        """Forget the new task: it is not to be stored."""


class Gatekeeper(Protocol):
    """Gives each task with ``persist=True`` its gate.

    Attributes:
        running: whether it stores what it is given, now and not only after the next start.
    """

    @property
    def running(self) -> bool: ...

    def open(self, record: TaskRecord, /) -> Gate:
        """The gate of a new task."""

    def find(self, task_id: str, /) -> Gate | None:
        """The gate of an unfinished task; ``None`` if it has none."""
