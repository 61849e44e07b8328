"""The contract of a backend, which stores records beyond the life of the process."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TaskStatus
from taskflow.core.query import Cursor, TaskQuery
from taskflow.persistence.rows import TaskRow

__all__ = [
    "APPLIED",
    "FIXED",
    "LOST",
    "MISSING",
    "NAMESPACE",
    "Change",
    "Outcome",
    "SnapshotBackend",
    "StatusTotal",
    "check_namespace",
]

NAMESPACE: Final = "default"
"""The namespace of whoever names none, and of all rows that are older than namespaces."""

NAMESPACES: Final = re.compile("[A-Za-z0-9_.-]{1,63}")

FIXED: Final = ("created", "func_name", "labels", "encrypted", "payload")
"""Columns that a change of an existing row never writes."""


@dataclass(slots=True)
class Change:
    """One conditional write.

    Attributes:
        row: what to store. In a row that exists, the columns of `FIXED` are not written. Only inserts set
            ``held_key``; updates may clear it (``None``), and otherwise leave it as it is.
        expected: owner and status that the stored row must have; ``None`` for an insert: there must be no
            row with this id.
    """

    row: TaskRow
    expected: tuple[str, TaskStatus] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one change.

    Attributes:
        applied: whether the row is stored now.
        holder: of an insert that was not applied, id of the task that has the idempotency key or the id.
        missing: of a change that was not applied: whether there is no such row. A backend that cannot
            tell says no.
    """

    applied: bool
    holder: str | None = None
    missing: bool = False


APPLIED = Outcome(applied=True)
LOST = Outcome(applied=False)
"""The row is not as expected: another instance has taken the task over, or it has ended."""
MISSING = Outcome(applied=False, missing=True)
"""There is no such row: somebody has deleted it, or the whole store was emptied (see `incarnation`)."""


@dataclass(frozen=True, slots=True)
class StatusTotal:
    """The rows of one status: their number, how many have a duration, and the sum in seconds."""

    count: int
    timed: int = 0
    seconds: float = 0.0


def check_namespace(namespace: str) -> str:
    """The namespace, if it can be one: 1 to 63 of letters without accents, digits, ``_``, ``.`` and ``-``.

    Raises:
        ConfigurationError: it cannot.
    """
    if not isinstance(namespace, str) or not NAMESPACES.fullmatch(namespace):
        raise ConfigurationError("namespace", namespace, "must be 1 to 63 of A-Z, a-z, 0-9, _, . and -")
    return namespace


class SnapshotBackend(ABC):
    """Stores rows for one or more instances of an application.

    Several applications may share a store, each in a namespace of its own: then everything that is said
    here of rows, keys and leases is said of those of one namespace.

    A backend may be shared by managers of one process, and must be usable again after `close`. Its
    methods are called on one event loop at a time, several of them at once.

    Every method but `close` raises `BackendUnavailableError` if trying again later may help, and
    `BackendFormatError` if it cannot. No clock decides who owns a row: a lease is valid until somebody ends
    it, and its beats are counted, so that other instances can see that it is renewed.

    Attributes:
        kind: its name in one word, also a label of its metrics.
        namespace: whose rows it sees.
    """

    kind: ClassVar[str]
    namespace: str = NAMESPACE

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create or migrate what is needed. Does nothing if it is open.

        Raises:
            BackendFormatError: the data there is not Taskflow's or of a newer version; nothing was changed.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close all connections. Does nothing if it is closed."""

    async def incarnation(self) -> str:
        """A random text that the store got when it was made, and gets anew when it was emptied.

        If it is another one than before, rows that are missing were lost with the whole
        store: a deleted file, ``TRUNCATE``, ``FLUSHALL``, a server that came back without its data. A
        backend that does not implement this has the same one for ever.
        """
        return ""

    # History

    @abstractmethod
    async def save(self, rows: Sequence[TaskRow]) -> None:
        """Insert or replace rows, all or none; ids are distinct.

        A stored row that is durable is only written by `commit`, and left as it is here. The exception is
        a row that has ended with the same status as the new one: it is replaced (a late log line). This
        method never writes ``held_key``: a new row has none, and a replaced one keeps its own.
        """

    @abstractmethod
    async def get(self, task_id: str) -> TaskRow | None:
        """The row with this id, or ``None``."""

    @abstractmethod
    async def find(self, query: TaskQuery) -> list[TaskRow]:
        """The matching rows, newest first; rows of the same moment by id, from high to low.

        They lack what `LEFT_OUT` names: a page would be megabytes of arguments, logs and tracebacks.
        """

    @abstractmethod
    async def count(self) -> dict[TaskStatus, StatusTotal]:
        """The number and the durations of the rows in each state that has any."""

    @abstractmethod
    async def prune(self, before: datetime, limit: int = 10_000) -> int:
        """Delete up to ``limit`` rows that ended before a moment; returns how many."""

    # Durable tasks

    @abstractmethod
    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        """Apply the changes whose conditions hold, in one transaction; durable on return. Ids are distinct.

        - An insert is not applied if another durable row of its function has its ``held_key``, or another
          row has its id; the outcome names that row as the holder. Of two inserts with one key in the
          same call, the earlier one gets it.
        - A change whose row is stored already, with the same status and owner, counts as applied: the
          answer to an earlier call may have been lost.
        - If it raises, the outcome is unknown; either all changes were applied, or none.
        """

    @abstractmethod
    async def claimable(
        self, names: Collection[str], limit: int, *, after: Cursor | None = None
    ) -> list[TaskRow]:
        """Unfinished rows that may be taken over, oldest first; rows of the same moment by id, ascending.

        A row may be taken over if its owner is `RELEASED`, or has no lease or a released one. `RELEASED`
        and durable rows can run again, and are only returned if their name is one of ``names``. All
        others cannot run again, and are returned whatever their name.

        Args:
            names: the functions that the caller can run.
            limit: most rows to return.
            after: only rows after this place in that order.
        """

    @abstractmethod
    async def unclaimable(self, names: Collection[str]) -> Mapping[str, int]:
        """By name: how many rows `claimable` leaves out only because of their name."""

    # Functions

    async def declare(self, functions: Mapping[str, str], seconds: float) -> Collection[tuple[str, str]]:
        """Tell for the next ``seconds`` where functions are, and learn where others have theirs.

        A backend that does not implement this tells nobody, and finds nothing.

        Args:
            functions: ``module.qualname`` of each, by its registered name.
            seconds: how long that is remembered.

        Returns:
            Name and ``module.qualname`` of each function of another place that has one of these names,
            and was told of not too long ago; sorted.
        """
        return ()

    # Leases

    @abstractmethod
    async def acquire(self, token: str, *, previous: str | None = None) -> None:
        """Make a new lease ``token``, with one beat.

        The unfinished rows of ``previous``, a lease of the same instance that was ended, become its own,
        as far as nobody has taken them over yet.
        """

    @abstractmethod
    async def renew(self, token: str) -> bool:
        """Count one more beat of a lease; false, and no change, if there is none or it was released."""

    @abstractmethod
    async def leases(self) -> Mapping[str, int]:
        """The beats of every lease; 0 of one that was released and still has rows."""

    @abstractmethod
    async def expire(self, token: str, beats: int) -> bool:
        """End a lease that has had so many beats; false, and no change, if it has had another number."""

    @abstractmethod
    async def release(self, token: str) -> None:
        """End a lease on purpose: its unfinished rows may be taken over. Does nothing if there is none."""

    def twin(self, timeout: float) -> SnapshotBackend | None:
        """Another way to the same rows, for the event loop of another thread; ``None`` if there is none.

        A manager sends its heartbeats through it: they then go on while the manager's own event loop
        stands still. Of a backend without a twin they are sent from that loop. Nothing but the methods
        on leases, and `close`, is called on a twin.

        Args:
            timeout: seconds after which each of its calls should have failed.
        """
        return None
