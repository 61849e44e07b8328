#!/bin/sh
# force_flush() of the batch span processor ignores its timeout, and says True for lost spans.
#
# Packages: opentelemetry-sdk 1.45.2, opentelemetry-exporter-otlp-proto-http 1.45.2
# Expected: force_flush(500) returns after half a second at most, and returns False if the spans
#     could not be delivered: its docstring says "False if the timeout is exceeded, True otherwise".
# Seen: with a collector that answers 503 it blocks for the exporter's whole time of retries (over
#     5 seconds), returns True, and the spans are gone: a second force_flush sends nothing, although
#     the collector is well again.
# Matters: who flushes at shutdown before the process ends, inside a grace period, overruns it,
#     blocks an event loop that long, and takes True for "delivered".
# Source: opentelemetry/sdk/_shared_internal/__init__.py, BatchProcessor.force_flush: timeout_millis
#     is not read, and the exporter's result is thrown away.
#
# Output (the times differ a little from run to run):
#     opentelemetry-sdk 1.45.2
#     Transient error Service Unavailable encountered while exporting spans batch, retrying in 0.94s.
#     Transient error Service Unavailable encountered while exporting spans batch, retrying in 2.20s.
#     Transient error Service Unavailable encountered while exporting spans batch, retrying in 3.48s.
#     Failed to export spans batch due to timeout, max retries or shutdown.
#     collector answers 503: force_flush(500 ms) returned True after 6.7 s
#     requests answered with 503: 4
#     collector answers 200: force_flush(500 ms) returned True, batches delivered: 0
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
cd "$work"
NO_PROXY=127.0.0.1 venv/bin/python - <<'END'
import http.server
import importlib.metadata
import sys
import threading
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

answer = 503
answered = []


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        answered.append(answer)
        self.send_response(answer)
        self.end_headers()

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces")
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(exporter))
with provider.get_tracer("finding").start_as_current_span("task"):
    pass

print("opentelemetry-sdk", importlib.metadata.version("opentelemetry-sdk"))
start = time.monotonic()
result = provider.force_flush(500)
took = time.monotonic() - start
print(f"collector answers 503: force_flush(500 ms) returned {result} after {took:.1f} s")
print(f"requests answered with 503: {len(answered)}")
answer = 200
again = provider.force_flush(500)
delivered = answered.count(200)
print(f"collector answers 200: force_flush(500 ms) returned {again}, batches delivered: {delivered}")
provider.shutdown()
if not (result is True and took > 2 and delivered == 0):
    sys.exit("CHANGED: expected True after much more than 500 ms, and the spans lost")
END
