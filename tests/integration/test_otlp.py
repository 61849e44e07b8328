"""The lean OTLP exporter against a collector, beside the official one: what is sent, repeated and lost."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from opentelemetry.exporter.otlp.proto.http import Compression, trace_exporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from taskflow import OpenTelemetryObserver, TaskManager, task_log
from taskflow.observers.otel.flush import in_daemon_thread
from taskflow.observers.otel.lean import LeanSpan
from taskflow.observers.otlp import BatchSpanProcessor, OTLPSpanExporter, answers, processor, request
from taskflow.observers.otlp.sample import sample_spans
from taskflow.observers.otlp.spans import span_bytes
from tests.otlp import Answer, Collector, partly, running_collector
from tests.processes import PATIENCE

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
AT_ONCE = {"Retry-After": "0"}
TOO_LATE = {"Retry-After": "3600"}

BOTH = pytest.mark.parametrize("exporter_class", [trace_exporter.OTLPSpanExporter, OTLPSpanExporter])


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


def spans() -> list[ReadableSpan]:
    return list(sample_spans())


def traced(batches: BatchSpanProcessor) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(batches)
    return provider


def end_spans(provider: TracerProvider, *names: str) -> None:
    for name in names:
        provider.get_tracer("test").start_span(name).end()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_what_is_sent_is_what_the_official_exporter_sends(collector: Collector) -> None:
    for exporter_class in (trace_exporter.OTLPSpanExporter, OTLPSpanExporter):
        assert SUCCESS is exporter_class(collector.traces, headers={"X-Key": "1"}).export(spans())
    (official, lean), (its_headers, our_headers) = collector.bodies, collector.headers
    assert official == lean
    assert its_headers == our_headers
    assert "1" == our_headers["x-key"]


@pytest.mark.parametrize("compression", Compression)
def test_compression_is_the_official_exporters(collector: Collector, compression: Compression) -> None:
    OTLPSpanExporter(collector.traces, compression=compression).export(spans())
    assert ["run sample", ""] == collector.names()
    expected = None if compression is Compression.NoCompression else compression.value
    assert expected == collector.headers[0].get("Content-Encoding")


def test_environment_variables_are_the_official_exporters(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=from%20here")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    OTLPSpanExporter().export(spans())
    assert ["/v1/traces"] == collector.paths
    assert ("from here", "gzip") == (collector.headers[0]["x-key"], collector.headers[0]["Content-Encoding"])


@BOTH
@pytest.mark.parametrize(
    ("script", "result", "sent"),
    [
        ([Answer(503, AT_ONCE), Answer(429, AT_ONCE)], SUCCESS, 3),
        ([Answer(503, AT_ONCE)] * 9, FAILURE, 6),
        ([Answer(503, TOO_LATE)], FAILURE, 1),
        ([Answer(400)], FAILURE, 1),
        ([Answer(500)], FAILURE, 1),
        ([Answer(200, body=b"no protobuf")], SUCCESS, 1),
        ([Answer(202, body=b"\xff")], SUCCESS, 1),
    ],
    ids=lambda value: None,
)
def test_errors_are_repeated_and_given_up_as_by_the_official_exporter(
    exporter_class: type[trace_exporter.OTLPSpanExporter],
    script: list[Answer],
    result: SpanExportResult,
    sent: int,
) -> None:
    with running_collector(*script) as collector:
        exporter = exporter_class(collector.traces)
        assert (result, sent) == (exporter.export(spans()), len(collector.bodies))
        assert [collector.bodies[0]] * sent == collector.bodies
        if isinstance(exporter, OTLPSpanExporter):
            assert (0 if result is SUCCESS else 2) == exporter.lost


@BOTH
def test_a_collector_that_is_slow_is_given_up_after_the_time_out(
    collector: Collector, exporter_class: type[trace_exporter.OTLPSpanExporter]
) -> None:
    collector.open.clear()
    assert FAILURE is exporter_class(collector.traces, timeout=0.05).export(spans())


def test_a_collector_that_is_not_there_loses_the_spans() -> None:
    exporter = OTLPSpanExporter("http://127.0.0.1:1/v1/traces", timeout=0.05)
    assert (FAILURE, 2) == (exporter.export(spans()), exporter.lost)


def test_a_partial_success_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    with running_collector(partly(1, "too old")) as collector:
        exporter = OTLPSpanExporter(collector.traces)
        assert [(SUCCESS, 1), (SUCCESS, 1)] == [(exporter.export(spans()), exporter.lost) for _ in range(2)]
    assert ["The collector did not take 1 of 2 spans: too old"] == messages(caplog)


def test_a_redirect_is_no_success(caplog: pytest.LogCaptureFixture) -> None:
    with running_collector(Answer(307, {"Location": "https://new.example/"})) as collector:
        exporter = OTLPSpanExporter(collector.traces)
        assert (FAILURE, 2) == (exporter.export(spans()), exporter.lost)
    assert [
        "The collector did not take 2 of 2 spans: it answered 307, and redirects are not followed"
    ] == messages(caplog)


def test_a_session_of_the_application_is_used_and_keeps_its_hooks(collector: Collector) -> None:
    seen: list[int] = []
    session = requests.Session()
    session.headers["X-Session"] = "1"
    session.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
    collector.answers.append(partly(2, "full"))
    exporter = OTLPSpanExporter(collector.traces, session=session)
    assert (SpanExportResult.FAILURE, 2) == (exporter.export(spans()), exporter.lost)
    assert ([200], "1") == (seen, collector.headers[0]["X-Session"])


def test_a_session_of_a_credential_provider_is_found_by_the_official_exporter(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = requests.Session()
    session.headers["Authorization"] = "Bearer 1"
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "mine")
    monkeypatch.setattr(trace_exporter, "_load_session_from_envvar", lambda name: session)
    collector.answers.append(partly(1, "full"))
    exporter = OTLPSpanExporter(collector.traces)
    exporter.export(spans())
    assert ("Bearer 1", 1) == (collector.headers[0]["Authorization"], exporter.lost)


def test_an_unknown_transport_is_told_and_still_used(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(answers, "getattr", lambda thing, name, default: default, raising=False)
    exporter = OTLPSpanExporter(collector.traces)
    assert (SUCCESS, ["run sample", ""]) == (exporter.export(spans()), collector.names())
    assert [
        "This version of the official exporter is unknown: partial successes are not noticed"
    ] == messages(caplog)


def test_a_batch_beyond_the_largest_request_is_dropped_and_told(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = OTLPSpanExporter(collector.traces, max_request_size=10)
    assert (FAILURE, 2, []) == (exporter.export(spans()), exporter.lost, collector.bodies)
    assert "exceeds max_request_size 10 bytes" in caplog.text


def test_the_exporters_own_metrics_are_counted(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    reader = InMemoryMetricReader()
    meter_provider = MeterProvider([reader], shutdown_on_exit=False)
    OTLPSpanExporter(collector.traces, meter_provider=meter_provider).export(spans())
    data: Any = reader.get_metrics_data()
    found = {metric.name: metric for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert 2 == found["otel.sdk.exporter.span.exported"].data.data_points[0].value
    meter_provider.shutdown()


def test_after_shutdown_spans_are_refused(collector: Collector) -> None:
    exporter = OTLPSpanExporter(collector.traces)
    exporter.shutdown()
    assert (FAILURE, 2, []) == (exporter.export(spans()), exporter.lost, collector.bodies)


# force_flush


def test_a_flush_is_true_when_all_spans_have_arrived(collector: Collector) -> None:
    provider = traced(BatchSpanProcessor(OTLPSpanExporter(collector.traces), max_export_batch_size=2))
    end_spans(provider, "a", "b", "c")
    assert provider.force_flush()
    assert ["a", "b", "c"] == sorted(collector.names())
    provider.shutdown()


@pytest.mark.parametrize(
    "answer", [Answer(400), Answer(503, TOO_LATE), Answer(308, {"Location": "/"}), partly(1, "")]
)
def test_a_flush_is_false_when_spans_were_lost_and_true_again_afterwards(answer: Answer) -> None:
    with running_collector(answer) as collector:
        provider = traced(BatchSpanProcessor(OTLPSpanExporter(collector.traces)))
        end_spans(provider, "lost")
        assert [False, True] == [provider.force_flush(), provider.force_flush()]
        end_spans(provider, "found")
        assert provider.force_flush()
        assert ["lost", "found"] == collector.names()
        provider.shutdown()


def test_a_flush_returns_after_its_time_and_the_export_goes_on(collector: Collector) -> None:
    collector.open.clear()
    provider = traced(BatchSpanProcessor(OTLPSpanExporter(collector.traces)))
    end_spans(provider, "slow")
    assert not provider.force_flush(1)
    assert collector.arrived.acquire(timeout=PATIENCE)
    collector.open.set()
    assert provider.force_flush()
    assert ["slow"] == collector.names()
    provider.shutdown()


def test_a_flush_waits_for_the_batch_that_is_under_way(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    start = in_daemon_thread
    monkeypatch.setattr(processor, "in_daemon_thread", lambda call: (asked.set(), start(call))[1])
    collector.open.clear()
    collector.answers.append(Answer(400))
    provider = traced(BatchSpanProcessor(OTLPSpanExporter(collector.traces), max_export_batch_size=1))
    end_spans(provider, "under way")
    assert collector.arrived.acquire(timeout=PATIENCE)
    results: list[bool] = []
    flushing = threading.Thread(target=lambda: results.append(provider.force_flush()))
    flushing.start()
    assert asked.wait(PATIENCE)
    collector.open.set()
    flushing.join(PATIENCE)
    assert [False] == results
    provider.shutdown()


def test_a_flush_after_shutdown_is_false(collector: Collector) -> None:
    batches = BatchSpanProcessor(OTLPSpanExporter(collector.traces))
    batches.shutdown()
    assert not batches.force_flush()


class NoMoreThreads:
    def __init__(self, **_: object) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")


def test_a_flush_while_the_interpreter_ends_does_without_a_thread(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = traced(BatchSpanProcessor(OTLPSpanExporter(collector.traces)))
    end_spans(provider, "last")
    monkeypatch.setitem(in_daemon_thread.__globals__, "threading", SimpleNamespace(Thread=NoMoreThreads))
    assert provider.force_flush()
    assert ["last"] == collector.names()
    provider.shutdown()


async def test_taskflows_own_spans_are_lean_and_are_encoded_by_us(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = BatchSpanProcessor(OTLPSpanExporter(collector.traces))
    seen: list[type] = []
    monkeypatch.setattr(request, "span_bytes", lambda span: (seen.append(type(span)), span_bytes(span))[1])
    manager = TaskManager(loggers=[OpenTelemetryObserver(traced(batches))])

    @manager.task()
    async def work() -> None:
        task_log("done", number=1)

    async with manager:
        manager.enqueue(work)
        await manager.drain()
    assert ["enqueue work", "run work"] == collector.names()
    assert [LeanSpan] * 2 == seen
    batches.shutdown()


async def test_the_observer_says_at_its_end_that_spans_were_lost(caplog: pytest.LogCaptureFixture) -> None:
    with running_collector(Answer(400)) as collector:
        provider = traced(BatchSpanProcessor(OTLPSpanExporter(collector.traces)))
        end_spans(provider, "lost")
        await OpenTelemetryObserver(provider).close()
        provider.shutdown()
    last = caplog.records[-1]
    assert (logging.WARNING, "TracerProvider was not flushed: some of what it had buffered may be lost") == (
        last.levelno,
        last.getMessage(),
    )


def test_spans_of_many_threads_arrive_once(collector: Collector) -> None:
    provider = traced(BatchSpanProcessor(OTLPSpanExporter(collector.traces), max_queue_size=10_000))
    names = [[f"{thread}-{number}" for number in range(200)] for thread in range(8)]
    threads = [threading.Thread(target=end_spans, args=(provider, *group)) for group in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        assert provider.force_flush()
        thread.join(PATIENCE)
    provider.shutdown()
    assert sorted(name for group in names for name in group) == sorted(collector.names())


BLOCKED = """
import sys
sys.modules["opentelemetry.exporter.otlp.proto.http"] = None
import taskflow.observers
import taskflow.observers.otlp
"""


def test_without_the_official_exporter_the_import_names_the_command() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=False)
    assert 'pip install "opentelemetry-exporter-otlp-proto-http"' in done.stderr.splitlines()[-1]


UNASKED = """
import sys
import taskflow.manager, taskflow.observers.opentelemetry
print("taskflow.observers.otlp" in sys.modules)
"""


def test_it_is_a_span_exporter_and_nothing_of_taskflow_uses_it_unasked() -> None:
    assert issubclass(OTLPSpanExporter, SpanExporter)
    done = subprocess.run([sys.executable, "-c", UNASKED], capture_output=True, text=True, check=True)
    assert "False" == done.stdout.strip()
