#!/bin/sh
# FastAPI gives a WebSocket route its BackgroundTasks, and never runs them.
#
# Packages: fastapi 0.165.0, starlette 1.10.0
# Expected: tasks that a WebSocket route adds run when the route ends, as in other routes; or FastAPI
#     refuses the parameter when the route is declared, as it does for what a route cannot have.
# Seen: the parameter is filled, add_task() works, the socket closes, and the tasks are dropped: no
#     error, no warning. The same holds for tasks added by a dependency of the route that is
#     shared with HTTP routes, where they do run.
# Matters: "mail a summary when the chat is closed" is lost each time, and a test that only looks at
#     add_task() passes.
# Source: fastapi/routing.py: get_websocket_app does not read solved_result.background_tasks.
#
# Output:
#     fastapi 0.165.0
#     http: sent http.response.start, http.response.body; tasks that ran: of the dependency, of the route
#     websocket: sent websocket.accept, websocket.close; tasks that ran: none
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check fastapi==0.165.0 starlette==1.10.0
cd "$work"
venv/bin/python - <<'END'
import asyncio
import importlib.metadata
import sys
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket

app = FastAPI()
ran = []


def audit(tasks: BackgroundTasks) -> None:
    tasks.add_task(ran.append, "of the dependency")


@app.get("/", dependencies=[Depends(audit)])
async def page(tasks: BackgroundTasks) -> None:
    tasks.add_task(ran.append, "of the route")


@app.websocket("/")
async def chat(socket: WebSocket, _: Annotated[None, Depends(audit)], tasks: BackgroundTasks) -> None:
    await socket.accept()
    tasks.add_task(ran.append, "of the route")
    await socket.close()


async def call(kind, first):
    """One ASGI call; returns the messages that the application sent, and the tasks that ran."""
    ran.clear()
    sent = []
    received = iter([{"type": first}, {"type": f"{kind}.disconnect"}])

    async def receive():
        return next(received)

    async def send(message):
        sent.append(message["type"])

    scope = {"type": kind, "path": "/", "method": "GET", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return sent, list(ran)


async def main():
    return {
        "http": await call("http", "http.request"),
        "websocket": await call("websocket", "websocket.connect"),
    }


print("fastapi", importlib.metadata.version("fastapi"))
seen = asyncio.run(main())
for kind, (sent, tasks) in seen.items():
    print(f"{kind}: sent {', '.join(sent)}; tasks that ran: {', '.join(tasks) or 'none'}")
if len(seen["http"][1]) != 2 or seen["websocket"] != (["websocket.accept", "websocket.close"], []):
    sys.exit("CHANGED: expected both tasks of the HTTP route and none of the WebSocket")
END
