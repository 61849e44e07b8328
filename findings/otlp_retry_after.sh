#!/bin/sh
# A Retry-After longer than the exporter's timeout does not delay a batch: it loses it at once.
#
# Packages: opentelemetry-sdk 1.45.2, opentelemetry-exporter-otlp-proto-http 1.45.2
# Expected: the exporter, which has 10 seconds for a batch, uses them: it tries again as it does without the
#     header (after 1, 2 and 4 seconds), or the batch goes back into the queue until the time has come.
# Seen: 503 with "Retry-After: 30" ends the export after one request and no wait: the batch is dropped.
#     Without the header the same collector gets it at the second attempt, a second later.
# Matters: 429 and 503 with Retry-After of 15 to 60 seconds is how rate limiters and overloaded collectors
#     ask for patience. The polite header costs every batch of that time, though the queue has room; a
#     collector that only restarts, and says nothing, loses nothing.
# Source: opentelemetry/exporter/otlp/common/http.py, _OTLPHTTPClient.export: backoff = retry_after, and
#     "backoff > (deadline - time.time())" returns a failure. BatchSpanProcessor keeps no failed batch.
#
# Output (the seconds differ a little):
#     opentelemetry-exporter-otlp-proto-http 1.45.2
#     503 once, without Retry-After: delivered 1, requests 2, 1.0 s
#     503 once, Retry-After: 2: delivered 1, requests 2, 2.0 s
#     503 once, Retry-After: 30: delivered 0, requests 1, 0.0 s
#     the collector is well again, force_flush: True, delivered 0
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
import logging
import sys
import threading
import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

logging.disable()
refusals = []
answered = []


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        headers = refusals.pop() if refusals else None
        answered.append(200 if headers is None else 503)
        self.send_response(answered[-1])
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=server.serve_forever, daemon=True).start()
provider = TracerProvider(shutdown_on_exit=False)
endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))

print("opentelemetry-exporter-otlp-proto-http", importlib.metadata.version("opentelemetry-exporter-otlp-proto-http"))
seen = []
for name, headers in (
    ("without Retry-After", {}),
    ("Retry-After: 2", {"Retry-After": "2"}),
    ("Retry-After: 30", {"Retry-After": "30"}),
):
    refusals.append(headers)
    answered.clear()
    provider.get_tracer("finding").start_span("task").end()
    start = time.monotonic()
    provider.force_flush()
    took = time.monotonic() - start
    seen.append((answered.count(200), len(answered)))
    print(f"503 once, {name}: delivered {seen[-1][0]}, requests {seen[-1][1]}, {took:.1f} s")
again = provider.force_flush()
print(f"the collector is well again, force_flush: {again}, delivered {answered.count(200)}")
provider.shutdown()
if seen != [(1, 2), (1, 2), (0, 1)] or took > 5 or answered.count(200):
    sys.exit("CHANGED: expected the last batch to be lost after one request")
END
