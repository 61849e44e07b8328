from __future__ import annotations

import contextvars
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.context import attach
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from taskflow import (
    InMemoryLogger,
    LifecycleEvent,
    LogEvent,
    LoggerChain,
    TaskManager,
    TaskObserver,
    TaskStatus,
    TaskStore,
)
from taskflow.core.spans import SpanIds
from taskflow.execution.stream import EventStream

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING = LifecycleEvent(task_id="1", func_name="f", status=TaskStatus.RUNNING, timestamp=NOW)
PENDING = LifecycleEvent(task_id="1", func_name="f", status=TaskStatus.PENDING, timestamp=NOW)
LINE = LogEvent(task_id="1", func_name="f", message="hello", level="info", timestamp=NOW)


def test_a_stream_is_active_while_somebody_reads():
    stream = EventStream()
    before = stream.active
    unsubscribe = stream.subscribe(lambda event: None)
    during = stream.active
    unsubscribe()

    assert (False, True, False) == (before, during, stream.active)
    assert EventStream(LoggerChain()).active


def test_a_subscriber_receives_every_event_after_the_observers():
    got: list[Any] = []

    class Noting(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            got.append(("observer", event))

        def on_log(self, event: LogEvent):
            got.append(("observer", event))

    stream = EventStream(LoggerChain([Noting()]))
    stream.subscribe(lambda event: got.append(("subscriber", event)))
    stream.lifecycle(RUNNING)
    stream.log(LINE)

    assert [(who, event) for event in (RUNNING, LINE) for who in ("observer", "subscriber")] == got


def test_who_has_unsubscribed_receives_nothing_more():
    stream, got = EventStream(), []
    unsubscribe = stream.subscribe(got.append)
    stream.subscribe(lambda event: None)
    stream.lifecycle(PENDING)
    unsubscribe()
    unsubscribe()
    stream.lifecycle(RUNNING)

    assert [PENDING] == got


def test_two_subscriptions_of_one_function_are_two():
    stream, got = EventStream(), []
    subscriber = got.append
    first = stream.subscribe(subscriber)
    stream.subscribe(subscriber)
    first()
    stream.lifecycle(PENDING)

    assert [PENDING] == got


@pytest.mark.parametrize("error", [ValueError, BaseException, SystemExit, GeneratorExit])
def test_a_subscriber_that_raises_affects_nobody(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
):
    stream, got = EventStream(), []

    def fail(event: Any):
        raise error

    stream.subscribe(fail)
    stream.subscribe(got.append)
    stream.lifecycle(PENDING)

    assert [PENDING] == got
    assert ["a subscriber of the event stream raised"] == [r.getMessage() for r in caplog.records]


def test_only_running_binds():
    bound: list[TaskStatus] = []

    class Binding(TaskObserver):
        def bind(self, event: LifecycleEvent):
            bound.append(event.status)

    stream = EventStream(LoggerChain([Binding()]))
    stream.lifecycle(PENDING)
    stream.lifecycle(RUNNING)

    assert [TaskStatus.RUNNING] == bound


def test_nothing_to_remember_is_none():
    assert EventStream().inject(PENDING) is None
    assert EventStream(LoggerChain([InMemoryLogger()])).inject(PENDING) is None


async def test_a_managers_subscribers_see_its_tasks_without_any_observer():
    manager, got = TaskManager(), []
    manager.stream.subscribe(lambda event: got.append(event.status))
    manager.enqueue(lambda: None)
    await manager.drain()

    assert ["pending", "running", "success"] == got


def test_who_binds_sees_the_span_that_is_current_and_the_others_the_one_that_was_bound():
    class Binds(TaskObserver):
        def bind(self, event: LifecycleEvent) -> None:
            bound.append(event.span)
            attach(set_span_in_context(inner))

        def on_lifecycle(self, event: LifecycleEvent) -> None:
            bound.append(event.span)

    def run() -> None:
        attach(set_span_in_context(outer))
        store.transition("1", TaskStatus.RUNNING)

    bound: list[SpanIds | None] = []
    outer, inner = (NonRecordingSpan(SpanContext(1, number, is_remote=False)) for number in (2, 3))
    store = TaskStore(stream=EventStream(LoggerChain([Binds()])))
    store.create("1", "f")
    bound.clear()
    contextvars.copy_context().run(run)
    assert ["0" * 15 + "2", "0" * 15 + "3"] == [span.span_id for span in bound if span is not None]
