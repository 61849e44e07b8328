"""A real OpenTelemetry Collector for tests, and what it sends on to the next one."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.processes import eventually, free_port

CONFIGURATION = """
receivers:
  otlp:
    protocols:
      http:
        endpoint: 127.0.0.1:{port}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{next_port}
    compression: none
    sending_queue:
      enabled: false # whoever sends waits until it was sent on
service:
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [otlp_http]
  telemetry:
    metrics:
      level: none
"""


@dataclass(frozen=True)
class Collector:
    """A running Collector.

    Attributes:
        otlp_http: what ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set to.
        sent_on: the requests that came out of it, in order.
    """

    otlp_http: str
    sent_on: list[ExportTraceServiceRequest] = field(default_factory=list)


@contextmanager
def running_collector(binary: Path, folder: Path) -> Iterator[Collector]:
    """The program of ``.ci/otlp-collector``, between the test and a server of the test's own."""
    port = free_port()
    collector = Collector(f"http://127.0.0.1:{port}")
    with _receiving(collector.sent_on) as next_port:
        configuration = CONFIGURATION.format(port=port, next_port=next_port)
        with (
            (folder / "collector.log").open("wb") as log,
            subprocess.Popen([binary, f"--config=yaml:{configuration}"], stdout=log, stderr=log) as process,
        ):
            try:
                eventually(lambda: process.poll() is not None or _listens(collector))
                assert process.poll() is None, (folder / "collector.log").read_text()
                yield collector
            finally:
                process.terminate()


def _listens(collector: Collector) -> bool:
    try:
        httpx.get(collector.otlp_http)
    except httpx.TransportError:
        return False
    return True


@contextmanager
def _receiving(requests: list[ExportTraceServiceRequest]) -> Iterator[int]:
    """A server that takes requests of OTLP; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
