#!/bin/sh
# Hypercorn exits with 0 when the application's startup fails.
#
# Packages: hypercorn 0.18.0, uvicorn 0.54.0, granian 2.8.9
# Expected: a server whose application says "lifespan.startup.failed" (or whose lifespan raises)
#     exits with a code that is not 0, as uvicorn (3) and granian (1) do.
# Seen: hypercorn prints the error of its worker process and exits with 0.
# Matters: "no database at startup" is a success for systemd's Restart=on-failure, for a Kubernetes
#     Job, for `set -e` and CI: no restart, no alarm, and nothing runs.
# Source: hypercorn/run.py and hypercorn/asyncio/lifespan.py (the LifespanFailureError).
#
# Output:
#     uvicorn 0.54.0: exit code 3, the reason is in its output: True
#     granian 2.8.9: exit code 1, the reason is in its output: True
#     hypercorn 0.18.0: exit code 0, the reason is in its output: True
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    hypercorn==0.18.0 uvicorn==0.54.0 granian==2.8.9
cd "$work"
cat > app.py <<'END'
async def app(scope, receive, send):
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
END
venv/bin/python - <<'END'
import importlib.metadata
import socket
import subprocess
import sys


def exit_code(server):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = {
        "hypercorn": ["--bind", f"127.0.0.1:{port}"],
        "uvicorn": ["--port", port],
        "granian": ["--interface", "asgi", "--port", port],
    }[server]
    command = [f"venv/bin/{server}", *options, "app:app"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, b"no database" in done.stdout


expected = {"uvicorn": 3, "granian": 1, "hypercorn": 0}
seen = {}
for server in expected:
    seen[server], told = exit_code(server)
    version = importlib.metadata.version(server)
    print(f"{server} {version}: exit code {seen[server]}, the reason is in its output: {told}")
if seen != expected:
    sys.exit(f"CHANGED: expected {expected}")
END
