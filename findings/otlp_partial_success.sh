#!/bin/sh
# The OTLP/HTTP exporter never reads the answer: spans that the collector rejects count as delivered.
#
# Packages: opentelemetry-sdk 1.45.2, opentelemetry-exporter-otlp-proto-http 1.45.2
# Expected: a partial success, the protocol's way to say "I took your request, but not these spans", leaves
#     at least a line in the log. https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
# Seen: with rejected_spans=1 of 1 and an error_message, export() returns SUCCESS, nothing is logged, and
#     the exporter's own metrics count the span as exported, without error.type.
# Matters: a collector or a vendor that drops spans for their age, size or rate says so in each answer, and
#     nobody hears it: the trace has holes, and everything in the process says that it was sent.
# Source: opentelemetry/exporter/otlp/common/http.py, _OTLPHTTPClient.export: no use of result.content().
#
# Output:
#     opentelemetry-exporter-otlp-proto-http 1.45.2
#     the collector took 0 of 1 spans: 'too old'
#     export() returned SUCCESS, log lines: 0
#     counted as exported, by error.type: {None: 1}
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
cd "$work"
NO_PROXY=127.0.0.1 OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=true venv/bin/python - <<'END'
import http.server
import importlib.metadata
import logging
import sys
import threading

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

REASON = "too old"


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        spans = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
        partial = ExportTracePartialSuccess(rejected_spans=len(spans), error_message=REASON)
        print(f"the collector took 0 of {len(spans)} spans: {REASON!r}", flush=True)
        answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


lines = []
handler = logging.Handler()
handler.emit = lines.append
logging.getLogger().addHandler(handler)

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
reader = InMemoryMetricReader()
exporter = OTLPSpanExporter(
    endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces", meter_provider=MeterProvider([reader])
)
span = TracerProvider(shutdown_on_exit=False).get_tracer("finding").start_span("task")
span.end()

print("opentelemetry-exporter-otlp-proto-http", importlib.metadata.version("opentelemetry-exporter-otlp-proto-http"), flush=True)
result = exporter.export([span]).name
print(f"export() returned {result}, log lines: {len(lines)}")
counted = {}
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            if metric.name == "otel.sdk.exporter.span.exported":
                for point in metric.data.data_points:
                    counted[point.attributes.get("error.type")] = point.value
print("counted as exported, by error.type:", counted)
server.shutdown()
if (result, len(lines), counted) != ("SUCCESS", 0, {None: 1}):
    sys.exit("CHANGED: expected SUCCESS, no line in the log, and 1 span counted as exported")
END
