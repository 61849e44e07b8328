"""Our encoder inside the official exporter, if it writes what the installed version writes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from taskflow.observers.otlp.request import request_bytes
from taskflow.observers.otlp.spans import span_bytes

logger = logging.getLogger("taskflow.observers")

Export = Callable[[OTLPSpanExporter, Sequence[ReadableSpan]], SpanExportResult]

ENCODER = encode_spans.__name__


class Encoded:
    """A request that is bytes already, in the place of the official message."""

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        try:
            self._bytes = request_bytes(spans)
        except Exception:  # it refuses a span, and says so, or knows better
            self._bytes = encode_spans(spans).SerializePartialToString()

    def SerializePartialToString(self) -> bytes:  # noqa: N802 # the name that protobuf's messages have
        """The bytes."""
        return self._bytes


@cache
def lean_export() -> Export:
    """The official ``OTLPSpanExporter.export``, with our encoder in the place of its own.

    It is the same code: what it checks, counts, logs, sends and repeats is the installed version's. If that
    version writes other bytes than we do, or calls its encoder in another way than known ones, it is returned
    as it is, and the log says so.
    """
    official: Export = OTLPSpanExporter.export
    reason = _difference(official)
    if reason is None:
        return _with_encoder(official)
    logger.warning("Spans are encoded by the official exporter, which takes longer: %s", reason)
    return official


def _difference(official: Export) -> str | None:
    """Why the official exporter must encode by itself; ``None`` if it need not."""
    code = getattr(official, "__code__", None)
    if code is None or not {ENCODER, "SerializePartialToString"} <= set(code.co_names):
        return "this version of it does not call its encoder as known ones do"
    try:
        from taskflow.observers.otlp.sample import sample_spans  # its imports are part of what may be unknown

        spans = sample_spans()
        for span in spans:
            span_bytes(span)  # `request_bytes` would ask the official encoder if this failed
        same = request_bytes(spans) == encode_spans(spans).SerializePartialToString()
    except Exception as exc:
        return f"this version's spans are unknown ({exc!r})"
    return None if same else "this version of it writes other bytes than known ones"


def _with_encoder(official: Export) -> Export:
    assert isinstance(official, FunctionType)
    names = {**official.__globals__, ENCODER: Encoded}
    return FunctionType(
        official.__code__, names, official.__name__, official.__defaults__, official.__closure__
    )
