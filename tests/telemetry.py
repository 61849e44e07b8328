"""Spans that an app makes in the test's own process, and how they hang together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from taskflow import OpenTelemetryObserver

PATIENCE = 30.0
"""Seconds until an event that should have come fails the test."""


class Telemetry:
    """A tracer provider and what it exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("the application")

    def observer(self, **options: Any) -> OpenTelemetryObserver:
        return OpenTelemetryObserver(self.provider, **options)

    def app(self) -> FastAPI:
        return FastAPI(telemetry={"tracer_provider": self.provider})

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.spans if span.name == name)
        return span


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def tree(spans: Sequence[ReadableSpan]) -> dict[str, str | None]:
    """The name of each span's parent, by its own name; every parent must be among the spans."""
    names = {span_id(span): span.name for span in spans}
    return {span.name: names[span.parent.span_id] if span.parent else None for span in spans}


def by_trace(spans: Sequence[ReadableSpan]) -> dict[int, list[ReadableSpan]]:
    traces: dict[int, list[ReadableSpan]] = {}
    for span in spans:
        traces.setdefault(trace_id(span), []).append(span)
    return traces


def client(app: FastAPI) -> httpx.AsyncClient:
    """A client that calls the app without a server."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop")


@contextmanager
def no_warnings(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that OpenTelemetry or asyncio complains of, such as a context that cannot be detached."""
    yield
    complaints = [r.getMessage() for r in caplog.records if r.name.startswith(("opentelemetry", "asyncio"))]
    assert complaints == []
