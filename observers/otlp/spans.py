"""One span as protobuf, byte for byte as the official encoder writes it.

Only what the SDK's spans show publicly is read. Source of the numbers:
https://github.com/open-telemetry/opentelemetry-proto, ``trace/v1/trace.proto``
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

from taskflow.observers.otlp.attributes import UnusualError, add_attributes
from taskflow.observers.otlp.wire import count, field, text

_TRACE_ID, _SPAN_ID, _PARENT_ID = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
_LINK_FLAGS, _SPAN_FLAGS = b"\x35", b"\x85\x01"
_HERE, _REMOTE = (0x100).to_bytes(4, "little"), (0x300).to_bytes(4, "little")
_NO_STATUS = b"\x7a\x00"
_TIMES, _TIME = Struct("<cQcQ").pack, Struct("<cQ").pack

_KINDS: Mapping[SpanKind, bytes] = {
    SpanKind.INTERNAL: b"\x30\x01",
    SpanKind.SERVER: b"\x30\x02",
    SpanKind.CLIENT: b"\x30\x03",
    SpanKind.PRODUCER: b"\x30\x04",
    SpanKind.CONSUMER: b"\x30\x05",
}


def span_bytes(span: ReadableSpan) -> bytes:
    """The message ``Span``.

    Raises:
        Exception: of any kind, if the span is not a usual one; the official encoder may know what to do.
    """
    context, parent = span.context, span.parent
    if context is None or not span.start_time or not span.end_time:
        raise UnusualError
    parts = [_TRACE_ID, context.trace_id.to_bytes(16, "big"), _SPAN_ID, context.span_id.to_bytes(8, "big")]
    if state := context.trace_state:
        parts.append(_trace_state(state))
    if parent:
        parts += (_PARENT_ID, parent.span_id.to_bytes(8, "big"))
    times = _TIMES(b"\x39", span.start_time, b"\x41", span.end_time)
    parts += (text(b"\x2a", span.name), _KINDS[span.kind], times)
    if attributes := span.attributes:
        add_attributes(b"\x4a", attributes, parts)
    if dropped := span.dropped_attributes:
        parts.append(count(b"\x50", dropped))
    for event in span.events:
        parts.append(field(b"\x5a", _event(event)))
    if dropped := span.dropped_events:
        parts.append(count(b"\x60", dropped))
    for link in span.links:
        parts.append(field(b"\x6a", _link(link)))
    if dropped := span.dropped_links:
        parts.append(count(b"\x70", dropped))
    parts += (_status(span.status), _SPAN_FLAGS, _origin(parent))
    return b"".join(parts)


def _trace_state(state: TraceState) -> bytes:
    return field(b"\x1a", ",".join([f"{key}={value}" for key, value in state.items()]).encode())


def _event(event: Event) -> bytes:
    if not event.timestamp:
        raise UnusualError
    parts = [_TIME(b"\x09", event.timestamp), _optional(b"\x12", event.name)]
    if attributes := event.attributes:
        add_attributes(b"\x1a", attributes, parts)
    if dropped := event.dropped_attributes:
        parts.append(count(b"\x20", dropped))
    return b"".join(parts)


def _link(link: Link) -> bytes:
    context = link.context
    parts = [_TRACE_ID, context.trace_id.to_bytes(16, "big"), _SPAN_ID, context.span_id.to_bytes(8, "big")]
    if attributes := link.attributes:
        add_attributes(b"\x22", attributes, parts)
    if dropped := link.dropped_attributes:
        parts.append(count(b"\x28", dropped))
    parts += (_LINK_FLAGS, _origin(context))
    return b"".join(parts)


def _status(status: Status | None) -> bytes:
    if status is None:
        return b""
    if status.status_code is StatusCode.UNSET and not status.description:
        return _NO_STATUS
    return field(b"\x7a", _optional(b"\x12", status.description) + count(b"\x18", status.status_code.value))


def _optional(tag: bytes, value: str | None) -> bytes:
    return field(tag, value.encode()) if value else b""


def _origin(context: SpanContext | None) -> bytes:
    """Whether a parent or a linked span is of another process. The flags of sampling are not sent."""
    return _REMOTE if context and context.is_remote else _HERE
