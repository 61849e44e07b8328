#!/bin/sh
# prometheus_client ignores the q values and the order of Accept: text first still gets OpenMetrics.
#
# Packages: prometheus_client 0.26.0
# Expected: the format with the highest q. Prometheus turns `scrape_protocols`, an ordered list of
#     its configuration, into q values, so that the list's first that the target knows is used.
# Seen: OpenMetrics whenever its name is in the header, even with "q=0", which says "never this".
#     One exception: "text/plain;version=1.0.0" in front of it gives text, even with a lower q.
# Matters: `scrape_protocols: [PrometheusText0.0.4, OpenMetricsText1.0.0]` has no effect on Python
#     targets (Go's client library sorts by q): the names in HELP and TYPE, escaping and exemplars are
#     not those of the format that was asked for. The list must not name OpenMetrics at all.
# Source: prometheus_client/exposition.py, choose_encoder: it returns at the first OpenMetrics.
#
# Output:
#     prometheus_client 0.26.0
#     Accept: text/plain;version=0.0.4
#         text/plain: # TYPE tasks_total counter
#     Accept: text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.3
#         application/openmetrics-text: # TYPE tasks counter
#     Accept: text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0
#         application/openmetrics-text: # TYPE tasks counter
#     Accept: text/plain;version=1.0.0;q=0.1,application/openmetrics-text;version=1.0.0;q=0.9
#         text/plain: # TYPE tasks_total counter
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check prometheus_client==0.26.0
cd "$work"
venv/bin/python - <<'END'
import importlib.metadata
import sys
import urllib.request

from prometheus_client import CollectorRegistry, Counter, start_http_server

registry = CollectorRegistry()
Counter("tasks", "Tasks.", registry=registry).inc()
server, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def scrape(accept):
    """The media type of the answer, and its TYPE line for the counter."""
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    with opener.open(urllib.request.Request(url, headers={"Accept": accept})) as answer:
        lines = answer.read().decode().splitlines()
        kind = answer.headers["Content-Type"].split(";")[0]
    return kind, next(line for line in lines if line.startswith("# TYPE"))


TEXT = ("text/plain", "# TYPE tasks_total counter")
OPENMETRICS = ("application/openmetrics-text", "# TYPE tasks counter")
expected = {
    "text/plain;version=0.0.4": TEXT,
    "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.3": OPENMETRICS,
    "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0": OPENMETRICS,
    "text/plain;version=1.0.0;q=0.1,application/openmetrics-text;version=1.0.0;q=0.9": TEXT,
}
print("prometheus_client", importlib.metadata.version("prometheus_client"))
seen = {accept: scrape(accept) for accept in expected}
for accept, (kind, line) in seen.items():
    print(f"Accept: {accept}\n    {kind}: {line}")
server.shutdown()
if seen != expected:
    sys.exit(f"CHANGED: expected {expected}")
END
