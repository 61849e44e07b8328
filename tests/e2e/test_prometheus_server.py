"""Metrics as Prometheus stores them: a real server, a real uvicorn app, and load between them."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from taskflow.metrics import CATALOGUE
from tests.processes import PATIENCE, eventually
from tests.prometheus import Prometheus, running_app, running_prometheus

TOKEN = "scrape me"


@dataclass
class Scraped:
    """An app and the Prometheus that watches it."""

    url: str
    prometheus: Prometheus

    def post(self, path: str, **headers: str) -> None:
        httpx.post(f"{self.url}{path}", headers=headers, timeout=PATIENCE).raise_for_status()

    def reads(self, promql: str, expected: float) -> None:
        """Wait until a query gives ``expected``."""
        eventually(lambda: self.prometheus.value(promql) == expected)


@pytest.fixture
def scraped(executable: Callable[..., Path], tmp_path: Path) -> Iterator[Scraped]:
    with (
        running_app("tests.e2e.metered_app:app", tmp_path, environment={"METRICS_TOKEN": TOKEN}) as target,
        running_prometheus(executable("prometheus"), tmp_path, target, TOKEN) as prometheus,
    ):
        yield Scraped(f"http://{target}", prometheus)


async def load(url: str, requests: int) -> Counter[str]:
    """``requests`` requests over 16 connections, every kind of task alike; tasks added by name."""
    names = ("send", "resize", "flaky", "broken")
    todo = iter(range(requests))
    added: Counter[str] = Counter()

    async def visitor(http: httpx.AsyncClient) -> None:
        for number in todo:
            name, count = names[number % len(names)], 1 + number % 3
            (await http.post(f"{url}/tasks/{name}", params={"count": count})).raise_for_status()
            added[name] += count

    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        await asyncio.gather(*(visitor(http) for _ in range(16)))
    return added


def by(label: str, series: dict[frozenset[tuple[str, str]], float]) -> Counter[str]:
    """Values by label. Of two counters, what is missing in one counts as zero."""
    found: Counter[str] = Counter()
    for labels, value in series.items():
        found[dict(labels)[label]] += value  # type: ignore[assignment]  # a whole number, as a float
    return found


def test_the_sums_in_prometheus_are_exactly_what_the_load_generator_did(scraped):
    added = asyncio.run(load(scraped.url, 600))
    query = scraped.prometheus.query
    scraped.reads("sum(taskflow_tasks_finished_total)", added.total())
    scraped.prometheus.settle()

    assert by("task", query("taskflow_tasks_enqueued_total")) == added
    failed = Counter(broken=added["broken"])
    assert by("task", query('taskflow_tasks_finished_total{status="success"}')) == added - failed
    assert by("task", query('taskflow_tasks_finished_total{status="failed"}')) == failed
    assert by("task", query('taskflow_tasks_finished_total{status=~"interrupted|cancelled"}')) == Counter()
    assert by("task", query("taskflow_tasks_recovered_total")) == Counter()
    retried = Counter(flaky=added["flaky"], broken=added["broken"])
    assert by("task", query("taskflow_task_retries_total")) == retried
    assert by("error_type", query("taskflow_task_errors_total")) == Counter(
        ConnectionError=added["flaky"], LookupError=2 * added["broken"]
    )
    assert by("task", query("taskflow_task_logs_total")) == Counter(
        {name: added[name] for name in ("send", "resize")}
    )
    assert by("task", query("taskflow_task_duration_seconds_count")) == added
    assert by("task", query("taskflow_task_queue_seconds_count")) == added
    attempts = added + retried
    by_task = "sum by (task) (taskflow_task_attempt_duration_seconds_count)"
    assert by("task", query(by_task)) == attempts
    assert by("pool", query("taskflow_pool_wait_seconds_count")) == Counter(
        {"async": sum(attempts.values()) - attempts["resize"], "thread": attempts["resize"]}
    )
    assert scraped.prometheus.value("sum(taskflow_tasks)") == 0


def test_every_series_of_the_catalogue_is_there_with_its_type(scraped):
    for path in ("/tasks/send", "/tasks/resize", "/tasks/flaky", "/tasks/broken", "/tasks/offend"):
        scraped.post(path)
    scraped.post("/persistence")

    def stored(name: str, kind: str) -> bool:
        return bool(scraped.prometheus.query(name + ("_bucket" if kind == "histogram" else "")))

    eventually(lambda: all(stored(definition.name, definition.kind) for definition in CATALOGUE))
    types = scraped.prometheus.types()
    # OpenMetrics names a family without the suffix of its samples.
    names = {d.name: d.name.removesuffix("_total").removesuffix("_info") for d in CATALOGUE}
    assert {name: types[family] for name, family in names.items()} == {d.name: d.kind for d in CATALOGUE}


def test_a_burst_can_be_watched_until_it_is_over(scraped):
    scraped.post("/bursts/hold?count=1000")
    scraped.reads('taskflow_pool_waiting{pool="async"}', 990)
    assert scraped.prometheus.value('taskflow_pool_slots_in_use{pool="async"}') == 10
    assert scraped.prometheus.value('taskflow_tasks{task="hold",state="pending"}') == 990
    scraped.reads('taskflow_oldest_task_seconds{task="hold",state="pending"} > bool 0.5', 1)
    scraped.post("/release")
    scraped.reads('taskflow_tasks_finished_total{task="hold",status="success"}', 1000)
    scraped.prometheus.settle()
    assert scraped.prometheus.value('taskflow_pool_waiting{pool="async"}') == 0
    assert scraped.prometheus.value('taskflow_pool_slots_in_use{pool="async"}') == 0
    assert scraped.prometheus.value('taskflow_pool_wait_seconds_count{pool="async"}') == 1000
    # 990 of them waited for longer than the oldest was old above.
    waited = 'taskflow_pool_wait_seconds_count{pool="async"} - on() taskflow_pool_wait_seconds_bucket'
    assert scraped.prometheus.value(waited + '{pool="async",le="0.5"}') == 990
    assert scraped.prometheus.value('taskflow_task_queue_seconds_bucket{task="hold",le="0.5"}') == 10


@pytest.mark.parametrize("name", ["send", "resize", "flaky"])
def test_exemplars_come_back_with_the_trace_id_that_was_sent(scraped, name):
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    scraped.post(f"/tasks/{name}", traceparent=f"00-{trace_id}-{span_id}-01")
    for metric in ("duration", "attempt_duration", "queue"):
        selector = f'taskflow_task_{metric}_seconds_bucket{{task="{name}"}}'
        found = eventually(lambda selector=selector: scraped.prometheus.exemplars(selector))
        assert found == {trace_id}


def test_a_request_that_is_not_sampled_leaves_no_exemplar(scraped):
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    scraped.post("/tasks/send", traceparent=f"00-{trace_id}-{span_id}-00")
    scraped.reads("taskflow_task_duration_seconds_count", 1)
    scraped.prometheus.settle()
    assert scraped.prometheus.exemplars("taskflow_task_duration_seconds_bucket") == set()


def test_scraping_goes_on_while_sixty_sync_routes_are_stuck(scraped):
    async def sixty() -> None:
        async with httpx.AsyncClient(timeout=PATIENCE, limits=httpx.Limits(max_connections=60)) as http:
            stuck = [asyncio.create_task(http.get(f"{scraped.url}/stuck")) for _ in range(60)]
            await asyncio.to_thread(scraped.reads, 'taskflow_pool_waiting{pool="anyio"}', 20)
            async with httpx.AsyncClient() as another:
                await another.post(f"{scraped.url}/unstick")
            await asyncio.gather(*stuck)

    asyncio.run(sixty())
    scraped.reads('taskflow_pool_slots_in_use{pool="anyio"}', 0)
