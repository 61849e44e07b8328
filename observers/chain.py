"""Passes every event to every observer; an observer that fails does not affect the others.

Whatever an observer raises ends here, also what is no `Exception`: a library in Rust that panics, for one.
Only KeyboardInterrupt passes, which comes from the user.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from taskflow.core.checks import check_seconds, is_storable
from taskflow.core.complaints import Complaints
from taskflow.core.events import RANKS, BackendEvent, LifecycleEvent, LogEvent
from taskflow.core.exceptions import ConfigurationError
from taskflow.observers.base import TaskObserver
from taskflow.observers.mailbox import Mailbox, fenced

__all__ = ["LoggerChain", "ObserverStats"]

logger = logging.getLogger("taskflow.observers")

COMPLAINT_INTERVAL = 10.0
"""Seconds between two log records about the same observer, which may fail at every event."""

Deliver = Callable[..., Any]


@dataclass(slots=True, frozen=True)
class ObserverStats:
    """Health of one observer.

    Attributes:
        observer: its class name, with ``-2``, ``-3``, … for further ones of that class.
        errors: handler calls that raised, and failed tries to deliver events.
        dropped: events that were lost because a queue or buffer was full, or because `close` timed out.
        queue_size: events that wait for its ``async def`` handlers.
    """

    observer: str
    errors: int
    dropped: int
    queue_size: int


class LoggerChain(TaskObserver):
    """Passes every event to every observer. It is an observer itself, so that chains can be nested.

    Args:
        observers: receivers, called in this order.
        close_timeout: seconds for `close`, for all observers together.

    Raises:
        ConfigurationError: something in ``observers`` is not a `TaskObserver`.
    """

    def __init__(self, observers: Iterable[TaskObserver] = (), *, close_timeout: float = 5.0) -> None:
        super().__init__(min_level="debug")
        if not isinstance(observers, Iterable):
            raise ConfigurationError("observers", observers, "must be a list of TaskObserver instances")
        self.observers = tuple(observers)
        self.close_timeout = check_seconds("close_timeout", close_timeout, above=True)
        self._feeds = tuple(_feeds(self.observers))
        self._bind = _overridden(self._feeds, "bind")
        self._inject = _overridden(self._feeds, "inject")
        self._lifecycle = _overridden(self._feeds, "on_lifecycle")
        self._log = _overridden(self._feeds, "on_log")
        self._backend = _overridden(self._feeds, "on_backend")

    @property
    def dropped(self) -> int:
        """Events that its observers lost, all together."""
        return sum(stats.dropped for stats in self.stats())

    @property
    def write_errors(self) -> int:
        """Handler calls of its observers that raised, and their failed writes."""
        return sum(stats.errors for stats in self.stats())

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Hand the event to every observer."""
        for deliver, feed in self._lifecycle:
            try:
                deliver(event)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                feed.failed(exc)

    def on_backend(self, event: BackendEvent) -> None:
        """Hand the event to every observer."""
        for deliver, feed in self._backend:
            try:
                deliver(event)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                feed.failed(exc)

    def on_log(self, event: LogEvent) -> None:
        """Hand the line to every observer whose ``min_level`` lets it pass."""
        severity = RANKS[event.level]
        for deliver, feed in self._log:
            try:
                if severity >= RANKS[feed.observer.min_level]:
                    deliver(event)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                feed.failed(exc)

    def bind(self, event: LifecycleEvent) -> None:
        """Let every observer set its context variables for the attempt that starts."""
        for bind, feed in self._bind:
            try:
                bind(event)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                feed.failed(exc)

    def inject(self, event: LifecycleEvent, carrier: dict[str, str]) -> None:
        """Let every observer put into ``carrier`` what it needs after a restart."""
        for inject, feed in self._inject:
            try:
                brought: dict[str, str] = {}
                inject(event, brought)
                carrier |= _checked_carrier(brought)
            except KeyboardInterrupt:
                raise
            except BaseException as exc:
                feed.failed(exc)

    def watch(self, source: Any) -> None:
        """Introduce the manager to every observer."""
        for feed in self._feeds:
            feed.observer.watch(source)

    def stats(self) -> list[ObserverStats]:
        """Health of each observer, in order."""
        return [feed.stats() for feed in self._feeds]

    async def startup(self) -> None:
        """Start every observer and the workers of those with ``async def`` handlers."""
        await asyncio.gather(*(feed.startup() for feed in self._feeds))

    async def flush(self) -> None:
        """Return when everything emitted so far has been delivered."""
        await asyncio.gather(*(feed.flush() for feed in self._feeds))

    async def close(self) -> None:
        """Deliver what waits, then close every observer; log what had to be dropped."""
        deadline = time.monotonic() + self.close_timeout
        await asyncio.gather(*(feed.close(deadline) for feed in self._feeds))


class _Feed:
    """One observer of a chain, with its mailbox and its counters."""

    def __init__(self, observer: TaskObserver, name: str) -> None:
        self.observer = observer
        self.name = name
        self.errors = 0
        self.dropped = 0
        self._complaints = Complaints(logger, COMPLAINT_INTERVAL)
        self.mailbox: Mailbox | None = None

    def stats(self) -> ObserverStats:
        waiting = len(self.mailbox) if self.mailbox is not None else 0
        errors = self.errors + self.observer.write_errors
        return ObserverStats(self.name, errors, self.dropped + self.observer.dropped, waiting)

    def deliver(self, method: str) -> Deliver:
        """A callable that delivers an event to ``method``: the method itself, or through the mailbox."""
        handler: Deliver = getattr(self.observer, method)
        if not inspect.iscoroutinefunction(handler):
            return handler
        if self.mailbox is None:
            self.mailbox = Mailbox(self.observer.queue_limit, self.failed, self.drop)
        return functools.partial(self.mailbox.put, handler)

    def failed(self, exc: BaseException) -> None:
        """Count an exception of the observer, and log it, but not too often."""
        self.errors += 1
        self._complaints.log("observer %s raised (%d so far)", self.name, self.errors, exc_info=exc)

    def drop(self, count: int = 1) -> None:
        """Count events that the observer will not see."""
        self.dropped += count
        self._complaints.log("observer %s is too slow: %d events dropped so far", self.name, self.dropped)

    async def startup(self) -> None:
        await self._guarded(self.observer.startup)
        if self.mailbox is not None:
            self.mailbox.start()

    async def flush(self) -> None:
        if self.mailbox is not None:
            await self.mailbox.flush()
        await self._guarded(self.observer.flush)

    async def close(self, deadline: float) -> None:
        if self.mailbox is not None:
            left = await self.mailbox.close(max(0.0, deadline - time.monotonic()))
            if left:
                self._complaints.reset()  # the final number is always logged
                self.drop(left)
        try:
            # At least half a second, even if the mailbox used all the time: a file must still be flushed.
            async with asyncio.timeout(max(0.5, deadline - time.monotonic())):
                await self._guarded(self.observer.close)
        except TimeoutError:
            logger.error("observer %s did not close in time", self.name)  # noqa: TRY400  # the traceback says nothing more

    async def _guarded(self, hook: Callable[[], Awaitable[None]]) -> None:
        error = await fenced(hook)
        if error is not None:
            self.failed(error)


def _feeds(observers: Iterable[TaskObserver]) -> Iterable[_Feed]:
    seen: Counter[str] = Counter()
    for observer in observers:
        if not isinstance(observer, TaskObserver):
            raise ConfigurationError("loggers", observer, "must be a list of TaskObserver instances")
        name = type(observer).__name__
        seen[name] += 1
        yield _Feed(observer, name if seen[name] == 1 else f"{name}-{seen[name]}")


def _checked_carrier(carrier: dict[str, str]) -> dict[str, str]:
    """The carrier, if it can be stored: other values would make the saving of all records fail."""
    for key, value in carrier.items():
        if not all(isinstance(text, str) and is_storable(text) for text in (key, value)):
            raise TypeError(f"inject must put text into the carrier, not {key!r}: {type(value).__name__}")
    return carrier


def _overridden(feeds: Iterable[_Feed], method: str) -> list[tuple[Deliver, _Feed]]:
    """The feeds whose observer overrides ``method``; the others need not be called at each event."""
    base = getattr(TaskObserver, method)
    return [
        (feed.deliver(method), feed)
        for feed in feeds
        if getattr(getattr(feed.observer, method), "__func__", None) is not base
    ]
