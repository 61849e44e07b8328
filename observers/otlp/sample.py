"""Spans in which every field is set, to compare two encoders by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

T = TypeVar("T")

VALUES: Mapping[str, object] = {
    "text": "é" * 100,
    "short": "",
    "yes": True,
    "no": False,
    "integers": (0, 127, 128, -1, 2**63 - 1, -(2**63)),
    "double": -0.5,
    "bytes": b"\x00\xff",
    "mixed": (None, "a", 1.0, True, b""),
    "nothing": None,
}

STATE = TraceState([("vendor", "1"), ("other", "2")])
PARENT = SpanContext(2**127 + 1, 2**63 + 1, is_remote=True, trace_flags=TraceFlags(1), trace_state=STATE)
LOCAL = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))


def sample_spans() -> Sequence[ReadableSpan]:
    """Two spans of different resources and scopes, one with everything in it and one with nothing."""
    resource = Resource({"service.name": "sample", "process.pid": 1}, "https://resource.example")
    scope = InstrumentationScope("scope", "1.0", "https://scope.example", {"key": "value"})
    full = ReadableSpan(
        name="run sample",
        context=SpanContext(1, 3, is_remote=False, trace_flags=TraceFlags(1), trace_state=STATE),
        parent=PARENT,
        resource=resource,
        attributes=_attributes(),
        events=_bounded([Event("event", _attributes(), 1), Event("", None, 2**63)]),
        links=_bounded([Link(PARENT, _attributes()), Link(LOCAL)]),
        kind=SpanKind.CONSUMER,
        status=Status(StatusCode.ERROR, "no route to host"),
        start_time=1_700_000_000_000_000_000,
        end_time=1_700_000_000_000_000_001,
        instrumentation_scope=scope,
    )
    empty = ReadableSpan("", LOCAL, resource=Resource({}), start_time=1, end_time=1)
    return full, empty


def _attributes() -> BoundedAttributes:
    attributes = BoundedAttributes(attributes=VALUES)  # type: ignore[arg-type] # any value is taken
    attributes.dropped = 300
    return attributes


def _bounded(items: Sequence[T]) -> Sequence[T]:
    found = BoundedList.from_seq(len(items), items)
    found.dropped = 2
    return found
