"""Takes over unfinished rows of other processes.

A claim only sets the owner of a row, on the condition that no other instance did so first. What happens
to the task is decided afterwards. A row whose task cannot run here is left alone, and logged once.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.core.exceptions import (
    BackendFormatError,
    ConfigurationError,
    DecryptionError,
    TaskArgumentError,
)
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.options import DEFAULTS, TaskOptions
from taskflow.core.query import Cursor
from taskflow.execution.registry import TaskEntry, TaskRegistry
from taskflow.persistence.backend import Change
from taskflow.persistence.identity import has_died, life_of
from taskflow.persistence.lease import Instance
from taskflow.persistence.rows import RELEASED, TaskRow, to_record

__all__ = ["Claim", "Claims"]

logger = logging.getLogger("taskflow")

COMPLAINTS: Final = 10
"""Most rows of one function that are logged one by one: with a wrong key, none of them can run."""


@dataclass(slots=True)
class Claim:
    """A row that can be taken over, and what is needed to run its task.

    Attributes:
        row: as it is stored.
        record: made from the row.
        reason: ``requeued`` if its process handed it over at a clean stop, ``rescued`` if that is known to
            have ended otherwise, ``lease_expired`` if it did not renew its lease: it may be alive.
        entry: its function; ``None`` if the task cannot run again.
        args, kwargs: the arguments of the function.
        options: how the task is executed.
    """

    row: TaskRow
    record: TaskRecord
    reason: str
    entry: TaskEntry | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    options: TaskOptions = DEFAULTS


class Claims:
    """Finds and claims such rows.

    Args:
        instance: becomes the owner of the rows.
        registry: the functions that can run here.
        arguments: decodes their arguments.

    Attributes:
        waiting: by name: how many rows wait for a function that is not registered here.
    """

    def __init__(self, instance: Instance, registry: TaskRegistry, arguments: ArgumentKeeper) -> None:
        self._instance = instance
        self._registry = registry
        self._arguments = arguments
        self._complained: dict[str, set[str]] = defaultdict(set)
        self._unanswered: list[Claim] = []
        self._leases: Mapping[str, int] = {}
        self.waiting: Mapping[str, int] = {}

    async def end(self, silent: Mapping[str, int]) -> None:
        """End the leases of instances that have not been heard of for long enough.

        Args:
            silent: the leases, and how many beats they had all the time.

        Raises:
            BackendError: the backend cannot be asked.
        """
        for token, beats in silent.items():
            if token != self._instance.token and await self._instance.expire(token, beats):
                logger.warning("an instance has not been heard of for too long: its tasks are taken over")

    def lives(self) -> frozenset[str]:
        """The lives of instances that had a lease when it was looked last."""
        return frozenset(life_of(token) for token, beats in self._leases.items() if beats)

    async def take(
        self, limit: int, after: Cursor | None, *, unless: Callable[[str], bool]
    ) -> tuple[list[Claim], Cursor | None]:
        """Claim up to ``limit`` rows: those that no other instance got, and the place to go on after.

        Args:
            limit: most rows to look at.
            after: only rows after this place.
            unless: says of an id whether to leave its row alone.

        Raises:
            BackendError: the backend could not be used. Rows that were claimed nevertheless are returned
                by the next call.
        """
        claimable = self._instance.backend.claimable(self._names(), limit, after=after)
        rows = await self._instance.vitals.measure("claimable", claimable)
        if any(
            row.owner != RELEASED for row in rows
        ):  # after them: a lease that is released is there for longer
            leases = self._instance.backend.leases()
            self._leases = await self._instance.vitals.measure("leases", leases)
        found = [claim for row in rows if not unless(row.task_id) and (claim := self._claim(row)) is not None]
        # A row that is found again was not claimed, and may have changed: the new one counts.
        claims = list({claim.row.task_id: claim for claim in (*self._unanswered, *found)}.values())
        return await self._commit(claims), rows[-1].cursor if len(rows) == limit else None

    async def _commit(self, claims: list[Claim]) -> list[Claim]:
        """Store the claims; returns those that succeeded."""
        self._unanswered = claims
        if claims:
            outcomes = await self._instance.commit(
                lambda token: [_passed(c.row, c.row.owner, token) for c in claims]
            )
            claims = [claim for claim, outcome in zip(claims, outcomes, strict=True) if outcome.applied]
        self._unanswered = []
        return claims

    async def undo_unanswered(self) -> None:
        """Undo claims that were cancelled before the backend answered, so that others can claim the rows.

        Only for rows that were handed over at a clean stop. All others can be claimed again anyway, once
        this instance has no valid lease.

        Raises:
            BackendError: the backend could not be used.
        """
        claims = [claim for claim in self._unanswered if claim.row.owner == RELEASED]
        self._unanswered = []
        if claims:
            await self._instance.commit(lambda token: [_passed(c.row, token, RELEASED) for c in claims])

    def undecided(self) -> int:
        """How many rows may be ours or not: nobody told."""
        return len(self._unanswered)

    async def take_one(self, row: TaskRow) -> bool:
        """Make a row ours, whoever could run it; false if an instance has it, or has just got it.

        Raises:
            BackendError: the backend cannot be asked.
        """
        if row.owner != RELEASED:
            leases = await self._instance.vitals.measure("leases", self._instance.backend.leases())
            if leases.get(row.owner or RELEASED):
                return False
        (outcome,) = await self._instance.commit(lambda token: [_passed(row, row.owner, token)])
        return outcome.applied

    async def find(self, task_id: str) -> TaskRow | None:
        """The stored row with this id, or ``None``.

        Raises:
            BackendError: the backend cannot be asked.
        """
        return await self._instance.vitals.measure("get", self._instance.backend.get(task_id))

    async def complain(self) -> None:
        """Log how many rows wait for functions that are not registered here, each function once.

        Raises:
            BackendError: the backend could not be used.
        """
        unknown = self._instance.backend.unclaimable(self._names())
        known, self.waiting = self.waiting, dict(await self._instance.vitals.measure("unclaimable", unknown))
        for name, count in self.waiting.items():
            if name not in known:
                message = "%d stored tasks wait for a function named %r, which is not registered here"
                logger.error(message, count, name)

    def _names(self) -> Collection[str]:
        return [entry.name for entry in self._registry]

    def _claim(self, row: TaskRow) -> Claim | None:
        """The claim for a row; ``None`` if the task cannot run here."""
        try:
            record, reason = to_record(row), self._reason(row)
            if not row.durable and row.owner != RELEASED:
                return Claim(row, record, reason)
            entry = self._registry.named(row.func_name)
            if entry is None:
                return None
            options = TaskOptions.from_json(record.options).over(entry.options)
            return Claim(row, record, reason, entry, *self._arguments.recall(record, entry), options)
        except (BackendFormatError, ConfigurationError, DecryptionError, TaskArgumentError) as error:
            self._complain(row, error)
            return None

    def _reason(self, row: TaskRow) -> str:
        owner = row.owner or RELEASED
        if owner == RELEASED:
            return "requeued"
        if owner in self._leases:  # it was released; what runs was to be stored before that, and was not
            return "rescued" if row.status is TaskStatus.RUNNING else "requeued"
        return "rescued" if has_died(owner) else "lease_expired"

    def _complain(self, row: TaskRow, error: Exception) -> None:
        known = self._complained[row.func_name]
        if row.task_id in known or len(known) > COMPLAINTS:
            return
        known.add(row.task_id)
        if len(known) > COMPLAINTS:
            logger.error(
                "more tasks %s were left behind like that; they are not logged any more", row.func_name
            )
        else:
            message = "task %s (%s) was left behind and stays where it is: %s"
            logger.error(message, row.func_name, row.task_id, error)


def _passed(row: TaskRow, giver: str | None, taker: str) -> Change:
    """The change that gives a row to another owner, if it still has the present one."""
    assert giver is not None  # it has not ended
    return Change(replace(row, owner=taker), (giver, row.status))
