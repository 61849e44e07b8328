"""What metrics cost: a task, a scrape, and the requests that are answered while somebody scrapes.

``python -m tests.benchmarks.metrics`` prints the parts.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio.to_thread
import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from taskflow import LifecycleEvent, ManagedBackgroundTasks, PrometheusObserver, TaskManager, TaskStatus
from taskflow.metrics import mount_metrics
from tests.benchmarks import rendering
from tests.benchmarks.table import Rates, heading, measure, target
from tests.processes import free_port

TASKS = 5_000
ROUNDS = 15
NAMES = 200
SCRAPES = 30
STUCK_ROUTES = 60
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
CLASSIC = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}


# A task


async def noop() -> None:
    """Nothing: what is measured is everything around it."""


def tasks(make_manager: Callable[[], TaskManager]) -> Callable[[], int]:
    """Requests with one task each."""

    async def requests() -> None:
        manager = make_manager()
        manager.task()(noop)
        async with manager:
            for _ in range(TASKS):
                background = ManagedBackgroundTasks(manager)
                background.add_task(noop)
                await background()

    def work() -> int:
        asyncio.run(requests())
        return TASKS

    return work


def task_cost() -> Rates:
    """Tasks without any observer, and with a `PrometheusObserver`."""
    return measure(
        {
            "without": tasks(TaskManager),
            "with": tasks(lambda: TaskManager(loggers=[PrometheusObserver(CollectorRegistry())])),
        },
        ROUNDS,
    )


# A scrape


@dataclass(frozen=True)
class ScrapeCost:
    """Median milliseconds of a scrape over ASGI, the answer included.

    Attributes:
        openmetrics: as Prometheus scrapes, zipped.
        classic: the classic text, not zipped.
        incident: as ``openmetrics``, while sync routes have taken every thread of the shared pool.
        lines: samples in the answer.
    """

    openmetrics: float
    classic: float
    incident: float
    lines: int


def scrape_cost() -> ScrapeCost:
    """Scrapes of a manager that has run tasks of 200 names."""
    return asyncio.run(_scrape_cost())


async def _scrape_cost() -> ScrapeCost:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    manager = TaskManager(loggers=[observer], handle_signals=False)
    for number in range(NAMES):
        _succeed(observer, f"task_number_{number}")
    app = FastAPI()
    mount_metrics(app, manager)
    async with manager, _client(app) as http:
        text = (await http.get("/metrics", headers=CLASSIC)).text
        lines = sum(1 for line in text.splitlines() if not line.startswith("#"))
        openmetrics = await _median_scrape(http, OPENMETRICS)
        classic = await _median_scrape(http, CLASSIC)
        async with _stuck_routes():
            incident = await _median_scrape(http, OPENMETRICS)
    return ScrapeCost(openmetrics, classic, incident, lines)


def _succeed(observer: PrometheusObserver, name: str) -> None:
    """The three events of a task that goes well."""

    def event(status: TaskStatus) -> LifecycleEvent:
        now = datetime.now(UTC)
        return LifecycleEvent(task_id="0", func_name=name, status=status, timestamp=now, registered=True)

    observer.on_lifecycle(event(TaskStatus.PENDING))
    running, success = event(TaskStatus.RUNNING), event(TaskStatus.SUCCESS)
    running.queue_duration, running.slot_wait, running.pool = 0.001, 0.0, "async"
    success.duration = success.attempt_duration = 0.2
    observer.on_lifecycle(running)
    observer.on_lifecycle(success)


def _client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app", timeout=60)


async def _median_scrape(http: httpx.AsyncClient, headers: dict[str, str]) -> float:
    times = []
    for _ in range(SCRAPES):
        gc.collect()
        start = time.perf_counter()
        (await http.get("/metrics", headers=headers)).raise_for_status()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


@asynccontextmanager
async def _stuck_routes() -> AsyncIterator[None]:
    """Sixty slow sync routes: each wants a thread of anyio's forty until this ends."""
    released = threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()
    async with asyncio.TaskGroup() as group:
        for _ in range(STUCK_ROUTES):
            group.create_task(anyio.to_thread.run_sync(released.wait))
        while limiter.statistics().tasks_waiting == 0:  # noqa: ASYNC110 - a limiter announces nothing
            await asyncio.sleep(0.001)
        yield
        released.set()


# The requests meanwhile


@dataclass(frozen=True)
class Latency:
    """Milliseconds of requests to an async route over uvicorn."""

    p50: float
    p99: float
    requests: int


def request_latency(seconds: float = 10.0, rounds: int = 3) -> dict[str, Latency]:
    """Requests without and with a scrape each second, in turns, at a steady 200 a second."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.benchmarks.metrics:served", "--factory"]
    command += [f"--port={port}", "--log-level=error", "--no-access-log"]
    with subprocess.Popen(command) as server:
        try:
            return asyncio.run(_request_latency(f"http://127.0.0.1:{port}", seconds, rounds))
        finally:
            server.terminate()


async def _request_latency(url: str, seconds: float, rounds: int) -> dict[str, Latency]:
    times: dict[str, list[float]] = {"without scrapes": [], "a scrape a second": []}
    async with httpx.AsyncClient(base_url=url, transport=httpx.AsyncHTTPTransport(retries=20)) as http:
        while not await _is_up(http):  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(0.05)
        for _ in range(rounds):
            times["without scrapes"] += await _steady_requests(http, seconds)
            scraping = asyncio.create_task(_scrape_each_second(url))
            times["a scrape a second"] += await _steady_requests(http, seconds)
            scraping.cancel()
            await asyncio.wait([scraping])
    return {name: _latency(values) for name, values in times.items()}


async def _is_up(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/hello")).is_success
    except httpx.TransportError:
        return False


async def _steady_requests(http: httpx.AsyncClient, seconds: float) -> list[float]:
    """Requests at fixed moments, whatever the earlier ones do: a slow answer hides none behind it."""
    loop = asyncio.get_running_loop()
    start, interval = loop.time(), 1 / 200

    async def request(due: float) -> float:
        await asyncio.sleep(due - loop.time())
        sent = time.perf_counter()
        (await http.get("/hello")).raise_for_status()
        return (time.perf_counter() - sent) * 1e3

    return await asyncio.gather(*(request(start + n * interval) for n in range(int(seconds / interval))))


async def _scrape_each_second(url: str) -> None:
    # Prometheus is another process: its own work must not count.
    scraper = await asyncio.create_subprocess_exec(sys.executable, "-c", SCRAPER, f"{url}/metrics")
    try:
        await scraper.wait()
    finally:
        scraper.kill()
        await scraper.wait()


SCRAPER = """
import sys, time, urllib.request
request = urllib.request.Request(sys.argv[1], headers={
    "Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"})
while True:
    with urllib.request.urlopen(request) as answer:
        answer.read()
    time.sleep(1)
"""


def served() -> FastAPI:
    """The app of `request_latency`: 200 task names to scrape, and a route that does nothing."""
    observer = PrometheusObserver()
    manager = TaskManager(loggers=[observer])
    for number in range(NAMES):
        _succeed(observer, f"task_number_{number}")
    app = FastAPI()
    manager.init_app(app)
    mount_metrics(app, manager)

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    return app


def _latency(times: list[float]) -> Latency:
    cuts = statistics.quantiles(times, n=100)
    return Latency(cuts[49], cuts[98], len(times))


# All of it


def run() -> None:
    """Measure and print."""
    heading("A task with PrometheusObserver")
    rates = task_cost()
    per_task = {name: 1e6 / rates.rate(name) for name in rates.rounds}
    print(f"without {per_task['without']:.1f} µs, with {per_task['with']:.1f} µs a task")
    print(f"difference {per_task['with'] - per_task['without']:.1f} µs (target ≤ 12 µs)")

    heading(f"A scrape of {NAMES} task names")
    scrape = scrape_cost()
    print(f"{scrape.lines:,} samples; target < 50 ms")
    print(f"OpenMetrics, gzip          {scrape.openmetrics:6.1f} ms")
    print(f"classic text               {scrape.classic:6.1f} ms")
    print(f"{STUCK_ROUTES} sync routes are stuck   {scrape.incident:6.1f} ms")

    heading(f"The same samples of {NAMES} task names, written by prometheus_client's own metrics")
    for name, accept in (("OpenMetrics", rendering.OPENMETRICS), ("classic text", rendering.CLASSIC)):
        cost = rendering.rendering_cost(accept, NAMES, SCRAPES)
        ratio = target(cost.ratio, rendering.WANTED)
        print(f"{name:12}  {cost.ours:6.1f} ms instead of {cost.theirs:6.1f} ms for {cost.lines:,} samples")
        print(f"{'':12}  {ratio} as fast; by processor time {cost.cpu_ratio:.2f} ×")

    heading("Requests over uvicorn, 200 a second")
    for name, latency in request_latency().items():
        print(f"{name:20} p50 {latency.p50:6.2f} ms   p99 {latency.p99:6.2f} ms   ({latency.requests:,})")


if __name__ == "__main__":
    run()
