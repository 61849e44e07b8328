#!/bin/sh
# A FileResponse whose range cannot be served never runs its background task.
#
# Packages: starlette 1.10.0
# Expected: a response's background task runs after the response was sent, whatever its status.
#     With FileResponse the usual task deletes the temporary file that was sent.
# Seen: for a Range header that the file cannot satisfy (416), or that is in another unit than
#     bytes (400), FileResponse sends another response in its place, without the background task.
#     Nothing is raised or logged. Both requests are valid HTTP, and the first is usual: a client that
#     resumes a download which was complete already asks for "bytes=SIZE-".
# Matters: the temporary files of such requests stay on the disk until it is full.
# Source: starlette/responses.py, FileResponse.__call__: both "except" branches return early.
#
# Output:
#     starlette 1.10.0
#     Range: (none)     status 200, background task ran: True
#     Range: bytes=0-3  status 206, background task ran: True
#     Range: bytes=10-  status 416, background task ran: False
#     Range: items=0-1  status 400, background task ran: False
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check starlette==1.10.0
cd "$work"
venv/bin/python - <<'END'
import asyncio
import importlib.metadata
import os
import sys
import tempfile

from starlette.background import BackgroundTask
from starlette.responses import FileResponse


async def ask(range_header):
    """Sends a file of 10 bytes; returns the status, and whether the background task deleted it."""
    handle, path = tempfile.mkstemp(dir=".")
    os.write(handle, b"0123456789")
    os.close(handle)
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    headers = [(b"range", range_header.encode())] if range_header else []
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    await FileResponse(path, background=BackgroundTask(os.remove, path))(scope, receive, send)
    return sent[0]["status"], not os.path.exists(path)


print("starlette", importlib.metadata.version("starlette"))
expected = {
    "": (200, True),
    "bytes=0-3": (206, True),
    "bytes=10-": (416, False),
    "items=0-1": (400, False),
}
seen = {header: asyncio.run(ask(header)) for header in expected}
for header, (status, deleted) in seen.items():
    print(f"Range: {header or '(none)':10} status {status}, background task ran: {deleted}")
if seen != expected:
    sys.exit(f"CHANGED: expected {expected}")
END
