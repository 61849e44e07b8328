"""`OpenTelemetryObserver`, driven by the events of a real store."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    Span,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from taskflow.core.clock import utcnow
from taskflow.core.events import Level, LifecycleEvent, LogEvent
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TERMINAL, TRANSITIONS, TaskStatus
from taskflow.execution.store import Failure, TaskStore
from taskflow.execution.stream import EventStream
from taskflow.observers.chain import LoggerChain
from taskflow.observers.opentelemetry import OpenTelemetryObserver
from taskflow.version import __version__

pytestmark = pytest.mark.usefixtures("both_kinds_of_spans")

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

BROKEN = Failure("no route to host", "ConnectionError", "Traceback …\nConnectionError: no route to host")


class Traced:
    """A store whose only reader is the observer, and the spans that came out."""

    def __init__(
        self, observer: Callable[..., OpenTelemetryObserver] = OpenTelemetryObserver, **options: Any
    ) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(
            sampler=options.pop("sampler", None),
            active_span_processor=options.pop("processors", None),
            shutdown_on_exit=False,
        )
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("the application")
        self.observer = observer(self.provider, **options)
        self.chain = LoggerChain([self.observer])
        self.store = TaskStore(stream=EventStream(self.chain))
        self.context = contextvars.copy_context()

    def enqueue(self, task_id: str = "t1", func_name: str = "send", **fields: Any) -> None:
        self.store.create(task_id, func_name, code_function="shop.mail.send", **fields)

    def run(self, *, task_id: str = "t1") -> None:
        """RUNNING, as the engine emits it: inside a fresh copy of the context that was captured."""
        self.context = contextvars.copy_context()
        self.context.run(self.store.transition, task_id, RUNNING)

    def move(self, status: TaskStatus, *, task_id: str = "t1", **details: Any) -> None:
        self.context.run(self.store.transition, task_id, status, **details)

    def log(self, message: str, *, level: Level = "info", task_id: str = "t1", **extra: Any) -> None:
        event = LogEvent(
            task_id=task_id, func_name="send", message=message, level=level, timestamp=utcnow(), extra=extra
        )
        self.context.run(self.store.log, event)

    @property
    def errors(self) -> int:
        return self.chain.stats()[0].errors

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The finished spans by name."""
        assert self.errors == 0
        return {span.name: span for span in self.exporter.get_finished_spans()}


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def own(span: ReadableSpan) -> int:
    return span.get_span_context().span_id  # type: ignore[union-attr]


def test_a_task_is_an_enqueue_span_in_the_callers_trace_and_a_run_span_below_it() -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("request") as request:
        traced.enqueue(tags={"customer": "42"})
    traced.run()
    traced.move(SUCCESS)
    enqueue, run = traced.spans["enqueue send"], traced.spans["run send"]
    assert [request.get_span_context().span_id, own(enqueue)] == [parent(enqueue), parent(run)]
    assert (SpanKind.PRODUCER, SpanKind.CONSUMER) == (enqueue.kind, run.kind)
    assert {
        "taskflow.task.id": "t1",
        "taskflow.task.name": "send",
        "taskflow.task.tag.customer": "42",
    } == attributes(enqueue)


def test_the_run_span_says_what_ran_how_it_ended_and_how_long_it_had_waited() -> None:
    traced = Traced()
    traced.enqueue(tags={"customer": "42"})
    traced.run()
    traced.move(SUCCESS)
    run = attributes(traced.spans["run send"])
    waited = run.pop("taskflow.queue_duration")
    assert isinstance(waited, float)
    assert waited >= 0
    assert {
        "taskflow.task.id": "t1",
        "taskflow.task.name": "send",
        "taskflow.task.attempts": 1,
        "taskflow.task.status": "success",
        "taskflow.task.tag.customer": "42",
        "code.function.name": "shop.mail.send",
    } == run


def test_a_task_that_cannot_be_retried_has_no_attempt_span() -> None:
    traced = Traced()
    traced.enqueue()
    traced.run()
    traced.move(SUCCESS)
    assert {"enqueue send", "run send"} == traced.spans.keys()


def test_a_task_that_succeeds_on_retry_is_not_an_error_but_its_failed_attempt_is() -> None:
    traced = Traced()
    traced.enqueue(max_retries=2)
    traced.run()
    traced.move(RETRYING, failure=BROKEN)
    traced.run()
    traced.move(SUCCESS)
    run, first, second = (traced.spans[name] for name in ("run send", "attempt 1", "attempt 2"))
    assert [own(run), own(run)] == [parent(first), parent(second)]
    assert [StatusCode.ERROR, StatusCode.UNSET, StatusCode.UNSET] == [
        span.status.status_code for span in (first, second, run)
    ]
    assert "ConnectionError" == attributes(first)["error.type"]
    assert "error.type" not in attributes(run)
    assert "error.type" not in attributes(second)
    assert 2 == attributes(run)["taskflow.task.attempts"]


def test_a_failed_attempt_carries_its_exception_and_the_run_only_its_type() -> None:
    traced = Traced()
    traced.enqueue(max_retries=1)
    traced.run()
    traced.move(RETRYING, failure=BROKEN)
    traced.run()
    traced.move(FAILED, failure=BROKEN)
    run, attempt = traced.spans["run send"], traced.spans["attempt 2"]
    (exception,) = attempt.events
    assert "exception" == exception.name
    assert {
        "exception.type": "ConnectionError",
        "exception.message": "no route to host",
        "exception.stacktrace": BROKEN.stacktrace,
    } == dict(exception.attributes or {})
    assert () == run.events
    assert (StatusCode.ERROR, "no route to host") == (run.status.status_code, run.status.description)
    assert "ConnectionError" == attributes(run)["error.type"]
    assert "failed" == attributes(run)["taskflow.task.status"]


def test_all_spans_say_which_library_made_them_and_whose_words_they_use() -> None:
    traced = Traced()
    traced.enqueue(max_retries=1)
    traced.run()
    traced.move(SUCCESS)
    scopes = {span.instrumentation_scope for span in traced.spans.values()}
    assert {("taskflow", __version__, "https://opentelemetry.io/schemas/1.44.0")} == {
        (scope.name, scope.version, scope.schema_url) for scope in scopes if scope is not None
    }


def test_the_exception_of_a_task_without_retries_is_on_its_run_span() -> None:
    traced = Traced()
    traced.enqueue()
    traced.run()
    traced.move(FAILED, failure=BROKEN)
    run = traced.spans["run send"]
    assert ["exception"] == [event.name for event in run.events]
    assert "ConnectionError" == attributes(run)["error.type"]


def test_a_long_traceback_keeps_its_end_and_a_long_message_its_beginning() -> None:
    traced = Traced()
    traced.enqueue()
    traced.run()
    failure = Failure("no route" + "!" * 60_000, "E", "a" * 60_000 + "the line that failed")
    traced.move(FAILED, failure=failure)
    run = traced.spans["run send"]
    exception = run.events[0].attributes or {}
    stacktrace, message = str(exception["exception.stacktrace"]), str(exception["exception.message"])
    assert stacktrace.startswith("… cut\n")
    assert stacktrace.endswith("the line that failed")
    assert message.startswith("no route!")
    assert message.endswith("!…")
    assert message == run.status.description


def test_a_batch_of_nothing_but_long_exceptions_fits_into_a_message_that_receivers_take() -> None:
    traced = Traced()
    failure = Failure("x" * 64 * 1024, "sqlalchemy.exc.OperationalError", "x" * 64 * 1024)
    for number in range(512):
        task_id = f"00000000-0000-4000-8000-{number:012}"
        traced.enqueue(task_id, tags={"customer": "4711"})
        traced.run(task_id=task_id)
        traced.move(FAILED, failure=failure, task_id=task_id)
    runs = [span for span in traced.exporter.get_finished_spans() if span.name == "run send"]
    assert len(encode_spans(runs).SerializeToString()) < 4 * 1024 * 1024


def test_the_code_of_an_attempt_runs_in_its_span_and_leaves_the_callers_context_alone() -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("request") as request:
        traced.enqueue(max_retries=1)
        traced.run()
        with_task = traced.context.run(trace.get_current_span)
        assert request is trace.get_current_span()
    traced.context.run(lambda: traced.tracer.start_span("query").end())
    traced.move(SUCCESS)
    assert own(traced.spans["attempt 1"]) == with_task.get_span_context().span_id
    assert own(traced.spans["attempt 1"]) == parent(traced.spans["query"])


def test_more_tags_than_a_span_has_room_for_push_out_nothing_of_importance() -> None:
    traced = Traced()
    traced.enqueue(tags={f"tag{number}": "x" for number in range(200)})
    traced.run()
    traced.move(SUCCESS)
    assert {"taskflow.task.id", "taskflow.task.name", "taskflow.task.status"} <= attributes(
        traced.spans["run send"]
    ).keys()


def test_without_retries_the_code_runs_in_the_run_span() -> None:
    traced = Traced()
    traced.enqueue()
    traced.run()
    traced.context.run(lambda: traced.tracer.start_span("query").end())
    traced.move(SUCCESS)
    assert own(traced.spans["run send"]) == parent(traced.spans["query"])


def test_link_mode_makes_two_linked_traces_with_the_same_task_id() -> None:
    traced = Traced(propagation="link")
    with traced.tracer.start_as_current_span("request"):
        traced.enqueue()
        traced.run()
        traced.move(SUCCESS)
    enqueue, run = traced.spans["enqueue send"], traced.spans["run send"]
    assert run.parent is None
    assert [own(enqueue)] == [link.context.span_id for link in run.links]
    assert attributes(run)["taskflow.task.id"] == attributes(enqueue)["taskflow.task.id"]


def test_none_mode_makes_two_unrelated_traces() -> None:
    traced = Traced(propagation="none")
    with traced.tracer.start_as_current_span("request"):
        traced.enqueue()
        traced.run()
        traced.move(SUCCESS)
    run = traced.spans["run send"]
    assert (None, ()) == (run.parent, tuple(run.links))


class Tenants(SpanProcessor):
    """What a processor that copies baggage onto spans gets to see."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.seen.append(baggage.get_baggage("tenant", parent_context))


@pytest.mark.parametrize("propagation", ["child", "link", "none"])
def test_baggage_of_the_request_reaches_the_task_in_every_mode(propagation: str) -> None:
    traced = Traced(propagation=propagation)
    tenants = Tenants()
    traced.provider.add_span_processor(tenants)
    token = attach(baggage.set_baggage("tenant", "acme"))
    traced.enqueue()
    traced.run()
    detach(token)
    assert "acme" == traced.context.run(baggage.get_baggage, "tenant")
    assert ["acme", "acme"] == tenants.seen


def test_what_is_remembered_over_a_restart_is_the_enqueue_span_and_no_baggage() -> None:
    traced = Traced()
    token = attach(baggage.set_baggage("email", "ann@example.org"))
    traced.enqueue(remember=True)
    detach(token)
    record = traced.store.get("t1")
    assert record is not None
    context = traced.spans["enqueue send"].get_span_context()
    assert context is not None
    expected = f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}-"
    assert {"traceparent"} == (record.trace_context or {}).keys()
    assert (record.trace_context or {})["traceparent"].startswith(expected)


CARRIER = {"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}


def event(status: TaskStatus, **fields: Any) -> LifecycleEvent:
    return LifecycleEvent(task_id="t1", func_name="send", status=status, timestamp=utcnow(), **fields)


def test_a_task_requeued_after_a_restart_links_to_the_span_that_enqueued_it() -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("start-up"):
        traced.observer.on_lifecycle(event(PENDING, reason="requeued", trace_context=CARRIER))
        contextvars.copy_context().run(traced.observer.bind, event(RUNNING, trace_context=CARRIER))
    traced.observer.on_lifecycle(event(SUCCESS, trace_context=CARRIER, duration=0.1))
    assert {"start-up", "run send"} == traced.spans.keys()
    run = traced.spans["run send"]
    assert run.parent is None
    assert [0x0123456789ABCDEF] == [link.context.span_id for link in run.links]


def test_in_none_mode_a_requeued_task_has_no_link_either() -> None:
    traced = Traced(propagation="none")
    traced.observer.on_lifecycle(event(PENDING, reason="requeued", trace_context=CARRIER))
    contextvars.copy_context().run(traced.observer.bind, event(RUNNING, trace_context=CARRIER))
    traced.observer.on_lifecycle(event(SUCCESS, duration=0.1))
    assert () == tuple(traced.spans["run send"].links)


@pytest.mark.parametrize("carrier", [None, {}, {"traceparent": "damaged"}, {"b3": "0"}])
def test_a_requeued_task_without_a_readable_trace_context_starts_a_trace_of_its_own(
    carrier: dict[str, str] | None,
) -> None:
    traced = Traced()
    traced.observer.on_lifecycle(event(PENDING, reason="requeued", trace_context=carrier))
    contextvars.copy_context().run(traced.observer.bind, event(RUNNING, trace_context=carrier))
    traced.observer.on_lifecycle(event(SUCCESS, duration=0.1))
    run = traced.spans["run send"]
    assert (None, ()) == (run.parent, tuple(run.links))


def test_a_run_that_is_given_back_to_the_queue_ends_pending_and_the_next_one_links() -> None:
    traced = Traced()
    traced.enqueue(remember=True, max_retries=1)
    traced.run()
    traced.move(PENDING, reason="requeued")
    run, attempt, enqueue = (traced.spans[name] for name in ("run send", "attempt 1", "enqueue send"))
    assert ("pending", "pending") == tuple(attributes(s)["taskflow.task.status"] for s in (run, attempt))
    assert (1, "requeued") == tuple(attributes(run)[f"taskflow.task.{key}"] for key in ("attempts", "reason"))
    assert StatusCode.UNSET == run.status.status_code
    traced.exporter.clear()
    traced.run()
    traced.move(SUCCESS)
    assert {"run send", "attempt 1"} == traced.spans.keys()
    assert [own(enqueue)] == [link.context.span_id for link in traced.spans["run send"].links]


@pytest.mark.parametrize("status", [INTERRUPTED, CANCELLED])
def test_an_interrupted_or_cancelled_task_has_that_status_and_is_no_error(status: TaskStatus) -> None:
    traced = Traced()
    traced.enqueue(max_retries=1)
    traced.run()
    traced.move(status, reason="shutdown")
    run, attempt = traced.spans["run send"], traced.spans["attempt 1"]
    assert [status.value, status.value] == [attributes(s)["taskflow.task.status"] for s in (run, attempt)]
    assert [StatusCode.UNSET, StatusCode.UNSET] == [s.status.status_code for s in (run, attempt)]
    assert "error.type" not in {**attributes(run), **attributes(attempt)}
    assert "shutdown" == attributes(run)["taskflow.task.reason"]


def test_a_task_cancelled_while_it_waits_for_its_retry_keeps_the_error_on_its_attempt_only() -> None:
    traced = Traced()
    traced.enqueue(max_retries=1)
    traced.run()
    traced.move(RETRYING, failure=BROKEN)
    traced.move(CANCELLED, reason="user")
    run = traced.spans["run send"]
    assert StatusCode.UNSET == run.status.status_code
    assert "error.type" not in attributes(run)
    assert 1 == attributes(run)["taskflow.task.attempts"]


def test_a_task_that_never_started_shows_its_end_below_the_span_that_enqueued_it() -> None:
    traced = Traced()
    with traced.tracer.start_as_current_span("request"):
        traced.enqueue()
    with traced.tracer.start_as_current_span("another request"):
        traced.store.transition("t1", CANCELLED, reason="not_dispatched")
    end = traced.spans["cancelled send"]
    assert own(traced.spans["enqueue send"]) == parent(end)
    assert (0, "cancelled", "not_dispatched") == tuple(
        attributes(end)[f"taskflow.task.{key}"] for key in ("attempts", "status", "reason")
    )
    assert StatusCode.UNSET == end.status.status_code


def test_a_task_that_killed_its_process_too_often_is_an_error_linked_to_its_enqueue_span() -> None:
    traced = Traced()
    fields = {"error": "its process died", "error_type": "taskflow.Poison", "max_retries": 2}
    traced.observer.on_lifecycle(event(FAILED, reason="poison", trace_context=CARRIER, **fields))
    end = traced.spans["failed send"]
    assert (StatusCode.ERROR, "taskflow.Poison") == (end.status.status_code, attributes(end)["error.type"])
    assert [0x0123456789ABCDEF] == [link.context.span_id for link in end.links]
    assert ["exception"] == [event.name for event in end.events]


def test_of_attempts_in_a_process_that_died_nothing_is_said() -> None:
    traced = Traced()
    traced.observer.on_lifecycle(event(INTERRUPTED, reason="rescued", trace_context=CARRIER))
    end = attributes(traced.spans["interrupted send"])
    assert ("interrupted", "rescued") == (end["taskflow.task.status"], end["taskflow.task.reason"])
    assert "taskflow.task.attempts" not in end


def test_an_error_that_no_exception_caused_has_a_type_all_the_same() -> None:
    traced = Traced()
    traced.enqueue()
    traced.move(FAILED)
    end = traced.spans["failed send"]
    assert (StatusCode.ERROR, "_OTHER") == (end.status.status_code, attributes(end)["error.type"])
    assert () == end.events


def test_a_log_line_is_an_event_on_the_span_of_its_attempt_named_by_its_message() -> None:
    traced = Traced()
    traced.enqueue(max_retries=1)
    traced.run()
    traced.log("sent to ann", level="warning", bytes=512, seconds=0.5, ok=True)
    traced.move(SUCCESS)
    (line,) = traced.spans["attempt 1"].events
    assert "sent to ann" == line.name
    assert {"log.severity": "warning", "bytes": 512, "seconds": 0.5, "ok": True} == dict(
        line.attributes or {}
    )
    assert () == traced.spans["run send"].events


def test_a_log_line_between_two_attempts_is_on_the_run_span() -> None:
    traced = Traced()
    traced.enqueue(max_retries=1)
    traced.run()
    traced.move(RETRYING, failure=BROKEN)
    traced.log("from a thread of the first attempt")
    traced.move(CANCELLED)
    assert ["from a thread of the first attempt"] == [e.name for e in traced.spans["run send"].events]


def test_a_long_message_is_cut_in_the_name_and_whole_in_an_attribute() -> None:
    traced = Traced()
    traced.enqueue()
    traced.run()
    traced.log("x" * 1_000)
    traced.move(SUCCESS)
    (line,) = traced.spans["run send"].events
    assert "x" * 255 + "…" == line.name
    assert "x" * 1_000 == (line.attributes or {})["message"]


def test_lines_beyond_the_cap_of_a_run_are_counted_on_its_span() -> None:
    traced = Traced(max_log_events=2)
    traced.enqueue(max_retries=1)
    traced.run()
    traced.log("one")
    traced.move(RETRYING, failure=BROKEN)
    traced.run()
    for message in ("two", "three", "four"):
        traced.log(message)
    traced.move(SUCCESS)
    assert ["two"] == [event.name for event in traced.spans["attempt 2"].events]
    assert 2 == attributes(traced.spans["run send"])["taskflow.task.dropped_logs"]


async def test_nothing_touches_a_span_that_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    traced = Traced()
    traced.enqueue()
    traced.run()
    traced.move(SUCCESS)
    traced.log("too late")
    await traced.chain.close()
    assert () == traced.spans["run send"].events
    assert "success" == attributes(traced.spans["run send"])["taskflow.task.status"]
    assert [] == caplog.records


def test_the_observer_gets_lines_of_its_level_only() -> None:
    traced = Traced(min_level="error")
    traced.enqueue()
    traced.run()
    traced.log("quiet")
    traced.log("loud", level="error")
    traced.move(SUCCESS)
    assert ["loud"] == [event.name for event in traced.spans["run send"].events]


def logged(logs: str) -> tuple[Traced, InMemoryLogRecordExporter]:
    """Run a task that logs one line, inside a span of its own."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    traced = Traced(logger_provider=provider, logs=logs)

    def task() -> None:
        with traced.tracer.start_as_current_span("query"):
            line = LogEvent(
                task_id="t1",
                func_name="send",
                message="sent",
                level="warning",
                timestamp=utcnow(),
                extra={"n": 1},
            )
            traced.store.log(line)

    traced.enqueue()
    traced.run()
    traced.context.run(task)
    traced.move(SUCCESS)
    return traced, exporter


def test_a_log_record_carries_the_ids_of_the_innermost_span() -> None:
    traced, exporter = logged("records")
    (data,) = exporter.get_finished_logs()
    record = data.log_record
    assert own(traced.spans["query"]) == record.span_id
    assert ("sent", "WARN", 13) == (record.body, record.severity_text, record.severity_number.value)  # type: ignore[union-attr]
    assert {"n": 1, "taskflow.task.id": "t1", "taskflow.task.name": "send"} == dict(record.attributes or {})
    assert record.timestamp is not None
    assert abs(record.timestamp - record.observed_timestamp) < 60 * 10**9  # type: ignore[operator]


@pytest.mark.parametrize(
    ("logs", "events", "records"), [("events", 1, 0), ("records", 0, 1), ("both", 1, 1), ("none", 0, 0)]
)
def test_log_lines_go_where_they_were_asked_to(logs: str, events: int, records: int) -> None:
    traced, exporter = logged(logs)
    assert (events, records) == (len(traced.spans["run send"].events), len(exporter.get_finished_logs()))


class Strange:
    def __str__(self) -> str:
        return "strange \ud800"


def test_no_text_or_number_of_the_user_can_spoil_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    traced = Traced()
    traced.enqueue(func_name="s\udc80nd", tags={"k\udc80": "v\udc80"})
    traced.run()
    traced.log("name \ud800", text="\ud800", huge=2**70, other=Strange(), nothing=None, items=[1, "\ud800"])
    traced.move(FAILED, failure=Failure("\ud800", "E", "\ud800"))
    assert 2 == len(traced.spans)
    assert encode_spans(traced.exporter.get_finished_spans()).SerializeToString()
    assert [] == caplog.records
    line = traced.spans["run s\\udc80nd"].events[0].attributes or {}
    assert (str(2**70), "strange \\ud800", "None") == (line["huge"], line["other"], line["nothing"])


def test_an_unsampled_task_and_what_it_calls_make_no_spans() -> None:
    traced = Traced(sampler=ALWAYS_OFF)
    traced.enqueue(max_retries=1)
    traced.run()
    traced.log("quiet")
    traced.context.run(lambda: traced.tracer.start_span("query").end())
    traced.move(FAILED, failure=BROKEN)
    assert {} == traced.spans


async def test_close_ends_what_is_open_with_the_status_it_had() -> None:
    traced = Traced()
    traced.enqueue("t1", "running", max_retries=1)
    traced.run()
    traced.enqueue("t2", "retrying", max_retries=1)
    traced.run(task_id="t2")
    traced.move(RETRYING, task_id="t2", failure=BROKEN)
    await traced.chain.close()
    left = {name: span for name, span in traced.spans.items() if name.startswith("run")}
    assert {"run running": "running", "run retrying": "retrying"} == {
        name: attributes(span)["taskflow.task.status"] for name, span in left.items()
    }
    assert {StatusCode.UNSET} == {span.status.status_code for span in left.values()}


async def test_an_observer_that_was_closed_can_be_used_again() -> None:
    traced = Traced()
    await traced.chain.startup()
    traced.enqueue("t1", "first")
    await traced.chain.close()
    await traced.chain.startup()
    traced.enqueue("t2", "second")
    traced.run(task_id="t2")
    traced.move(SUCCESS, task_id="t2")
    assert own(traced.spans["enqueue second"]) == parent(traced.spans["run second"])


class Impatient(OpenTelemetryObserver):
    flush_timeout = 0.05


class StuckProvider(TracerProvider):
    """A provider whose exporter never answers."""

    def __init__(self) -> None:
        super().__init__(shutdown_on_exit=False)
        self.released = threading.Event()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self.released.wait()


async def test_an_exporter_that_hangs_does_not_hang_the_shutdown(caplog: pytest.LogCaptureFixture) -> None:
    provider = StuckProvider()
    await Impatient(provider).close()
    assert ["StuckProvider was not flushed within 0.05 s"] == [
        record.getMessage() for record in caplog.records
    ]
    assert [True] == [t.daemon for t in threading.enumerate() if t.name == "taskflow-otel-flush"]
    provider.released.set()


class BrokenProvider(TracerProvider):
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        raise OSError("disk full")


async def test_an_exporter_that_fails_is_reported() -> None:
    with pytest.raises(OSError, match="disk full"):
        await OpenTelemetryObserver(BrokenProvider(shutdown_on_exit=False)).flush()


async def test_without_an_sdk_nothing_is_recorded_and_nothing_fails() -> None:
    observer = OpenTelemetryObserver(logs="both")
    chain = LoggerChain([observer])
    store = TaskStore(stream=EventStream(chain))
    record = store.create("t1", "send", remember=True)
    contextvars.copy_context().run(store.transition, "t1", RUNNING)
    store.log(LogEvent(task_id="t1", func_name="send", message="x", level="info", timestamp=utcnow()))
    store.transition("t1", SUCCESS)
    await chain.close()
    assert (None, 0) == (record.trace_context, chain.stats()[0].errors)


def test_without_an_sdk_the_callers_trace_goes_through_the_task_to_whatever_it_calls() -> None:
    store = TaskStore(stream=EventStream(LoggerChain([OpenTelemetryObserver()])))
    caller = TraceContextTextMapPropagator().extract(CARRIER)
    token = attach(caller)
    store.create("t1", "send")
    context = contextvars.copy_context()
    detach(token)
    context.run(store.transition, "t1", RUNNING)
    called: dict[str, str] = {}
    context.run(TraceContextTextMapPropagator().inject, called)
    assert CARRIER == called


def test_the_set_up_of_the_documentation_works() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tracing.md").read_text()
    code = page.split("```python\n", 1)[1].split("```", 1)[0]
    names: dict[str, Any] = {}
    exec(code, names)
    (observer,) = names["task_manager"].logger.observers
    assert names["provider"] is observer.tracer_provider
    names["provider"].shutdown()


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("tracer_provider", "jaeger"),
        ("logger_provider", logging.getLogger()),
        ("propagation", "parent"),
        ("logs", "all"),
        ("max_log_events", 0),
        ("min_level", "warn"),
    ],
)
def test_a_wrong_option_is_refused_by_name(parameter: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OpenTelemetryObserver(**{parameter: value})  # type: ignore[arg-type]
    assert parameter == caught.value.parameter


@given(
    st.lists(st.integers(0, 5), max_size=12), st.integers(0, 2), st.sampled_from(["child", "link", "none"])
)
def test_whatever_path_a_task_takes_no_span_stays_open_and_only_failed_runs_are_errors(
    choices: list[int], retries: int, propagation: str
) -> None:
    traced = Traced(propagation=propagation)
    traced.enqueue(max_retries=retries, remember=True)
    status = PENDING
    # Any walk, then straight to an end.
    for choice in [*choices, 0]:
        arrows = sorted(TRANSITIONS[status])
        if not arrows:
            break
        status = arrows[choice % len(arrows)]
        walk(traced, status)
    if status not in TERMINAL:
        status = CANCELLED
        walk(traced, status)
    spans = traced.exporter.get_finished_spans()
    runs = [span for span in spans if span.name in {"run send", f"{status.value} send"}]
    assert 0 == traced.errors
    assert 1 == sum(attributes(run)["taskflow.task.status"] == status.value for run in runs)
    assert (status is FAILED) == any("error.type" in attributes(run) for run in runs)
    assert all(("error.type" in attributes(s)) == (s.status.status_code is StatusCode.ERROR) for s in spans)
    seen = {own(span) for span in spans}
    assert all(span.parent is None or parent(span) in seen for span in spans)


def walk(traced: Traced, status: TaskStatus) -> None:
    if status is RUNNING:
        traced.run()
    else:
        traced.move(status, failure=BROKEN if status in {RETRYING, FAILED} else None)


class Tenant(SpanProcessor):
    """Copies the tenant to each span that starts, as a baggage processor does."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.set_attribute("tenant", str(baggage.get_baggage("tenant", parent_context)))


@pytest.mark.parametrize("processors", [SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor])
def test_a_processor_in_any_thread_sees_the_baggage_of_the_code_that_enqueued(processors: Any) -> None:
    traced = Traced(processors=processors())
    traced.provider.add_span_processor(Tenant())
    token = attach(baggage.set_baggage("tenant", "books"))
    traced.enqueue(max_retries=1)
    traced.run()
    detach(token)
    traced.move(SUCCESS)
    assert dict.fromkeys(["enqueue send", "run send", "attempt 1"], "books") == {
        name: attributes(span)["tenant"] for name, span in traced.spans.items()
    }
