"""The same over HTTP: uvicorn in a process of its own, this process sends the requests.

The servers run all the time and are loaded in turn, for a moment each, over 32 connections that are
kept open. Taskflow is served twice: injected by ``Depends(manager.get_tasks)``, for which FastAPI solves
one dependency more in every request, and by annotation after ``manager.install(app)``.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.benchmarks.table import heading, target

CONNECTIONS = 32
SECONDS = 0.4
ROUNDS = 20

REQUEST = b"POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def server(system: str) -> Iterator[int]:
    """uvicorn serving ``system``; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.http_app:app", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--log-level", "warning"], env={**os.environ, "BENCH_SYSTEM": system}
    )
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    """Return when something listens on the port."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


async def one_connection(port: int, until: float, latencies: list[float]) -> None:
    """Send requests one after the other until the time is up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        start = time.perf_counter()
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(time.perf_counter() - start)
    writer.close()
    await writer.wait_closed()


async def load(port: int) -> list[float]:
    """Latencies in seconds of everything that was answered within the time."""
    latencies: list[float] = []
    until = time.perf_counter() + SECONDS
    await asyncio.gather(*(one_connection(port, until, latencies) for _ in range(CONNECTIONS)))
    return latencies


def percentile(values: list[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    return sorted(values)[int(share * (len(values) - 1))]


def run() -> None:
    """Measure and print."""
    heading(f"Over HTTP, one task a request, {CONNECTIONS} connections")
    systems = ("bare", "install", "depends")
    rates: dict[str, list[float]] = {system: [] for system in systems}
    latencies: dict[str, list[float]] = {system: [] for system in systems}
    with ExitStack() as stack:
        ports = {system: stack.enter_context(server(system)) for system in systems}
        for number in range(ROUNDS + 1):
            for system in systems:
                answered = asyncio.run(load(ports[system]))
                if number:
                    rates[system].append(len(answered) / SECONDS)
                    latencies[system].extend(answered)
    for system in systems:
        p50, p99 = (1e3 * percentile(latencies[system], share) for share in (0.5, 0.99))
        rate = statistics.median(rates[system])
        print(f"{system:10} {rate:>8,.0f} requests/s   p50 {p50:5.1f} ms   p99 {p99:5.1f} ms")
    for system in systems[1:]:
        pairs = zip(rates[system], rates["bare"], strict=True)
        print(f"{system} / bare", target(statistics.median(one / other for one, other in pairs), 0.75))


if __name__ == "__main__":
    run()
