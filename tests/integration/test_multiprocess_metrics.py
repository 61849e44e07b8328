"""`PROMETHEUS_MULTIPROC_DIR`: four workers of uvicorn answer as one, also when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from taskflow.metrics.multiprocess import forget_dead_processes
from tests.prometheus import PATIENCE, eventually, running_app

WORKERS = 4


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "multiprocess"
    folder.mkdir()
    return folder


@pytest.fixture
def app(tmp_path: Path, directory: Path) -> Iterator[str]:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    with running_app(
        "tests.e2e.metered_app:app", tmp_path, f"--workers={WORKERS}", environment=environment
    ) as target:
        eventually(lambda: len({post(target, "/tasks/send?count=0") for _ in range(WORKERS)}) == WORKERS)
        yield target


def post(target: str, path: str) -> int:
    # Each request on a connection of its own: it reaches any of the workers.
    answer = httpx.post(f"http://{target}{path}", timeout=PATIENCE)
    answer.raise_for_status()
    return answer.json()


def scrape(target: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = httpx.get(f"http://{target}/metrics", timeout=PATIENCE).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def value(target: str, name: str, **labels: str) -> float | None:
    return scrape(target).get((name, frozenset(labels.items())))


def on_every_worker(target: str, path: str) -> Counter[int]:
    """Post until each worker has answered; how often each of them did."""
    answered: Counter[int] = Counter()

    def all_of_them() -> bool:
        answered[post(target, path)] += 1
        return len(answered) == WORKERS

    eventually(all_of_them)
    return answered


def test_counters_add_up_over_workers_whichever_one_is_scraped(app):
    posts = on_every_worker(app, "/tasks/send?count=5")
    expected = 5 * posts.total()
    labels = {"task": "send", "status": "success"}
    eventually(lambda: value(app, "taskflow_tasks_finished_total", **labels) == expected)
    answers = {value(app, "taskflow_tasks_enqueued_total", task="send") for _ in range(3 * WORKERS)}
    assert answers == {expected}
    assert value(app, "taskflow_task_duration_seconds_count", **labels) == expected
    assert value(app, "taskflow_task_logs_total", task="send", level="info") == expected


def test_gauges_are_right_after_a_worker_was_killed(app):
    posts = on_every_worker(app, "/tasks/hold?count=1")
    eventually(lambda: value(app, "taskflow_tasks", task="hold", state="running") == posts.total())
    assert value(app, "taskflow_pool_slots", pool="async") == 10 * WORKERS

    victim, lost = posts.most_common(1)[0]
    os.kill(victim, signal.SIGKILL)
    left = posts.total() - lost
    eventually(lambda: value(app, "taskflow_tasks", task="hold", state="running") == left)
    assert value(app, "taskflow_pool_slots_in_use", pool="async") == left
    # uvicorn starts another worker in its place.
    eventually(lambda: value(app, "taskflow_pool_slots", pool="async") == 10 * WORKERS)
    assert value(app, "taskflow_tasks", task="hold", state="running") == left
    # What it had counted stays counted.
    assert value(app, "taskflow_tasks_enqueued_total", task="hold") == posts.total()


def test_ages_do_not_add_up(app):
    on_every_worker(app, "/tasks/hold?count=1")
    oldest = eventually(lambda: value(app, "taskflow_oldest_task_seconds", task="hold", state="running"))
    assert 0 < oldest < PATIENCE


def test_every_metric_has_the_name_and_the_type_that_it_has_in_one_process(app):
    for name in ("send", "resize", "flaky", "broken", "offend"):
        on_every_worker(app, f"/tasks/{name}")
    httpx.post(f"http://{app}/persistence")
    subprocess.run([sys.executable, "-c", COMPARE, f"http://{app}/metrics"], check=True)


COMPARE = """
import sys, time, urllib.request
from prometheus_client.parser import text_string_to_metric_families as parse
from taskflow.metrics import CATALOGUE

deadline = time.monotonic() + 60
expected = {d.name: "gauge" if d.kind == "info" else d.kind for d in CATALOGUE}
while True:
    with urllib.request.urlopen(sys.argv[1]) as answer:
        families = list(parse(answer.read().decode()))
    types = {f.name + ("_total" if f.type == "counter" else ""): f.type for f in families if f.samples}
    if types == expected:
        break
    assert time.monotonic() < deadline, set(expected.items()) ^ set(types.items())
    time.sleep(0.1)
"""


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


def test_two_registries_of_one_process_do_not_overwrite_each_other(directory):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    run = subprocess.run(
        [sys.executable, "-c", TWO_REGISTRIES], env=environment, capture_output=True, text=True, check=True
    )
    assert 'taskflow_tasks_enqueued_total{task="ping"} 4.0' in run.stdout.splitlines()


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
