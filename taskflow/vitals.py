"""How the backend is doing: every operation is timed, told to the observers, and remembered if it failed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import TypeVar

from taskflow.exceptions import BackendError, BackendUnavailableError
from taskflow.observers.base import BackendEvent
from taskflow.running import cancellable
from taskflow.stream import EventStream

__all__ = ["BackendVitals"]

T = TypeVar("T")

logger = logging.getLogger("taskflow")

COMPLAINT_INTERVAL = 60.0
"""Seconds between two log records about one trouble."""


class BackendVitals:
    """Watches the operations of one backend.

    Attributes:
        error: why the latest operation failed; ``None`` if it did not.

    Args:
        kind: what backend it is.
        stream: whose observers are told.
    """

    def __init__(self, kind: str, stream: EventStream) -> None:
        self.error: str | None = None
        self._kind = kind
        self._stream = stream
        self._quiet_until = 0.0
        self._waiters: list[asyncio.Future[None]] = []

    async def usable(self) -> None:
        """Return once the latest operation did not fail."""
        while self.error is not None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def measure(self, operation: str, work: Awaitable[T], records: int | None = None) -> T:
        """Await an operation on the backend.

        Args:
            operation: the method of the contract, or ``flush``.
            work: what to await.
            records: how many records it is about, for ``flush``.

        Raises:
            BackendError: it failed.
        """
        started = time.monotonic()
        try:
            result = await cancellable(work)
        except BackendError as error:
            self._failed(operation, started, records, error)
            raise
        except Exception as error:
            # Somebody's own backend: what it raises must not end the loops that keep the others going.
            wrapped = BackendUnavailableError(self._kind, f"{type(error).__name__}: {error}")
            self._failed(operation, started, records, wrapped)
            raise wrapped from error
        self._recovered()
        self._tell(operation, started, records, None)
        return result

    def _tell(self, operation: str, started: float, records: int | None, error: str | None) -> None:
        seconds = time.monotonic() - started
        event = BackendEvent(
            backend=self._kind, operation=operation, seconds=seconds, records=records, error=error
        )
        self._stream.backend(event)

    def _failed(self, operation: str, started: float, records: int | None, error: BackendError) -> None:
        self.error = str(error)
        self._tell(operation, started, records, self.error)
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + COMPLAINT_INTERVAL
            logger.error("the backend cannot be used, %s failed: %s", operation, error)

    def _recovered(self) -> None:
        if self.error is not None:
            self.error = None
            self._quiet_until = 0.0
            logger.info("the backend can be used again")
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
