"""The end of a manager's life: giving the backend what it does not know yet, within a time that is known."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from taskflow.core.exceptions import BackendError

__all__ = ["BUDGET", "HandOver"]

logger = logging.getLogger("taskflow")

BUDGET: Final = 15.0
"""Seconds for everything, after ``shutdown_timeout``."""

SILENCE: Final = 5.0
"""Seconds without any progress after which a step is given up: the backend does not answer."""

REPORT: Final = 2.0
"""Seconds between two records in the log of how far it has come."""


class HandOver:
    """Steps that share one budget of time, begun when this is made."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + BUDGET

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return max(0.0, self._ends - time.monotonic())

    async def step(self, what: str, work: Coroutine[Any, Any, object], remaining: Callable[[], int]) -> bool:
        """Await a step of the shutdown while it gets anywhere; whatever becomes of it, go on.

        Args:
            what: what is handed over, for the log: in the plural.
            work: hands it over; cancelled when its time is up.
            remaining: how much of it is left.

        Returns:
            Whether all is handed over. If not, the number of what is left was logged.
        """
        task = asyncio.ensure_future(work)
        reason = await self._watched(task, what, remaining)
        if reason is None:
            return True
        logger.error("shutdown: %d %s could not be stored: %s", remaining(), what, reason)
        return False

    async def _watched(
        self, task: asyncio.Future[object], what: str, remaining: Callable[[], int]
    ) -> str | None:
        """Why the step did not come to its end; ``None`` if it did."""
        left, since, told = remaining(), time.monotonic(), time.monotonic()
        try:
            while not task.done():
                now = time.monotonic()
                if self.left <= 0:
                    return f"the {BUDGET:g} s for it were over"
                if (progress := remaining()) != left:
                    left, since = progress, now
                elif now - since >= SILENCE:
                    return f"the backend did not answer within {SILENCE:g} s"
                if now - told >= REPORT:
                    told = now
                    logger.info("shutdown: %d %s are still to be stored", left, what)
                await asyncio.wait({task}, timeout=min(REPORT, self.left, max(0.0, since + SILENCE - now)))
        finally:
            task.cancel()
            await asyncio.wait({task})
        error = task.exception()
        if error is not None and not isinstance(error, BackendError):
            raise error
        return None if error is None else str(error)
