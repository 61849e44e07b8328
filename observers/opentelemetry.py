"""Spans for tasks: who enqueued them, how they ran, and each attempt, with `task_log` lines on them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from opentelemetry import _logs, trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    ProxyTracer,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from taskflow.core.checks import check_bool, check_choice, check_int
from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.core.exceptions import ConfigurationError
from taskflow.core.models import TaskStatus
from taskflow.observers.base import TaskObserver
from taskflow.observers.otel.attributes import (
    DROPPED_LOGS,
    ERROR_TYPE,
    QUEUE_DURATION,
    SCHEMA_URL,
    TASK_ATTEMPTS,
    TASK_ID,
    TASK_NAME,
    TASK_REASON,
    TASK_STATUS,
    Attributes,
    CleanAttributes,
    Scalar,
    exception_attributes,
    exception_message,
    labels,
    tag_attributes,
)
from taskflow.observers.otel.choice import spans_of
from taskflow.observers.otel.flush import force_flush
from taskflow.observers.otel.logs import add_span_event, emit_record
from taskflow.observers.otel.spans import Spans
from taskflow.version import __version__

__all__ = ["OpenTelemetryObserver"]

Propagation = Literal["child", "link", "none"]
Logs = Literal["events", "records", "both", "none"]

SCOPE = "taskflow"

# As in `taskflow.observers.prometheus`: a member of an enum is slow to look up, and so is its value.
PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING
SUCCESS, FAILED = TaskStatus.SUCCESS, TaskStatus.FAILED

# Not the globally configured propagator: what is stored with a record must be readable after a
# deployment that configures another one, and must never hold baggage, which may be personal data.
# https://www.w3.org/TR/trace-context/
CARRIER = TraceContextTextMapPropagator()


@dataclass(slots=True)
class TaskTrace:
    """The trace of one unfinished task.

    Attributes:
        origin: context of the span that enqueued it.
        again: whether it runs again: after a restart, or after an earlier run was interrupted.
        run, attempt: the open spans.
        attempts: how many were started in this process.
        status: the state of the latest event.
        log_events: `task_log` lines on its spans.
        dropped_logs: lines beyond ``max_log_events``.
    """

    origin: SpanContext | None = None
    again: bool = False
    run: Span | None = None
    attempt: Span | None = None
    attempts: int = 0
    status: TaskStatus = PENDING
    log_events: int = 0
    dropped_logs: int = 0


class OpenTelemetryObserver(TaskObserver):
    """Traces every task: ``enqueue``, ``run`` and, for tasks that may be retried, ``attempt`` spans.

    The spans, their attributes and the modes of propagation are on the page *Tracing* of the
    documentation. User code runs with the attempt's span (or the run span) as the current one.

    Args:
        tracer_provider: where spans go; the global provider if ``None``, even if set later.
        logger_provider: where log records go; the global provider if ``None``.
        propagation: how ``run`` relates to ``enqueue``: ``child`` (one trace), ``link`` (two linked
            traces) or ``none``.
        logs: what becomes of `task_log` lines: span ``events``, log ``records``, ``both`` or ``none``.
        max_log_events: span events of one run for `task_log` lines; the excess is counted in
            ``taskflow.task.dropped_logs``.
        min_level: the least severe `task_log` level to record.
        lean_spans: make spans in half the time where the OpenTelemetry SDK is known to Taskflow; they
            differ in nothing that the SDK promises. ``False``: by the SDK's `start_span` alone.

    Raises:
        ConfigurationError: a value is not one of those.
    """

    flush_timeout: ClassVar[float] = 30.0
    """Seconds that `flush` and `close` wait for an exporter."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        logger_provider: _logs.LoggerProvider | None = None,
        propagation: Propagation = "child",
        logs: Logs = "events",
        max_log_events: int = 128,
        *,
        min_level: str = "info",
        lean_spans: bool = True,
    ) -> None:
        super().__init__(min_level)
        if tracer_provider is not None and not isinstance(tracer_provider, trace.TracerProvider):
            raise ConfigurationError(
                "tracer_provider", tracer_provider, "must be an OpenTelemetry TracerProvider"
            )
        if logger_provider is not None and not isinstance(logger_provider, _logs.LoggerProvider):
            raise ConfigurationError(
                "logger_provider", logger_provider, "must be an OpenTelemetry LoggerProvider"
            )
        self.tracer_provider = tracer_provider
        self.logger_provider = logger_provider
        self.propagation = check_choice("propagation", propagation, get_args(Propagation))
        self.logs = check_choice("logs", logs, get_args(Logs))
        self.max_log_events = check_int("max_log_events", max_log_events, minimum=1)
        self.lean_spans = check_bool("lean_spans", lean_spans)
        self._spans = self._find()
        self._logger = _logs.get_logger(SCOPE, __version__, logger_provider, SCHEMA_URL)
        self._span_events = logs in {"events", "both"}
        self._log_records = logs in {"records", "both"}
        self._live: dict[str, TaskTrace] = {}

    def _find(self) -> Spans:
        tracer = trace.get_tracer(SCOPE, __version__, self.tracer_provider, SCHEMA_URL)
        return spans_of(tracer) if self.lean_spans else Spans(tracer)

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        """Start the ``enqueue`` span, or end the spans of an attempt or a run."""
        status = event.status
        if status is RUNNING:
            return  # `bind` has done it
        if status is PENDING:
            self._pending(event)
        elif status is RETRYING:
            self._retrying(event)
        else:
            self._finished(event)

    def bind(self, event: LifecycleEvent) -> None:
        """Start the spans of an attempt, and make the innermost one current.

        There is no `detach`: the context belongs to this attempt alone, and ends with it.
        """
        context = get_current()
        task = self._live.get(event.task_id)
        if task is None:
            task = self._live[event.task_id] = _running_again(event)
        if task.run is None:
            task.run = self._start_run(event, task, context)
        if event.max_retries:
            task.attempt = self._start_attempt(event, task.run, context)
        task.status, task.attempts = event.status, event.attempt + 1
        attach(trace.set_span_in_context(task.attempt or task.run, context))

    def inject(self, event: LifecycleEvent, carrier: dict[str, str]) -> None:
        """Store the ``enqueue`` span as W3C trace context, to link to it after a restart."""
        task = self._live.get(event.task_id)
        if task is not None and task.origin is not None:
            CARRIER.inject(carrier, trace.set_span_in_context(NonRecordingSpan(task.origin)))

    def on_log(self, event: LogEvent) -> None:
        """Add the line to the task's innermost span, and emit a log record, as configured."""
        if self._log_records:
            emit_record(self._logger, event)
        task = self._live.get(event.task_id)
        if task is None or not self._span_events:
            return
        if task.log_events >= self.max_log_events:
            task.dropped_logs += 1
        elif (span := task.attempt or task.run) is not None and span.is_recording():
            task.log_events += 1
            add_span_event(span, event)

    async def flush(self) -> None:
        """Let the providers export what they buffer."""
        providers: list[object] = [self.tracer_provider or trace.get_tracer_provider()]
        if self._log_records:
            providers.append(self.logger_provider or _logs.get_logger_provider())
        await asyncio.gather(*(force_flush(provider, self.flush_timeout) for provider in providers))

    async def close(self) -> None:
        """End the spans of tasks that were left unfinished, with the status they had, and flush."""
        while self._live:
            _, task = self._live.popitem()
            _end_unfinished(task)
        await self.flush()

    def _pending(self, event: LifecycleEvent) -> None:
        # PENDING again: the task will run again from scratch, here or in another process. This run ends.
        stale = self._live.pop(event.task_id, None)
        if stale is not None:
            stale.status = event.status
            _end_unfinished(stale, event.reason)
        if event.reason is None and event.trace_context is None:
            task = TaskTrace(self._start_enqueue(event))
        else:
            task = _running_again(event)
            if task.origin is None and stale is not None:
                task.origin = stale.origin
        self._live[event.task_id] = task

    def _start_enqueue(self, event: LifecycleEvent) -> SpanContext:
        names = labels(event.func_name, event.code_function)
        attributes = _attributes(event, names.task)
        if type(self._spans.tracer) is ProxyTracer:  # until the application sets a global provider
            self._spans = self._find()
        context = get_current()
        parent = trace.get_current_span(context).get_span_context()
        span = self._spans.start(names.enqueue, SpanKind.PRODUCER, attributes, parent, context)
        span.end()
        return span.get_span_context()

    def _start_run(self, event: LifecycleEvent, task: TaskTrace, context: Context) -> Span:
        names = labels(event.func_name, event.code_function)
        attributes = _attributes(event, names.code)
        if event.queue_duration is not None:
            attributes[QUEUE_DURATION] = event.queue_duration
        parent, links = self._relation(task)
        return self._spans.start(names.run, SpanKind.CONSUMER, attributes, parent, context, links)

    def _start_attempt(self, event: LifecycleEvent, run: Span, context: Context) -> Span:
        attributes = {**labels(event.func_name, event.code_function).task, TASK_ID: event.task_id}
        name, parent = f"attempt {event.attempt + 1}", run.get_span_context()
        below = trace.set_span_in_context(run, context)
        return self._spans.start(name, SpanKind.INTERNAL, attributes, parent, below)

    def _start_moment(self, event: LifecycleEvent, task: TaskTrace) -> Span:
        """A span without duration for a task that ended but did not run here: it never started, or its
        process died. Without this span, its end would not be in the trace.
        """
        names = labels(event.func_name, event.code_function)
        attributes = _attributes(event, names.code)
        parent, links = self._relation(task)
        name = f"{event.status.value} {names.task[TASK_NAME]}"
        return self._spans.start(name, SpanKind.INTERNAL, attributes, parent, get_current(), links)

    def _relation(self, task: TaskTrace) -> tuple[SpanContext, Sequence[Link]]:
        """The parent and the links of a run."""
        origin = task.origin
        if origin is not None and not task.again and self.propagation == "child":
            return origin, ()
        if origin is None or self.propagation == "none":
            return INVALID_SPAN_CONTEXT, ()
        return INVALID_SPAN_CONTEXT, (Link(origin),)

    def _retrying(self, event: LifecycleEvent) -> None:
        task = self._live.get(event.task_id)
        if task is not None:
            task.status = event.status
            _end_attempt(task, event)

    def _finished(self, event: LifecycleEvent) -> None:
        task = self._live.pop(event.task_id, None) or _running_again(event)
        run = task.run or self._start_moment(event, task)
        if event.status is FAILED:
            if task.attempt is None:  # otherwise the span of the attempt has the exception
                _record_exception(run, event)
            _mark_failed(run, event)
        if task.attempt is not None:
            _end_attempt(task, event)
        task.status = event.status
        _end_run(run, task, event.reason)


def _attributes(event: LifecycleEvent, fixed: Mapping[str, Scalar]) -> Attributes:
    """The attributes of ``enqueue`` and ``run`` spans. Tags come first, because the SDK drops the oldest
    attributes if there are too many.
    """
    if not event.tags:
        return {**fixed, TASK_ID: event.task_id}
    return {**tag_attributes(event.tags), **fixed, TASK_ID: event.task_id}


def _stored_span(carrier: Mapping[str, str] | None) -> SpanContext | None:
    """The span in a carrier: the one that enqueued the task, before a restart."""
    if not carrier:
        return None
    found = trace.get_current_span(CARRIER.extract(carrier)).get_span_context()
    return found if found.is_valid else None


def _running_again(event: LifecycleEvent) -> TaskTrace:
    """The trace of a task that runs again."""
    return TaskTrace(_stored_span(event.trace_context), again=True)


def _end_attempt(task: TaskTrace, event: LifecycleEvent) -> None:
    span, task.attempt = task.attempt, None
    if span is None:
        return
    if event.error_type is not None:
        _record_exception(span, event)
        _mark_failed(span, event)
    elif event.status is not SUCCESS:
        span.set_attribute(TASK_STATUS, event.status.value)
    span.end()


def _end_run(run: Span, task: TaskTrace, reason: str | None) -> None:
    outcome = CleanAttributes()
    outcome[TASK_STATUS] = str(task.status)
    if task.attempts or not task.again:  # attempts in other processes are not known
        outcome[TASK_ATTEMPTS] = task.attempts
    if reason is not None:
        outcome[TASK_REASON] = reason
    if task.dropped_logs:
        outcome[DROPPED_LOGS] = task.dropped_logs
    run.set_attributes(outcome)
    run.end()


def _end_unfinished(task: TaskTrace, reason: str | None = None) -> None:
    """End the spans of a run that was not finished, as neither a success nor an error."""
    if task.attempt is not None:
        task.attempt.set_attribute(TASK_STATUS, task.status.value)
        task.attempt.end()
    if task.run is not None:
        _end_run(task.run, task, reason)


def _record_exception(span: Span, event: LifecycleEvent) -> None:
    if event.error_type is not None and span.is_recording():
        span.add_event("exception", exception_attributes(event))


def _mark_failed(span: Span, event: LifecycleEvent) -> None:
    # _OTHER is the value of the semantic conventions for errors without a type.
    # https://opentelemetry.io/docs/specs/semconv/registry/attributes/error/
    span.set_attribute(ERROR_TYPE, event.error_type or event.reason or "_OTHER")
    span.set_status(StatusCode.ERROR, exception_message(event))
