"""The contract of a backend: where records live when the process does not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from taskflow.core.models import TaskStatus
from taskflow.core.query import Cursor, TaskQuery
from taskflow.persistence.rows import TaskRow

__all__ = ["APPLIED", "FIXED", "LOST", "Change", "Outcome", "SnapshotBackend", "StatusTotal"]

FIXED: Final = ("created", "func_name", "labels", "encrypted", "payload")
"""What a change leaves as it is."""


@dataclass(slots=True)
class Change:
    """One conditional write.

    Attributes:
        row: what to store. Of a row that exists, what `FIXED` names stays as it is. So does its
            ``held_key``, which an insert alone can give, unless the new one is ``None``.
        expected: owner and status that the stored row must have; ``None`` if there must be none yet.
    """

    row: TaskRow
    expected: tuple[str, TaskStatus] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change.

    Attributes:
        applied: whether the row is stored as asked for.
        holder: of an insert, the task that is there instead: it holds the idempotency key, or the id.
    """

    applied: bool
    holder: str | None = None


APPLIED = Outcome(applied=True)
LOST = Outcome(applied=False)
"""The row is no longer as expected: another instance has taken the task over, or it has ended."""


@dataclass(frozen=True, slots=True)
class StatusTotal:
    """How many rows have a status, and how long those took that have a duration, in seconds."""

    count: int
    timed: int = 0
    seconds: float = 0.0


class SnapshotBackend(ABC):
    """Stores rows for one or more instances of an application.

    A backend may be shared by managers of one process, and must be usable again after `close`. Its
    methods are called on one event loop at a time, several of them at once.

    Every method but `close` raises `BackendUnavailableError` where trying again later may help, and
    `BackendFormatError` where it cannot. Times are judged by the backend's own clock, so that those of
    the instances need not agree.

    Attributes:
        kind: what it is, in one word: a label of its metrics.
    """

    kind: ClassVar[str]

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create or migrate what is needed. Does nothing if it is open.

        Raises:
            BackendFormatError: there is something else, or of a newer version; it was left alone.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections. Does nothing if it is closed."""

    # History

    @abstractmethod
    async def save(self, rows: Sequence[TaskRow]) -> None:
        """Insert or replace rows, all or none; ids are distinct.

        A stored row that is durable belongs to `commit`: it is left as it is, unless it has ended with
        the very status of the new one (a late log line). Nobody gets an idempotency key by this: what is
        new has no ``held_key``, and what is replaced keeps the one it has.
        """

    @abstractmethod
    async def get(self, task_id: str) -> TaskRow | None:
        """The row with this id, or ``None``."""

    @abstractmethod
    async def find(self, query: TaskQuery) -> list[TaskRow]:
        """The rows asked for, newest first and by id from high to low among equals."""

    @abstractmethod
    async def count(self) -> dict[TaskStatus, StatusTotal]:
        """How many rows there are in each state that has any."""

    @abstractmethod
    async def prune(self, before: datetime, limit: int = 10_000) -> int:
        """Delete up to ``limit`` rows that ended before a moment; returns how many."""

    # Durable tasks

    @abstractmethod
    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Apply changes whose conditions hold, in one transaction; durable on return. Ids are distinct.

        - An insert of a row whose ``held_key`` another durable row holds is not applied, and tells the
          holder; so does an insert of an id that is stored, with the id itself. Within one call the
          earlier insert holds the key.
        - A change that is stored already, with the same status and owner, counts as applied: the answer
          to an earlier call may have been lost.
        - If it raises, the outcome is unknown: all, or nothing.
        """

    @abstractmethod
    async def claimable(
        self, names: Collection[str], limit: int, *, after: Cursor | None = None
    ) -> list[TaskRow]:
        """Unfinished rows that may be taken over, oldest first and by id from low to high among equals.

        Those whose owner is `RELEASED` or has no lease that lasts, if they are released or durable and
        have a name of ``names``; or if they are neither, whatever their name: those cannot run again.

        Args:
            names: the functions that the caller can run.
            limit: most rows to give.
            after: only what comes after this place.
        """

    @abstractmethod
    async def unclaimable(self, names: Collection[str]) -> Mapping[str, int]:
        """By name: how many rows `claimable` leaves out for their name alone."""

    # Leases

    @abstractmethod
    async def acquire(self, token: str, seconds: float, *, previous: str | None = None) -> None:
        """Make a new lease ``token`` that lasts for ``seconds`` from now.

        The unfinished rows of ``previous``, a lease of the same instance that ran out, become its own,
        as far as nobody has taken them over yet.
        """

    @abstractmethod
    async def renew(self, token: str, seconds: float) -> bool:
        """Make a lease last for ``seconds`` from now; false, and no change, if it has run out."""

    @abstractmethod
    async def release(self, token: str) -> None:
        """End a lease now: its unfinished rows may be taken over. Does nothing if there is none."""
