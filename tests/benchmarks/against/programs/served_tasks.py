"""Microseconds of the server's processor time for a request that adds a task: uvicorn, uvloop, httptools.

The first argument says how: ``bare``, ``install`` or ``depends``. With ``--serve PORT`` it is the server.
"""

import asyncio
import socket
import subprocess
import sys
import time
from typing import Annotated

CONNECTIONS = 8
REQUESTS = 400
"""For each connection."""

POST = b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"
CPU = b"GET /cpu HTTP/1.1\r\nHost: bench\r\n\r\n"


def serve(how: str, port: int) -> None:
    """Until a signal comes."""
    import uvicorn
    from fastapi import BackgroundTasks, Depends, FastAPI

    from taskflow import ManagedBackgroundTasks, TaskManager

    app, manager = FastAPI(), TaskManager()

    @app.get("/cpu")
    async def cpu() -> float:
        return time.process_time()

    @manager.task()
    async def noop() -> None:
        pass

    if how != "bare":
        manager.init_app(app)
    if how == "install":
        manager.install(app)
    if how == "depends":

        @app.post("/")
        async def depends(
            tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)],
        ) -> dict[str, str]:
            return {"task": tasks.add_task(noop)}

    elif how == "install":

        @app.post("/")
        async def installed(tasks: BackgroundTasks) -> dict[str, str]:
            return {"task": str(tasks.add_task(noop))}

    else:

        @app.post("/")
        async def bare(tasks: BackgroundTasks) -> dict[str, str]:
            tasks.add_task(noop)
            return {"task": "01234567-89ab-4def-8123-456789abcdef"}

    uvicorn.run(app, port=port, log_level="warning", loop="uvloop", http="httptools", access_log=False)


async def send(port: int, request: bytes, count: int) -> bytes:
    """The request so many times over one connection; the last answer's body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b""
    for _ in range(count):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        body = await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
    writer.close()
    await writer.wait_closed()
    return body


async def load(port: int, count: int) -> float:
    """Seconds of the server's processor time for ``count`` requests over each connection."""
    began = float(await send(port, CPU, 1))
    await asyncio.gather(*(send(port, POST, count) for _ in range(CONNECTIONS)))
    return float(await send(port, CPU, 1)) - began


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Return when the server listens."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            sys.exit("the server has ended before it listened")
        time.sleep(0.05)


def main(how: str) -> None:
    """Serve, warm up, measure, print."""
    port = free_port()
    with subprocess.Popen([sys.executable, __file__, how, "--serve", str(port)]) as server:
        try:
            wait_for(port, server)
            asyncio.run(load(port, 100))
            print(1e6 * asyncio.run(load(port, REQUESTS)) / (REQUESTS * CONNECTIONS))
        finally:
            server.terminate()


if "--serve" in sys.argv:
    serve(sys.argv[1], int(sys.argv[3]))
else:
    main(sys.argv[1])
