"""Making rows that another process left behind this instance's own.

A row is claimed as it is, under the condition that nobody else has: what becomes of the task is decided
afterwards, by whoever got it. What cannot run here stays where it is, and is logged once.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Final

from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.core.exceptions import (
    BackendFormatError,
    ConfigurationError,
    DecryptionError,
    TaskArgumentError,
)
from taskflow.core.models import TaskRecord
from taskflow.core.options import DEFAULTS, TaskOptions
from taskflow.core.query import Cursor
from taskflow.execution.registry import TaskEntry, TaskRegistry
from taskflow.persistence.backend import Change
from taskflow.persistence.lease import Instance
from taskflow.persistence.rows import RELEASED, TaskRow, to_record

__all__ = ["Claim", "Claims"]

logger = logging.getLogger("taskflow")

COMPLAINTS: Final = 10
"""Rows of one function that cannot run here, and are logged one by one: a wrong key makes it all of them."""


@dataclass(slots=True)
class Claim:
    """A row that can be taken over, and what is needed to go on with it.

    Attributes:
        row: as it was left behind.
        record: the record that it stands for.
        entry: its function; ``None`` if the task cannot run again.
        args, kwargs: the arguments of the function.
        options: how the task is executed.
    """

    row: TaskRow
    record: TaskRecord
    entry: TaskEntry | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    options: TaskOptions = DEFAULTS

    @property
    def released(self) -> bool:
        """Whether it was left behind on purpose, at a clean stop."""
        return self.row.owner == RELEASED


class Claims:
    """Finds such rows.

    Args:
        instance: for whom.
        registry: which functions can run here.
        arguments: how their arguments were stored.
    """

    def __init__(self, instance: Instance, registry: TaskRegistry, arguments: ArgumentKeeper) -> None:
        self._instance = instance
        self._registry = registry
        self._arguments = arguments
        self._complained: dict[str, set[str]] = defaultdict(set)
        self._unanswered: list[Claim] = []

    async def take(
        self, limit: int, after: Cursor | None, *, unless: Callable[[str], bool]
    ) -> tuple[list[Claim], Cursor | None]:
        """Make up to ``limit`` rows ours: those that nobody else got, and where the next ones begin.

        Args:
            limit: most rows to look at.
            after: only rows after this place.
            unless: which ids to leave alone.

        Raises:
            BackendError: the backend cannot be asked. What may have become ours is given the next time.
        """
        claimable = self._instance.backend.claimable(self._names(), limit, after=after)
        rows = await self._instance.vitals.measure("claimable", claimable)
        found = [claim for row in rows if not unless(row.task_id) and (claim := self._claim(row)) is not None]
        # What is found again was not ours, and may have changed.
        claims = list({claim.row.task_id: claim for claim in (*self._unanswered, *found)}.values())
        return await self._commit(claims), rows[-1].cursor if len(rows) == limit else None

    async def _commit(self, claims: list[Claim]) -> list[Claim]:
        """Those of the claims that are ours now."""
        self._unanswered = claims
        if claims:
            outcomes = await self._instance.commit(
                lambda token: [_passed(c.row, c.row.owner, token) for c in claims]
            )
            claims = [claim for claim, outcome in zip(claims, outcomes, strict=True) if outcome.applied]
        self._unanswered = []
        return claims

    async def give_back(self) -> None:
        """Release again what was being claimed when that was cancelled: whether it is ours, nobody told.

        Rows that died with their process need no care: they are taken over from anybody without a lease.

        Raises:
            BackendError: the backend cannot be asked.
        """
        claims = [claim for claim in self._unanswered if claim.released]
        self._unanswered = []
        if claims:
            await self._instance.commit(lambda token: [_passed(c.row, token, RELEASED) for c in claims])

    async def complain(self) -> None:
        """Log which rows nobody here can run for want of a function.

        Raises:
            BackendError: the backend cannot be asked.
        """
        unknown = self._instance.backend.unclaimable(self._names())
        for name, count in (await self._instance.vitals.measure("unclaimable", unknown)).items():
            message = "%d stored tasks wait for a function named %r, which is not registered here"
            logger.error(message, count, name)

    def _names(self) -> Collection[str]:
        return [entry.name for entry in self._registry]

    def _claim(self, row: TaskRow) -> Claim | None:
        """What can be done with the row; ``None`` if it must wait for somebody who can run it."""
        try:
            record = to_record(row)
            if not row.durable and row.owner != RELEASED:
                return Claim(row, record)
            entry = self._registry.named(row.func_name)
            if entry is None:
                return None
            options = TaskOptions.from_json(record.options).over(entry.options)
            return Claim(row, record, entry, *self._arguments.recall(record, entry), options)
        except (BackendFormatError, ConfigurationError, DecryptionError, TaskArgumentError) as error:
            self._complain(row, error)
            return None

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
    """The same row with another owner, under the condition that it still has the one before."""
    assert giver is not None  # it has not ended
    return Change(replace(row, owner=taker), (giver, row.status))
