"""The dashboard's stream under load: many who watch, a long history, and tasks all the time.

uvicorn in a process of its own, which measures how late its event loop runs; this process listens.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

import httpx

from tests.benchmarks.http import percentile
from tests.benchmarks.table import heading
from tests.processes import eventually

RECORDS = 100_000
RATE = 500
CLIENTS = 50
SECONDS = 10.0


class Figures(TypedDict):
    """What the server tells, in seconds and bytes: how late its event loop was, how much of that can be its
    own doing (the rest is that of other processes), its memory, and its processor time.
    """

    lags: list[float]
    own: list[float]
    rss: int
    cpu: float


REQUEST = b"GET /tasks/stream HTTP/1.1\r\nHost: bench\r\n\r\n"


@contextmanager
def server() -> Iterator[int]:
    """uvicorn with a full history and steady tasks; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.dashboard_app:app", "--port", str(port)]
    environment = {**os.environ, "BENCH_RECORDS": str(RECORDS), "BENCH_RATE": str(RATE)}
    process = subprocess.Popen([*command, "--log-level", "warning"], env=environment)
    try:
        eventually(lambda: listens(port))  # once the history is filled
        yield port
    finally:
        process.terminate()
        process.wait()


def listens(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def listen(port: int, until: float) -> int:
    """Read the stream until the time is up; returns the bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    received = 0
    while time.monotonic() < until:
        received += len(await reader.read(2**18))
    writer.close()
    return received


async def page(port: int, until: float, latencies: list[float]) -> None:
    """Somebody who opens the dashboard every second: the first page, a filter, the overview."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        while time.monotonic() < until:
            for path in ("/tasks", "/tasks?status=failed", "/tasks/overview"):
                started = time.monotonic()
                (await http.get(path)).raise_for_status()
                latencies.append(time.monotonic() - started)
            await asyncio.sleep(1.0)


async def watch(port: int, clients: int, *, reading: bool) -> tuple[int, list[float], Figures]:
    """Listen with so many clients; returns their bytes, the pages' latencies and the server's figures."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        before = (await http.post("/figures")).json()["cpu"]
        until = time.monotonic() + SECONDS
        latencies: list[float] = []
        readers = [page(port, until, latencies)] if reading else [asyncio.sleep(SECONDS)]
        received = await asyncio.gather(*(listen(port, until) for _ in range(clients)), *readers)
        figures: Figures = (await http.post("/figures")).json()
    figures["cpu"] -= before
    return sum(filter(None, received)), latencies, figures


def run() -> None:
    """Measure and print."""
    heading(f"Dashboard: {RECORDS:,} records, {RATE} tasks/s, for {SECONDS:g} s")
    with server() as port:
        for clients, reading in ((0, False), (CLIENTS, False), (CLIENTS, True)):
            received, latencies, figures = asyncio.run(watch(port, clients, reading=reading))
            report(clients, received, latencies, figures)


def report(clients: int, received: int, latencies: list[float], figures: Figures) -> None:
    """Print one line of figures."""
    lags = [1e3 * lag for lag in figures["lags"]]
    p50, p99 = percentile(lags, 0.5), percentile(lags, 0.99)
    own = 1e3 * percentile(figures["own"], 0.99)
    rate = received / max(clients, 1) / SECONDS
    print(
        f"{clients:3} clients",
        f"lag p50 {p50:.1f} ms, p99 {p99:.1f} ms (target < 50), max {max(lags):.0f} ms",
        f"of its own doing p99 {own:.1f} ms",
        f"CPU {figures['cpu'] / SECONDS:.0%}",
        f"{figures['rss'] / 2**20:,.0f} MiB",
        f"{rate / 1e3:,.0f} kB/s each",
        f"a page p50 {1e3 * percentile(latencies, 0.5):,.0f} ms" if latencies else "",
        sep="   ",
    )


if __name__ == "__main__":
    run()
