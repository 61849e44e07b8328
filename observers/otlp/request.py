"""A batch of spans as the body of an OTLP request, byte for byte as the official encoder writes it.

Whatever is not plain is handed to the official encoder, one span or the whole batch, so that it decides, and
complains, as it always does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT

from taskflow.observers.otlp.spans import span_bytes
from taskflow.observers.otlp.wire import field

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

Scopes = dict[InstrumentationScope | None, list[bytes]]


def request_bytes(spans: Sequence[ReadableSpan]) -> bytes:
    """The message ``ExportTraceServiceRequest``, with the spans grouped by resource and scope.

    Raises:
        Exception: the official encoder refuses a span, such as one whose name is no valid text.
    """
    groups = _grouped(spans)
    return b"".join(
        [field(b"\x0a", _resource_spans(resource, scopes)) for resource, scopes in groups.items()]
    )


def _grouped(spans: Sequence[ReadableSpan]) -> dict[Resource, Scopes]:
    groups: dict[Resource, Scopes] = {}
    # Equal resources and scopes belong together, but to compare them costs more than to encode a span.
    known: dict[tuple[int, int], list[bytes]] = {}
    alive: list[object] = []  # an id belongs to an object as long as that lives
    for span in spans:
        resource, scope = span.resource, span.instrumentation_scope
        found = known.get((id(resource), id(scope)))
        if found is None:
            found = groups.setdefault(resource, {}).setdefault(scope or None, [])
            known[id(resource), id(scope)] = found
            alive += (resource, scope)
        found.append(field(b"\x12", _span(span)))
    return groups


def _span(span: ReadableSpan) -> bytes:
    try:
        return span_bytes(span)
    except Exception:  # what is wrong with it, the official encoder says
        (group,) = encode_spans([span]).resource_spans[0].scope_spans
        encoded: bytes = group.spans[0].SerializePartialToString()
        return encoded


def _resource_spans(resource: Resource, scopes: Scopes) -> bytes:
    parts: list[bytes] = []
    for scope, spans in scopes.items():
        model = _empty(resource, scope)
        if not parts:
            parts.append(field(b"\x0a", model.resource.SerializePartialToString()))
        parts.append(field(b"\x12", _scope_spans(model.scope_spans[0], spans)))
    return b"".join([*parts, _schema_url(model.schema_url)])


def _scope_spans(model: ScopeSpans, spans: list[bytes]) -> bytes:
    scope = field(b"\x0a", model.scope.SerializePartialToString())
    return b"".join([scope, *spans, _schema_url(model.schema_url)])


def _empty(resource: Resource, scope: InstrumentationScope | None) -> ResourceSpans:
    """How the official encoder writes a resource and a scope: once a batch, it may take its time."""
    span = ReadableSpan("", INVALID_SPAN_CONTEXT, resource=resource, instrumentation_scope=scope)
    model: ResourceSpans = encode_spans([span]).resource_spans[0]
    return model


def _schema_url(url: str) -> bytes:
    return field(b"\x1a", url.encode()) if url else b""
