"""What the backend knows of this process: a lease, and while it lasts its tasks are nobody else's."""

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
    """Holds a lease and keeps it alive with heartbeats.

    Args:
        backend: where the lease is, and the rows that are held by it.
        vitals: measures every operation on the backend.
        heartbeat: seconds between two heartbeats.
        timeout: seconds without one after which the lease has run out.

    Attributes:
        backend, vitals: as given.
        token: the lease: what the rows of this instance carry as their owner.
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
        """Take a new lease; with it, what is left of the ``previous`` one.

        Raises:
            BackendError: that failed; the token is what it was.
        """
        if previous is None:  # another start, perhaps on another loop
            self._lease = asyncio.Lock()
        async with self._lease:
            acquired = self.backend.acquire(self._next_token, self._timeout, previous=previous)
            await self.vitals.measure("acquire", acquired)
            # Not before: if only the answer was lost, the next try finds the rows where it wants them.
            self.token, self._next_token = self._next_token, new_token()

    async def commit(self, changes: Callable[[str], Sequence[Change]]) -> list[Outcome]:
        """Apply the changes that ``changes`` makes for the token of this moment.

        They and a new lease wait for each other: made for the old one, they would miss rows that are
        under the new one by then, and those would be nobody's for as long as it lasts.

        Raises:
            BackendError: the outcome is unknown: all, or nothing.
        """
        async with self._lease:
            return await self.vitals.measure("commit", self.backend.commit(changes(self.token)))

    async def release(self) -> None:
        """Give the lease back: what it left unfinished may be taken over.

        Raises:
            BackendError: that failed; the lease runs out by itself.
        """
        await self.vitals.measure("release", self.backend.release(self.token))

    async def keep(self, on_new_lease: Callable[[], Awaitable[None]]) -> None:
        """Send heartbeats until cancelled; one that failed is tried again sooner.

        Args:
            on_new_lease: called when the lease had run out and a new one was taken.
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
        """Renew the lease; false if it had run out, and there is a new one now."""
        if await self.vitals.measure("renew", self.backend.renew(self.token, self._timeout)):
            return True
        # A new token: others may have taken over rows, and may leave them to us again.
        await self.acquire(previous=self.token)
        # Not before: where no lease can be had, each heartbeat comes to this.
        logger.warning("the lease had run out before its heartbeat came; a new one was taken")
        return False


def new_token() -> str:
    """A token that nobody has ever had."""
    return uuid.uuid4().hex
