"""A real Jaeger for tests: started on free ports, asked through its query API, stopped by its own pid."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.processes import PATIENCE, eventually

# Every listener that all-in-one opens: a port that is not given here is a fixed one.
LISTENERS = {
    "otlp_grpc": "--collector.otlp.grpc.host-port",
    "otlp_http": "--collector.otlp.http.host-port",
    "query_http": "--query.http-server.host-port",
    "query_grpc": "--query.grpc-server.host-port",
    "collector_grpc": "--collector.grpc-server.host-port",
    "collector_http": "--collector.http-server.host-port",
    "admin": "--admin.http.host-port",
}


@dataclass(frozen=True)
class JaegerSpan:
    """A span as the query API gives it; ``warnings`` is what Jaeger finds wrong with it."""

    trace_id: str
    span_id: str
    parent_id: str | None
    links: tuple[tuple[str, str], ...]
    name: str
    service: str
    start: int
    duration: int
    tags: dict[str, Any]
    logs: list[dict[str, Any]]
    log_times: list[int]
    warnings: list[str]

    @classmethod
    def parse(cls, raw: dict[str, Any], processes: dict[str, Any]) -> JaegerSpan:
        """Read one element of ``spans``; times are microseconds, ``start`` since the epoch."""
        references = [(ref["refType"], ref["traceID"], ref["spanID"]) for ref in raw["references"]]
        return cls(
            trace_id=raw["traceID"],
            span_id=raw["spanID"],
            parent_id=next((span for kind, _, span in references if kind == "CHILD_OF"), None),
            links=tuple((trace, span) for kind, trace, span in references if kind == "FOLLOWS_FROM"),
            name=raw["operationName"],
            service=processes[raw["processID"]]["serviceName"],
            start=raw["startTime"],
            duration=raw["duration"],
            tags={tag["key"]: tag["value"] for tag in raw["tags"]},
            logs=[{field["key"]: field["value"] for field in log["fields"]} for log in raw["logs"]],
            log_times=[log["timestamp"] for log in raw["logs"]],
            warnings=raw["warnings"] or [],
        )


Trace = list[JaegerSpan]


@dataclass(frozen=True)
class Jaeger:
    """Addresses of a running server."""

    ports: dict[str, int]

    @property
    def otlp_http(self) -> str:
        """What ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set to for OTLP over HTTP."""
        return self._url("otlp_http")

    @property
    def otlp_grpc(self) -> str:
        """The same for OTLP over gRPC."""
        return self._url("otlp_grpc")

    def _url(self, listener: str) -> str:
        return f"http://127.0.0.1:{self.ports[listener]}"

    def is_ready(self) -> bool:
        """Whether the health check says that all parts are up."""
        try:
            return httpx.get(self._url("admin")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def traces(self, service: str, **tags: str) -> list[Trace]:
        """Every trace with a span of ``service`` that has ``tags`` (``__`` stands for a dot)."""
        return [
            [JaegerSpan.parse(span, trace["processes"]) for span in trace["spans"]]
            for trace in self.raw_traces(service, **tags)
        ]

    def raw_traces(self, service: str, **tags: str) -> list[dict[str, Any]]:
        """The same, as the query API gives them."""
        wanted = {name.replace("__", "."): value for name, value in tags.items()}
        params = {"service": service, "limit": "20000", "lookback": "1h", "tags": json.dumps(wanted)}
        answer = httpx.get(f"{self._url('query_http')}/api/traces", params=params, timeout=PATIENCE)
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    def settle(self) -> None:
        """Return when all that was sent can be found: with one worker, spans are stored as they came."""
        service = f"sentinel-{uuid.uuid4()}"
        provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{self.otlp_http}/v1/traces")
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.get_tracer("tests").start_span("sentinel").end()
        provider.shutdown()
        eventually(lambda: self.traces(service))


@contextmanager
def running_jaeger(binary: Path, folder: Path) -> Iterator[Jaeger]:
    """Jaeger all-in-one with its storage in memory; its log is in ``folder``."""
    jaeger = Jaeger(dict(zip(LISTENERS, _free_ports(len(LISTENERS)), strict=True)))
    command = [str(binary), "--log-level=warn", "--collector.num-workers=1"]
    command += [f"{option}=127.0.0.1:{jaeger.ports[name]}" for name, option in LISTENERS.items()]
    # It traces itself by default, and waits at its end for a collector on the fixed port.
    environment = {**os.environ, "SPAN_STORAGE_TYPE": "memory", "OTEL_TRACES_SAMPLER": "always_off"}
    with (
        (folder / "jaeger.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            eventually(lambda: process.poll() is not None or jaeger.is_ready())
            assert process.poll() is None, (folder / "jaeger.log").read_text()
            yield jaeger
        finally:
            process.terminate()


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]
