"""The same tasks, with everything that a task can do to its spans, and the spans as others see them.

For tests that compare what two ways to make spans, or to send them, come to.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from taskflow import ManagedBackgroundTasks, TaskManager, task_log


class Counted(IdGenerator):
    """Ids that are the same in every run."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def generate_span_id(self) -> int:
        return next(self._next)

    def generate_trace_id(self) -> int:
        return 2**100 + next(self._next)


async def busy(tracer: trace.Tracer) -> None:
    """Logs, and does to the current span what users do."""
    task_log("one")
    task_log("twö", level="warning", order=1, lines=["a", 2], **{"": "no key"})
    task_log("long " * 100)
    span = trace.get_current_span()
    span.set_attribute("theirs", "value")
    span.set_attributes({"numbers": [1, 2], "text": "x" * 20})
    span.add_event("their event", {"order": 2})
    span.add_link(SpanContext(5, 6, True, TraceFlags(1)), {"linked": 1})
    with tracer.start_as_current_span("child") as child:
        child.set_attribute("below", trace.get_current_span().get_span_context().span_id)
    for number in range(4):
        task_log(f"line {number}")
    span.update_name("renamed")


async def quiet() -> None:
    """Logs, and leaves its span alone."""
    task_log("one")
    for number in range(3):
        task_log("line", number=number)


async def failing() -> None:
    task_log("about to fail")
    raise ValueError("nö")


async def dropped() -> None:
    trace.get_current_span().set_attribute("never", 1)


PARENTS = {
    "nobody": None,
    "sampled": SpanContext(77, 88, True, TraceFlags(1), TraceState([("up", "1")])),
    "not sampled": SpanContext(77, 88, True, TraceFlags(0), TraceState([("up", "1")])),
    "local": SpanContext(77, 89, False, TraceFlags(3), TraceState([("up", "2")])),
}


async def run_tasks(manager: TaskManager, tracer: trace.Tracer) -> None:
    manager.task()(busy)
    manager.task(retries=1)(failing)
    for function in (quiet, dropped):
        manager.task()(function)
    tags = {f"tag{number}": "v" for number in range(140)}  # more than the SDK keeps
    async with manager:
        for name, parent in PARENTS.items():
            kind = "recorded" if name == "not sampled" else "v"
            context = baggage.set_baggage("tenant", "t1")
            if parent is not None:
                context = trace.set_span_in_context(NonRecordingSpan(parent), context)
            token = attach(context)
            tasks = ManagedBackgroundTasks(manager)
            tasks.add_task(busy, tracer, tags={"kind": kind, "müll": "\ud800"})
            tasks.add_task(busy, tracer)
            tasks.add_task(quiet, tags={"kind": kind})
            tasks.add_task(quiet, tags=tags)
            tasks.add_task(failing)
            tasks.add_task(dropped)
            detach(token)
            await tasks()


def told(span: ReadableSpan) -> dict[str, Any]:
    """All that an exporter can read of a span, but for the times."""
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= span.end_time
    assert all(span.start_time <= event.timestamp <= span.end_time for event in span.events)
    attributes = dict(span.attributes or {})
    waited = attributes.pop("taskflow.queue_duration", None)
    return {
        "name": span.name,
        "context": span.context,
        "parent": span.parent,
        "kind": span.kind,
        "status": (span.status.status_code, span.status.description),
        "attributes": list(attributes.items()),
        "waited": type(waited),
        "events": [(event.name, list((event.attributes or {}).items())) for event in span.events],
        "links": [(link.context, dict(link.attributes or {})) for link in span.links],
        "resource": span.resource,
        "scope": span.instrumentation_scope,
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "dropped from events": [event.dropped_attributes for event in span.events],
        "dropped from links": [link.dropped_attributes for link in span.links],
    }


def exported(spans: Sequence[ReadableSpan]) -> bytes:
    """What the official exporter sends, but for the times."""
    return timeless(encode_spans(spans))


def timeless(request: ExportTraceServiceRequest) -> bytes:
    """A request of OTLP without its times."""
    for each in (s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans):
        each.start_time_unix_nano = each.end_time_unix_nano = 0
        for event in each.events:
            event.time_unix_nano = 0
        for attribute in each.attributes:
            if attribute.key == "taskflow.queue_duration":
                attribute.value.double_value = 0
    return request.SerializeToString(deterministic=True)
