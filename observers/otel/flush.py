"""Send what an OpenTelemetry provider still buffers, without blocking the loop or the exit."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from typing import Protocol, runtime_checkable

logger = logging.getLogger("taskflow.observers")


@runtime_checkable
class Flushable(Protocol):
    """A provider of the SDK; those of the API cannot be flushed."""

    def force_flush(self, timeout_millis: int = ...) -> bool:
        """Export what is buffered; ``False`` if that did not work out in time."""


async def force_flush(provider: object, seconds: float) -> None:
    """Let ``provider`` export what it buffers, for at most ``seconds``; say so if it cannot.

    Does nothing for a provider without ``force_flush``.
    """
    if not isinstance(provider, Flushable):
        return
    flushing = _start(provider, seconds)
    try:
        flushed = await asyncio.wait_for(asyncio.wrap_future(flushing), seconds)
    except TimeoutError:
        flushed = False
    if not flushed:
        logger.warning("%s was not flushed within %g s", type(provider).__name__, seconds)


def _start(provider: Flushable, seconds: float) -> Future[bool]:
    """Flush in a daemon thread: the SDK's batch processor ignores the timeout, and the threads of
    `asyncio.to_thread` are waited for at exit, so that a dead collector would hold the process.
    """
    flushing: Future[bool] = Future()
    flushing.set_running_or_notify_cancel()

    def flush() -> None:
        try:
            flushing.set_result(provider.force_flush(int(seconds * 1000)))
        except Exception as exc:
            flushing.set_exception(exc)

    threading.Thread(target=flush, name="taskflow-otel-flush", daemon=True).start()
    return flushing
