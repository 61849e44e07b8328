"""The lease of this process: while it is valid, no other instance takes over its tasks."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from taskflow.core.backoff import Backoff
from taskflow.core.exceptions import BackendError
from taskflow.persistence.backend import Change, Outcome, SnapshotBackend
from taskflow.persistence.health import BackendVitals

__all__ = ["Instance"]

logger = logging.getLogger("taskflow")

FIRST_PAUSE: Final = 1.0
"""Seconds until a heartbeat that failed is tried again; the pauses grow up to the interval of heartbeats."""


class Instance:
    """Holds a lease and renews it with heartbeats.

    Args:
        backend: stores the lease and the rows that it owns.
        vitals: measures every operation on the backend.
        heartbeat: seconds between two heartbeats.
        timeout: seconds without a heartbeat after which the lease expires.

    Attributes:
        backend, vitals: as given.
        token: id of the lease; the ``owner`` of the rows of this instance.
    """

    def __init__(
        self, backend: SnapshotBackend, vitals: BackendVitals, heartbeat: float, timeout: float
    ) -> None:
        self.backend = backend
        self.vitals = vitals
        self.token = new_token()
        self._next_token = new_token()
        self._heartbeat = heartbeat
        self._timeout = timeout
        self._lease = asyncio.Lock()

    async def acquire(self, *, previous: str | None = None) -> None:
        """Acquire a new lease, which takes over the rows of the ``previous`` one.

        Raises:
            BackendError: that failed; `token` is unchanged.
        """
        if previous is None:  # another start, perhaps on another loop
            self._lease = asyncio.Lock()
        async with self._lease:
            acquired = self.backend.acquire(self._next_token, self._timeout, previous=previous)
            await self.vitals.measure("acquire", acquired)
            # Only now: if the answer was lost, the next try uses the same token and finds its rows.
            self.token, self._next_token = self._next_token, new_token()

    async def commit(self, changes: Callable[[str], Sequence[Change]]) -> list[Outcome]:
        """Apply the changes that ``changes(token)`` makes for the current token.

        A commit and `acquire` never run at the same time. Changes made for the old token would not
        match rows that have the new one already.

        Raises:
            BackendError: the outcome is unknown; either all changes were applied, or none.
        """
        async with self._lease:
            return await self.vitals.measure("commit", self.backend.commit(changes(self.token)))

    async def release(self) -> None:
        """End the lease, so that its unfinished rows may be taken over.

        Raises:
            BackendError: that failed; the lease expires by itself.
        """
        await self.vitals.measure("release", self.backend.release(self.token))

    async def run(self, on_new_lease: Callable[[], Awaitable[None]]) -> None:
        """Send heartbeats until cancelled; one that failed is tried again sooner.

        Args:
            on_new_lease: called when the lease had expired and a new one was acquired.
        """
        backoff = Backoff(FIRST_PAUSE, self._heartbeat)
        pause = self._heartbeat
        while True:
            await asyncio.sleep(pause)
            try:
                if not await self._beat():
                    await on_new_lease()
            except BackendError:  # logged
                pause = backoff.next()
            else:
                backoff.reset()
                pause = self._heartbeat

    async def _beat(self) -> bool:
        """Renew the lease; false if it had expired and a new one was acquired."""
        if await self.vitals.measure("renew", self.backend.renew(self.token, self._timeout)):
            return True
        # A new token, because changes made under the old one must not match a row that was taken over
        # and claimed back meanwhile.
        await self.acquire(previous=self.token)
        # Only now: while no lease can be acquired, every heartbeat gets here.
        logger.warning("the lease had run out before its heartbeat came; a new one was taken")
        return False


def new_token() -> str:
    """A token that was never used before."""
    return uuid.uuid4().hex
