#!/bin/sh
# Granian ends under a busy background task without cancelling it: not even its `finally` runs.
#
# Packages: granian 2.8.9, uvicorn 0.54.0, hypercorn 0.18.0, starlette 1.10.0
# Expected: at SIGTERM a server waits for background tasks (they are part of the request's ASGI
#     call), or cancels them, so that `except CancelledError` and `finally` can clean up.
# Seen: uvicorn waits for the task's end. hypercorn waits for its graceful timeout (3 seconds), then
#     cancels the task. granian runs the lifespan's shutdown and exits at once with 0; the task just
#     stops existing: it neither ends nor is it cancelled, its `finally` never runs, nothing is
#     logged. --workers-kill-timeout does not change this. A request that still owes its response is
#     waited for, so that all looks well in a test with a slow response.
# Matters: locks stay taken, files half written, rows "running", at each deployment; and code that
#     relies on `finally` was right on the other two servers.
#
# Output:
#     uvicorn 0.54.0, exit -15: task started, task ended, task finally, lifespan shutdown
#     hypercorn 0.18.0, exit 0: task started, task cancelled, task finally, lifespan shutdown
#     granian 2.8.9, exit 0: task started, lifespan shutdown
#     granian, a request that owes its response, exit 0: HTTP/1.1 200 OK; slow started, lifespan shutdown
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    granian==2.8.9 uvicorn==0.54.0 hypercorn==0.18.0 starlette==1.10.0
cd "$work"
cat > app.py <<'END'
import asyncio
import contextlib

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def say(text):
    with open("events", "a") as file:
        file.write(text + "\n")


async def task():
    say("task started")
    try:
        await asyncio.sleep(6)
        say("task ended")
    except asyncio.CancelledError:
        say("task cancelled")
        raise
    finally:
        say("task finally")


async def quick(request):
    return PlainTextResponse("ok", background=BackgroundTask(task))


async def slow(request):
    say("slow started")
    await asyncio.sleep(2)
    return PlainTextResponse("ok")


@contextlib.asynccontextmanager
async def lifespan(app):
    yield
    say("lifespan shutdown")


app = Starlette(routes=[Route("/quick", quick), Route("/slow", slow)], lifespan=lifespan)
END
venv/bin/python - <<'END'
import contextlib
import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("the server did not start")
        time.sleep(0.05)


def events():
    return open("events").read().splitlines() if os.path.exists("events") else []


def terminate(server, path):
    """Asks for `path`, sends SIGTERM while it is busy; returns exit code, events, and the answer."""
    with contextlib.suppress(FileNotFoundError):
        os.remove("events")
    port = free_port()
    command = {
        "granian": ["granian", "--interface", "asgi", "--workers-kill-timeout", "20", "--port", f"{port}"],
        "uvicorn": ["uvicorn", "--port", f"{port}"],
        "hypercorn": ["hypercorn", "--bind", f"127.0.0.1:{port}"],
    }[server]
    command[0] = f"venv/bin/{command[0]}"
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([*command, "app:app"], stdout=quiet, stderr=quiet)
    try:
        client = None

        def connected():
            nonlocal client
            with contextlib.suppress(OSError):
                client = socket.create_connection(("127.0.0.1", port))
            return client

        until(connected)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        answer = client.recv(1000) if path == "/quick" else b""
        until(events)
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
        client.settimeout(5)
        answer = answer or client.recv(1000)
        return code, events(), answer.split(b"\r\n")[0].decode()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


seen = {}
for server in ("uvicorn", "hypercorn", "granian"):
    code, happened, _ = terminate(server, "/quick")
    seen[server] = happened
    print(f"{server} {importlib.metadata.version(server)}, exit {code}: {', '.join(happened)}")
code, happened, answer = terminate("granian", "/slow")
print(f"granian, a request that owes its response, exit {code}: {answer}; {', '.join(happened)}")
expected = {
    "uvicorn": ["task started", "task ended", "task finally", "lifespan shutdown"],
    "hypercorn": ["task started", "task cancelled", "task finally", "lifespan shutdown"],
    "granian": ["task started", "lifespan shutdown"],
}
if seen != expected or "200" not in answer:
    sys.exit(f"CHANGED: expected {expected}, and 200 for the slow response")
END
