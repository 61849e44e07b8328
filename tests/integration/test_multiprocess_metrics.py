"""`PROMETHEUS_MULTIPROC_DIR`: four workers of uvicorn answer as one, also when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families as parse_text

from taskflow.core.names import BoundedNames
from taskflow.metrics import CATALOGUE
from taskflow.metrics.instruments import MemoryInstruments
from taskflow.metrics.multiprocess import SaturationMirror, forget_dead_processes
from taskflow.metrics.saturation import Reading, Saturation
from tests.processes import PATIENCE, eventually
from tests.prometheus import running_app

WORKERS = 4


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "multiprocess"
    folder.mkdir()
    return folder


@dataclass
class Server:
    """uvicorn with several workers.

    Attributes:
        target: host:port, which answers from any of them.
        workers: by process id, a client whose connection stays with that worker.
    """

    target: str
    workers: dict[int, httpx.Client] = field(default_factory=dict)

    def meet_all(self) -> None:
        """Connect until every worker has taken a connection."""
        while len(self.workers) < WORKERS:
            client = httpx.Client(base_url=f"http://{self.target}", timeout=PATIENCE)
            pid = client.get("/ready").json()
            if pid in self.workers:
                client.close()
            else:
                self.workers[pid] = client

    def post_to_all(self, path: str) -> None:
        for client in self.workers.values():
            client.post(path).raise_for_status()

    def values_by_worker(self, name: str, **labels: str) -> list[float | None]:
        """What each of them answers for a series."""
        return [_value(client.get("/metrics").text, name, labels) for client in self.workers.values()]

    def value(self, name: str, **labels: str) -> float | None:
        """The series as the first of them answers, always the same: the others are not scraped."""
        first = next(iter(self.workers.values()))
        return _value(first.get("/metrics").text, name, labels)

    def reads(self, expected: float, name: str, **labels: str) -> None:
        """Wait until a series has the value ``expected``."""
        eventually(lambda: self.value(name, **labels) == expected)


def _value(text: str, name: str, labels: dict[str, str]) -> float | None:
    samples = (sample for family in parse_text(text) for sample in family.samples)
    return next((s.value for s in samples if s.name == name and s.labels == labels), None)


@pytest.fixture
def server(tmp_path: Path, directory: Path) -> Iterator[Server]:
    options = [f"--workers={WORKERS}", "--timeout-keep-alive=300"]
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    with running_app("tests.e2e.metered_app:app", tmp_path, *options, environment=environment) as target:
        server = Server(target)
        server.meet_all()
        yield server
        for client in server.workers.values():
            client.close()


def test_counters_add_up_over_workers_whichever_one_is_scraped(server):
    server.post_to_all("/tasks/send?count=5")
    expected = 5 * WORKERS
    server.reads(expected, "taskflow_tasks_finished_total", task="send", status="success")
    answers = server.values_by_worker("taskflow_tasks_enqueued_total", task="send")
    assert answers == [expected] * WORKERS
    server.reads(expected, "taskflow_task_duration_seconds_count", task="send", status="success")
    assert server.value("taskflow_task_logs_total", task="send", level="info") == expected


def test_gauges_are_right_after_a_worker_was_killed(server):
    held = {"task": "hold", "state": "running"}
    server.post_to_all("/bursts/hold?count=3")
    server.reads(3 * WORKERS, "taskflow_tasks", **held)
    assert server.value("taskflow_pool_slots", pool="async") == 10 * WORKERS

    victim, client = server.workers.popitem()
    client.close()
    os.kill(victim, signal.SIGKILL)
    left = 3 * (WORKERS - 1)
    server.reads(left, "taskflow_tasks", **held)
    assert server.value("taskflow_pool_slots_in_use", pool="async") == left
    # uvicorn starts another worker in its place.
    server.reads(10 * WORKERS, "taskflow_pool_slots", pool="async")
    assert server.values_by_worker("taskflow_tasks", **held) == [left] * (WORKERS - 1)
    # What it had counted stays counted.
    assert server.value("taskflow_tasks_enqueued_total", task="hold") == 3 * WORKERS


def test_ages_do_not_add_up(server):
    started = time.monotonic()
    server.post_to_all("/bursts/hold?count=1")
    held = {"task": "hold", "state": "running"}
    server.reads(WORKERS, "taskflow_tasks", **held)
    oldest = server.value("taskflow_oldest_task_seconds", **held)
    assert 0 < oldest < time.monotonic() - started


def test_every_metric_has_the_name_and_the_type_that_it_has_in_one_process(server):
    for name in ("send", "resize", "flaky", "broken", "offend"):
        server.post_to_all(f"/tasks/{name}")
    server.post_to_all("/persistence")
    expected = {d.name: "gauge" if d.kind == "info" else d.kind for d in CATALOGUE}

    def types() -> dict[str, str]:
        families = parse_text(httpx.get(f"http://{server.target}/metrics", timeout=PATIENCE).text)
        return {f.name + ("_total" if f.type == "counter" else ""): f.type for f in families if f.samples}

    eventually(lambda: types() == expected)


# One process, two registries


TWO_REGISTRIES = """
import asyncio
from prometheus_client import CollectorRegistry
from taskflow import PrometheusObserver, TaskManager
from taskflow.metrics.export import scrape_of
from taskflow.metrics.exposition import encode

async def ping(): ...

async def main():
    managers = [TaskManager(loggers=[PrometheusObserver(CollectorRegistry())]) for _ in range(2)]
    for manager in managers:
        async with manager:
            manager.enqueue(ping)
            manager.enqueue(ping)
            await manager.drain()
    print(encode(scrape_of(managers[0]))[0].decode())

asyncio.run(main())
"""


def output(program: str, directory: Path) -> list[str]:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


def test_two_registries_of_one_process_do_not_overwrite_each_other(directory):
    assert 'taskflow_tasks_enqueued_total{task="ping"} 4.0' in output(TWO_REGISTRIES, directory)


def test_a_file_that_another_process_has_only_just_made_does_not_matter(directory):
    (directory / f"counter_{dead_pid()}.db").touch()
    assert 'taskflow_tasks_enqueued_total{task="ping"} 4.0' in output(TWO_REGISTRIES, directory)


FRESH_GAUGES = """
import asyncio
from taskflow import PrometheusObserver, TaskManager
from taskflow.metrics.export import scrape_of
from taskflow.metrics.exposition import encode

async def hold(): ...

async def main():
    manager = TaskManager(loggers=[PrometheusObserver()])
    async with manager:
        for _ in range(2):
            manager.enqueue(hold)
            print(encode(scrape_of(manager))[0].decode())
        await manager.drain()
        print(encode(scrape_of(manager))[0].decode())
    print(encode(scrape_of(manager))[0].decode())

asyncio.run(main())
"""


def test_the_gauges_of_the_process_that_is_scraped_are_those_of_this_moment(directory):
    lines = output(FRESH_GAUGES, directory)

    def values(series: str) -> list[str]:
        return [line.removeprefix(series) for line in lines if line.startswith(series)]

    assert values('taskflow_tasks{state="pending",task="hold"} ') == ["1.0", "2.0", "0.0", "0.0"]
    # What is no longer there is 0: files forget no series.
    assert values('taskflow_pool_slots{pool="anyio"} ') == ["40.0", "40.0", "40.0", "0.0"]


def test_a_folder_that_does_not_exist_is_an_error_that_names_it(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "nowhere")}
    command = [sys.executable, "-c", "from taskflow import PrometheusObserver; PrometheusObserver()"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "nowhere': must be an existing folder" in run.stderr


# The dead


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_the_gauges_of_processes_that_have_ended_are_removed(tmp_path):
    dead, alive = dead_pid(), os.getpid()
    for name in (
        f"gauge_livesum_{dead}",
        f"gauge_livemax_{dead}",
        f"counter_{dead}",
        f"gauge_livesum_{alive}",
    ):
        (tmp_path / f"{name}.db").touch()
    forget_dead_processes(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {f"counter_{dead}.db", f"gauge_livesum_{alive}.db"}


def test_gauges_go_on_being_refreshed_after_failures_and_each_trouble_is_told_once(monkeypatch, caplog):
    monkeypatch.setattr("taskflow.metrics.multiprocess.REFRESH_INTERVAL", 0.001)
    refreshed = threading.Event()

    class Source(Saturation):
        fails = iter([True, True, True, False, True, True])

        def read(self) -> list[Reading]:
            fails = next(self.fails, None)
            if fails:
                raise OSError("no space left on device")
            if fails is None:
                refreshed.set()
            return []

    mirror = SaturationMirror(Source(BoundedNames()), MemoryInstruments(CollectorRegistry()))
    mirror.start()
    assert refreshed.wait(PATIENCE)
    mirror.stop()
    text = "the gauges of this process could not be refreshed"
    assert [record.message for record in caplog.records] == [text, text]
