"""A collector for tests: takes OTLP over HTTP on loopback, and answers as the test says."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

DECODERS: Mapping[str | None, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    None: bytes,
}


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of one answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def partly(rejected: int, reason: str) -> Answer:
    """The collector takes all but so many spans."""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=reason)
    body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    return Answer(headers={"Content-Type": "application/x-protobuf"}, body=body)


class Collector:
    """What was sent to it.

    Attributes:
        answers: what it says to the next requests; 200 when there are no more.
        open: it answers while this is set.
        arrived: released once for each request, before it is answered.
        bodies, headers, paths: of each request, bodies as they were before compression.
    """

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.open = threading.Event()
        self.open.set()
        self.arrived = threading.Semaphore(0)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.url = ""

    @property
    def traces(self) -> str:
        """What an exporter's ``endpoint`` is."""
        return f"{self.url}/v1/traces"

    def names(self) -> list[str]:
        """The names of all spans that were sent, in order; repeated batches count again."""
        requests = map(ExportTraceServiceRequest.FromString, self.bodies)
        return [
            span.name
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.paths.append(path)
        self.headers.append(headers)
        self.bodies.append(DECODERS[headers.get("Content-Encoding")](body))
        self.arrived.release()
        self.open.wait()
        return self.answers.pop(0) if self.answers else Answer()


@contextmanager
def running_collector(*answers: Answer) -> Iterator[Collector]:
    """A collector on a free port."""
    collector = Collector(*answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = collector.take(self.path, dict(self.headers), body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield collector
        finally:
            collector.open.set()
            server.shutdown()
