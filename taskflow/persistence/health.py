"""Whether the backend works: times every operation, tells the observers, remembers failures."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from taskflow.core.complaints import Complaints
from taskflow.core.events import BackendEvent
from taskflow.core.exceptions import BackendError, BackendUnavailableError
from taskflow.core.running import cancellable, running_loop
from taskflow.core.waiters import Waiters
from taskflow.execution.stream import EventStream
from taskflow.persistence.backend import Outcome

__all__ = ["BackendVitals"]

T = TypeVar("T")

logger = logging.getLogger("taskflow")

COMPLAINT_INTERVAL = 60.0
"""Seconds between two log records about failures; also if it worked in between: trouble may come and go."""

READS: Final = frozenset({"claimable", "get", "incarnation", "leases", "unclaimable"})
"""Operations that only read: they also succeed on a full disk or a read-only server."""


class BackendVitals:
    """Watches the operations of one backend.

    After a failed read the backend counts as unavailable until a read succeeds; after a failed write,
    until a write succeeds.

    Args:
        kind: `SnapshotBackend.kind` of the backend.
        stream: receives an event for each operation.
    """

    def __init__(self, kind: str, stream: EventStream) -> None:
        self._errors: dict[bool, str] = {}  # by whether it was a read
        self._kind = kind
        self._stream = stream
        self._complaints = Complaints(logger, COMPLAINT_INTERVAL)
        self._complained = False
        self._waiters = Waiters()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Note on the running loop what was measured on others."""
        self._loop = asyncio.get_running_loop()

    @property
    def error(self) -> str | None:
        """Why the backend cannot be used now; ``None`` if it can."""
        return next(iter(self._errors.values()), None)

    async def usable(self) -> None:
        """Return once the backend can be used."""
        await self._waiters.wait_for(lambda: self.error is None)

    async def measure(self, operation: str, work: Awaitable[T], records: int | None = None) -> T:
        """Await an operation on the backend; on any loop.

        Args:
            operation: the method of the contract, or ``flush``.
            work: what to await.
            records: number of records, for ``flush``.

        Raises:
            BackendError: it failed.
        """
        started = time.monotonic()
        try:
            result = await cancellable(work)
        except BackendError as error:
            self._soon(self._failed, operation, started, records, error)
            raise
        except Exception as error:
            # A user's own backend may raise anything; that must not end the loops that call it.
            wrapped = BackendUnavailableError(self._kind, f"{type(error).__name__}: {error}")
            self._soon(self._failed, operation, started, records, wrapped)
            raise wrapped from error
        self._soon(self._succeeded, operation, started, records, _has_written(operation, result))
        return result

    def _soon(self, note: Callable[..., None], operation: str, started: float, *more: Any) -> None:
        """Take note of what was measured, on the loop of those who ask about it."""
        seconds, loop = time.monotonic() - started, self._loop
        if loop is None or loop is running_loop():
            note(operation, seconds, *more)
        else:
            with contextlib.suppress(RuntimeError):  # it was closed: nobody asks any more
                loop.call_soon_threadsafe(note, operation, seconds, *more)

    def _tell(self, operation: str, seconds: float, records: int | None, error: str | None) -> None:
        event = BackendEvent(
            backend=self._kind, operation=operation, seconds=seconds, records=records, error=error
        )
        self._stream.backend(event)

    def _succeeded(self, operation: str, seconds: float, records: int | None, written: bool) -> None:
        if operation in READS:
            self._worked(read=True)
        elif written:
            self._worked(read=False)
        self._tell(operation, seconds, records, None)

    def _failed(self, operation: str, seconds: float, records: int | None, error: BackendError) -> None:
        self._errors[operation in READS] = str(error)
        self._tell(operation, seconds, records, str(error))
        if self._complaints.log("the backend cannot be used, %s failed: %s", operation, error):
            self._complained = True

    def _worked(self, *, read: bool) -> None:
        if self._errors.pop(read, None) is not None and not self._errors:
            if self._complained:
                self._complained = False
                logger.info("the backend can be used again")
            self._waiters.wake()


def _has_written(operation: str, result: object) -> bool:
    """Whether the success of an operation proves that the backend can be written to.

    Not for ``open``, for ``renew`` without a lease, for ``prune`` with nothing to delete, or for ``commit``
    with nothing applied: they may have written nothing. Not for ``flush`` either: its saves are measured
    one by one.
    """
    if operation == "commit" and isinstance(result, Iterable):
        return any(isinstance(outcome, Outcome) and outcome.applied for outcome in result)
    return operation not in ("open", "flush") and (result is None or bool(result))
