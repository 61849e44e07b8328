"""What the engine asks of whoever stores a task, without knowing who that is."""

from __future__ import annotations

from typing import Protocol

from taskflow.core.models import TaskRecord

__all__ = ["Gate", "Gatekeeper"]


class Gate(Protocol):
    """The storage of one task with ``persist=True``.

    Attributes:
        holder: id of the task that holds its idempotency key, if it was refused for that.
    """

    holder: str | None

    async def settled(self) -> bool:
        """Wait until everything that was told so far is stored. False if the task must not run here."""

    def settled_from_thread(self) -> bool:
        """As `settled`, from a thread without an event loop."""

    async def writable(self) -> None:
        """Return when the store can be written to, as far as is known."""

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
    """Gives each task with ``persist=True`` its gate."""

    def open(self, record: TaskRecord) -> Gate:
        """The gate of a new task."""

    def find(self, task_id: str) -> Gate | None:
        """The gate of an unfinished task; ``None`` if it has none."""
