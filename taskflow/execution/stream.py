"""The one stream of events: whatever happens to a task passes through here, exactly once."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from datetime import datetime

from taskflow.core.complaints import complain
from taskflow.core.events import BackendEvent, LifecycleEvent, LogEvent
from taskflow.core.models import Failure, TaskRecord, TaskStatus
from taskflow.core.spans import current_span_ids
from taskflow.observers.chain import LoggerChain

logger = logging.getLogger("taskflow")

RUNNING = TaskStatus.RUNNING

Event = LifecycleEvent | LogEvent
Subscriber = Callable[[Event], None]

_blank = LifecycleEvent.__new__


def event_of(record: TaskRecord, now: datetime, failure: Failure | None = None) -> LifecycleEvent:
    """A new event: what the record itself tells of the state that it has just entered."""
    # Field by field: the class's own __init__ takes three times as long for so many, and an event is
    # made at every step of every task.
    event = _blank(LifecycleEvent)
    event.task_id, event.func_name, event.status = record.task_id, record.func_name, record.status
    event.timestamp, event.attempt, event.duration = now, record.attempt, record.elapsed
    event.retries_used, event.max_retries = record.retries_used, record.max_retries
    event.attempt_duration = event.queue_duration = event.next_delay = None
    event.pool = event.slot_wait = None
    if failure is None:
        event.error = event.error_type = event.stacktrace = None
    else:
        event.error, event.error_type = failure.error, failure.error_type
        event.stacktrace = failure.stacktrace
    event.tags, event.registered = record.tags, record.registered
    event.code_function, event.reason = record.code_function, None
    event.retry_of, event.trace_context = record.retry_of, record.trace_context
    event.span = current_span_ids()
    return event


class EventStream:
    """Passes every event to the observer chain, then to the subscribers.

    Attributes:
        chain: the observers, or ``None``.
        active: whether anybody reads. While it is false, events need not even be made.
    """

    def __init__(self, chain: LoggerChain | None = None) -> None:
        self.chain = chain
        self.active = chain is not None
        self._subscribers: tuple[Subscriber, ...] = ()
        self._count: Callable[[LifecycleEvent], None] | None = None

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call ``subscriber`` with every event, inline, until the returned function is called."""
        subscription = functools.partial(subscriber)  # one of its own, also for the same function again
        self._set_subscribers((*self._subscribers, subscription))

        def unsubscribe() -> None:
            self._set_subscribers(tuple(s for s in self._subscribers if s is not subscription))

        return unsubscribe

    def _set_subscribers(self, subscribers: tuple[Subscriber, ...]) -> None:
        self._subscribers = subscribers
        self._set_active()

    def _set_active(self) -> None:
        self.active = self.chain is not None or self._count is not None or bool(self._subscribers)

    def count(self, levels: Callable[[LifecycleEvent], None]) -> None:
        """Let ``levels`` have every arrow of the state machine from now on. It must not raise.

        A subscriber costs 0.3 µs at each event, however little it does; this one is called with every
        `PrometheusObserver`.
        """
        self._count = levels
        self._set_active()

    def lifecycle(self, event: LifecycleEvent) -> None:
        """Publish an arrow of the state machine. RUNNING binds the current context first."""
        if self.chain is not None:
            if event.status is RUNNING:
                self.chain.bind(event)
                event.span = current_span_ids()  # the one that was opened just now, if one was
            self.chain.on_lifecycle(event)
        if self._count is not None:
            self._count(event)
        if self._subscribers:
            self._publish(event)

    def log(self, event: LogEvent) -> None:
        """Publish a `task_log` line."""
        if self.chain is not None:
            self.chain.on_log(event)
        if self._subscribers:
            self._publish(event)

    def backend(self, event: BackendEvent) -> None:
        """Publish how an operation on the backend went; to the observers alone."""
        if self.chain is not None:
            self.chain.on_backend(event)

    def inject(self, event: LifecycleEvent) -> dict[str, str] | None:
        """What the observers want remembered over a restart, or ``None``."""
        carrier: dict[str, str] = {}
        if self.chain is not None:
            self.chain.inject(event, carrier)
        return carrier or None

    def _publish(self, event: Event) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                complain(logger, logging.ERROR, "a subscriber of the event stream raised", exc_info=error)
