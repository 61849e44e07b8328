"""Send what an OpenTelemetry provider still buffers, without blocking the loop or the exit."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
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
    name = type(provider).__name__
    flushing = in_daemon_thread(lambda: provider.force_flush(int(seconds * 1000)))
    try:
        if not await asyncio.wait_for(asyncio.wrap_future(flushing), seconds):
            logger.warning("%s was not flushed: some of what it had buffered may be lost", name)
    except TimeoutError:
        logger.warning("%s was not flushed within %g s", name, seconds)


def in_daemon_thread(flush: Callable[[], bool]) -> Future[bool]:
    """Flush in a daemon thread: the SDK's batch processor ignores the timeout, and the threads of
    `asyncio.to_thread` are waited for at exit, so that a dead collector would hold the process.
    """
    flushing: Future[bool] = Future()
    flushing.set_running_or_notify_cancel()

    def run() -> None:
        try:
            flushing.set_result(flush())
        except Exception as exc:
            flushing.set_exception(exc)

    try:
        threading.Thread(target=run, name="taskflow-otel-flush", daemon=True).start()
    except RuntimeError:  # the interpreter is ending, and from Python 3.12 on starts no more threads
        run()
    return flushing
