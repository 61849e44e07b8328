"""The lease of this process: while it is valid, no other instance takes over its tasks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

from taskflow.core.exceptions import BackendUnavailableError
from taskflow.persistence.backend import Change, Outcome, SnapshotBackend
from taskflow.persistence.health import BackendVitals
from taskflow.persistence.identity import Names

__all__ = ["Instance"]

FORKED: Final = "this process is a fork of the one that started the TaskManager"


class Instance:
    """Holds a lease.

    Args:
        backend: stores the lease and the rows that it owns.
        vitals: measures every operation on the backend.

    Attributes:
        backend, vitals: as given.
        token: the lease: what the rows of this instance carry as their owner; nothing before the start.
    """

    def __init__(self, backend: SnapshotBackend, vitals: BackendVitals) -> None:
        self.backend = backend
        self.vitals = vitals
        self.token = ""
        self._names = Names()
        self._next_token = ""
        self._lease = asyncio.Lock()
        self._pid = os.getpid()

    async def acquire(self, *, previous: str | None = None) -> None:
        """Take a new lease; with it, what is left of the ``previous`` one. Without one, a new life begins.

        Raises:
            BackendError: that failed; `token` is unchanged.
        """
        if previous is None:  # another start: perhaps on another loop, or in another process than made this
            self._lease, self._names, self._next_token = asyncio.Lock(), Names(), ""
            self._pid = os.getpid()
        self._check_process()
        async with self._lease:
            self._next_token = self._next_token or self._names.new()
            acquired = self.backend.acquire(self._next_token, previous=previous)
            await self.vitals.measure("acquire", acquired)
            # Only now: if the answer was lost, the next try uses the same token and finds its rows.
            self.token, self._next_token = self._next_token, ""

    async def commit(self, changes: Callable[[str], Sequence[Change]]) -> list[Outcome]:
        """Apply the changes that ``changes(token)`` makes for the current token.

        A commit and `acquire` never run at the same time. Changes made for the old token would not
        match rows that have the new one already.

        Raises:
            BackendError: the outcome is unknown; either all changes were applied, or none.
        """
        self._check_process()
        async with self._lease:
            return await self.vitals.measure("commit", self.backend.commit(changes(self.token)))

    async def expire(self, token: str, beats: int) -> bool:
        """End the lease of another instance, unless it has come to more beats than that.

        Raises:
            BackendError: the backend cannot be asked.
        """
        return await self.vitals.measure("expire", self.backend.expire(token, beats))

    async def release(self) -> None:
        """End the lease, so that its unfinished rows may be taken over.

        Raises:
            BackendError: that failed; others end the lease when it has been silent for long enough.
        """
        self._check_process()
        await self.vitals.measure("release", self.backend.release(self.token))

    def _check_process(self) -> None:
        """A child of a fork has the name of its parent, and must not do anything in it."""
        if self._pid != os.getpid():
            raise BackendUnavailableError(self.backend.kind, FORKED)
