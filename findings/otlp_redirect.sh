#!/bin/sh
# The OTLP/HTTP exporter takes a redirect for a success: the spans are gone, and no line says so.
#
# Packages: opentelemetry-sdk 1.45.2, opentelemetry-exporter-otlp-proto-http 1.45.2
# Expected: a redirect is followed, or it is a failure with a line in the log, as 404 is.
# Seen: for 301, 302, 307 and 308 export() returns SUCCESS after one request, which is not followed, and
#     nothing is logged. The exporter's own metrics do not show it either: they count these spans as exported,
#     and even those of a 404, without the attribute error.type that a failure should have.
# Matters: an ingress that redirects http:// to https:// or /v1/traces to /v1/traces/, or a login page in
#     front of a collector, swallows all telemetry, while every check in the process says that it is sent.
# Source: opentelemetry/exporter/otlp/common/http.py, _OTLPHTTPClient.export: "200 <= status_code < 400";
#     opentelemetry/exporter/http/transport/_requests.py: "allow_redirects=False".
#
# Output:
#     opentelemetry-exporter-otlp-proto-http 1.45.2
#     301: SUCCESS, requests: ['/v1/traces'], log lines: 0
#     302: SUCCESS, requests: ['/v1/traces'], log lines: 0
#     307: SUCCESS, requests: ['/v1/traces'], log lines: 0
#     308: SUCCESS, requests: ['/v1/traces'], log lines: 0
#     404: FAILURE, requests: ['/v1/traces'], log lines: 1
#     counted as exported, by error.type: {None: 5}
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
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

answer = 200
requested = []


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        requested.append(self.path)
        self.send_response(answer)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

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

print("opentelemetry-exporter-otlp-proto-http", importlib.metadata.version("opentelemetry-exporter-otlp-proto-http"))
seen = {}
for answer in (301, 302, 307, 308, 404):
    requested.clear(), lines.clear()
    result = exporter.export([span]).name
    seen[answer] = (result, list(requested), len(lines))
    print(f"{answer}: {result}, requests: {requested}, log lines: {len(lines)}")
counted = {}
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            if metric.name == "otel.sdk.exporter.span.exported":
                for point in metric.data.data_points:
                    counted[point.attributes.get("error.type")] = point.value
print("counted as exported, by error.type:", counted)
server.shutdown()
redirected = ("SUCCESS", ["/v1/traces"], 0)
expected = {301: redirected, 302: redirected, 307: redirected, 308: redirected, 404: ("FAILURE", ["/v1/traces"], 1)}
if seen != expected or counted != {None: 5}:
    sys.exit(f"CHANGED: expected {expected}, and 5 spans counted as exported")
END
