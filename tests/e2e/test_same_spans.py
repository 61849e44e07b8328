"""Lean spans and the SDK's own, as a real Jaeger and a real OpenTelemetry Collector get them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from taskflow import OpenTelemetryObserver, TaskManager
from taskflow.observers.otel.lean import LeanSpans
from tests.collector import running_collector
from tests.jaeger import Jaeger, running_jaeger
from tests.same_tasks import Counted, run_tasks, timeless

SERVICE = "shop"

KINDS = {"ordinary": False, "lean": True}


async def send_spans(endpoint: str, *, lean: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the spans of the same tasks, with the same ids."""
    ids = itertools.count(1)
    monkeypatch.setattr("taskflow.execution.enqueue.new_task_id", lambda: f"task {next(ids)}")
    provider = TracerProvider(
        id_generator=Counted(), resource=Resource({"service.name": SERVICE}), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    observer = OpenTelemetryObserver(provider, lean_spans=lean)
    assert isinstance(observer._spans, LeanSpans) is lean
    manager = TaskManager(loggers=[observer])
    await run_tasks(manager, provider.get_tracer("theirs"))
    provider.shutdown()


async def test_the_traces_in_jaeger_are_the_same_to_the_byte_but_for_times(
    executable: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = executable("jaeger-all-in-one", variable="JAEGER_BIN")
    found = {}
    for kind, lean in KINDS.items():
        (folder := tmp_path / kind).mkdir()
        with running_jaeger(binary, folder) as jaeger:
            await send_spans(jaeger.otlp_http, lean=lean, monkeypatch=monkeypatch)
            jaeger.settle()
            found[kind] = stored(jaeger)
    assert found["ordinary"] == found["lean"]
    assert "enqueue quiet" in found["lean"]


def stored(jaeger: Jaeger) -> str:
    """What Jaeger answers, in one order, without the times."""
    traces = sorted(jaeger.raw_traces(SERVICE), key=lambda trace: str(trace["traceID"]))
    for trace in traces:
        trace["spans"].sort(key=lambda span: str(span["spanID"]))
        for span in trace["spans"]:
            forget_times(span)
    return json.dumps(traces)


def forget_times(span: dict[str, Any]) -> None:
    for timed in (span, *span["logs"]):
        for name in ("startTime", "duration", "timestamp"):
            timed.pop(name, None)
    for tag in span["tags"]:
        if tag["key"] == "taskflow.queue_duration":
            tag["value"] = None


async def test_what_a_collector_sends_on_is_the_same_to_the_byte_but_for_times(
    executable: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = executable("otlp-collector", variable="COLLECTOR_BIN")
    found = {}
    with running_collector(binary, tmp_path) as collector:
        for kind, lean in KINDS.items():
            await send_spans(collector.otlp_http, lean=lean, monkeypatch=monkeypatch)
            found[kind] = timeless(merged(collector.sent_on))
            collector.sent_on.clear()
    assert found["ordinary"] == found["lean"]
    assert b"enqueue quiet" in found["lean"]


def merged(requests: list[ExportTraceServiceRequest]) -> ExportTraceServiceRequest:
    """All spans, in the order in which they were sent, however the batches were cut."""
    whole = ExportTraceServiceRequest()
    for request in requests:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    one = whole.resource_spans.add(resource=resource.resource, schema_url=resource.schema_url)
                    one.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url, spans=[span])
    return whole
