"""Metrics of the event loop: its lag, and the limiter of its threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars

import anyio.to_thread

from taskflow.metrics.families import Histogram

__all__ = ["LAG_INTERVAL", "LoopProbe"]

LAG_INTERVAL = 0.25
"""Seconds between two samples of the lag."""


class LoopProbe:
    """Samples the lag of the running loop.

    Args:
        lag: receives seconds.

    Attributes:
        limiter: anyio's default one: looking it up works on the loop only.

    Raises:
        RuntimeError: no loop is running.
    """

    def __init__(self, lag: Histogram) -> None:
        self.limiter = anyio.to_thread.current_default_thread_limiter()
        self.users = 0
        self._lag = lag
        # An empty context: a loop that was started inside a request would keep that request's trace.
        self._sampler = asyncio.create_task(self._sample(), context=contextvars.Context())

    async def stop(self) -> None:
        """Stop sampling."""
        self._sampler.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._sampler

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            self._lag.observe(max(loop.time() - due, 0.0))
