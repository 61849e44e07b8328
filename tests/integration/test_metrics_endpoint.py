"""The route: its formats, its guard, and that it neither waits for the application nor holds it up."""

from __future__ import annotations

import asyncio
import gc
import gzip
import subprocess
import threading
from collections.abc import Awaitable

import anyio.to_thread
import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from taskflow import ConfigurationError, PrometheusObserver, TaskManager
from taskflow.metrics import CATALOGUE, metrics_route, mount_metrics

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def manager(registry: CollectorRegistry) -> TaskManager:
    return TaskManager(loggers=[PrometheusObserver(registry)])


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")


async def scrape(app: FastAPI, path: str = "/metrics", **headers: str) -> httpx.Response:
    async with client(app) as http:
        return await http.get(path, headers=headers)


async def run_one_task(manager: TaskManager) -> None:
    @manager.task()
    async def ping() -> None: ...

    async with manager:
        manager.enqueue(ping)
        await manager.drain()


async def test_without_an_accept_header_the_answer_is_the_classic_text(manager):
    app = FastAPI()
    mount_metrics(app, manager)
    await run_one_task(manager)
    answer = await scrape(app, Accept="")
    assert (answer.status_code, answer.history) == (200, [])
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    values = {
        s.name: s.value for f in parse_text(answer.text) for s in f.samples if s.labels == {"task": "ping"}
    }
    assert values["taskflow_tasks_enqueued_total"] == 1


async def test_a_scraper_that_accepts_openmetrics_gets_it(manager):
    app = FastAPI()
    mount_metrics(app, manager)
    await run_one_task(manager)
    answer = await scrape(app, Accept=OPENMETRICS)
    assert (
        answer.headers["content-type"]
        == "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
    )
    types = {family.name: family.type for family in parse_openmetrics(answer.text)}
    assert types["taskflow_task_duration_seconds"] == "histogram"
    assert types["taskflow_build"] == "info"


@pytest.mark.parametrize("version", ["x", "1.x", "", "9.9.9"])
async def test_an_accept_header_that_makes_no_sense_is_answered_all_the_same(manager, version):
    app = FastAPI()
    mount_metrics(app, manager)
    answer = await scrape(app, Accept=f"application/openmetrics-text;version={version}")
    assert answer.status_code == 200


async def test_the_answer_is_gzipped_for_those_who_accept_that(manager):
    app = FastAPI()
    mount_metrics(app, manager)
    zipped = await scrape(app, **{"Accept-Encoding": "gzip;q=1.0"})
    plain = await scrape(app, **{"Accept-Encoding": "identity"})
    assert (zipped.headers.get("content-encoding"), plain.headers.get("content-encoding")) == ("gzip", None)
    assert "taskflow_build_info" in zipped.text  # httpx has unzipped it
    assert int(zipped.headers["content-length"]) < len(gzip.compress(plain.content)) * 2
    assert zipped.headers["vary"] == "Accept, Accept-Encoding"


async def test_the_route_is_not_in_the_openapi_schema(manager):
    app = FastAPI()
    mount_metrics(app, manager)
    assert app.openapi()["paths"] == {}


async def test_the_path_can_be_chosen(manager):
    app = FastAPI()
    mount_metrics(app, manager, "/internal/metrics")
    assert (await scrape(app, "/internal/metrics")).status_code == 200
    assert (await scrape(app)).status_code == 404


async def test_dependencies_of_the_application_do_not_stand_in_the_way(manager):
    async def login() -> None:
        raise HTTPException(403)

    app = FastAPI(dependencies=[Depends(login)])
    mount_metrics(app, manager)
    assert (await scrape(app)).status_code == 200


async def test_the_route_alone_can_be_mounted_by_hand(manager):
    app = FastAPI()
    app.add_route("/own", metrics_route(manager, token="t"))
    assert (await scrape(app, "/own", Authorization="Bearer t")).status_code == 200


async def test_a_manager_without_a_prometheus_observer_has_nothing_to_serve():
    with pytest.raises(ConfigurationError, match="needs a PrometheusObserver"):
        mount_metrics(FastAPI(), TaskManager())


# The guard


@pytest.mark.parametrize(
    "authorization", ["Bearer s3cret", "bearer s3cret", "BEARER   s3cret "], ids=["plain", "lower", "spaces"]
)
async def test_the_right_token_is_let_in(manager, authorization):
    app = FastAPI()
    mount_metrics(app, manager, token="s3cret")
    assert (await scrape(app, Authorization=authorization)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer s3cre"},
        {"Authorization": "Basic s3cret"},
        {"Authorization": "s3cret"},
    ],
)
async def test_everything_else_is_told_to_bring_one(manager, headers):
    app = FastAPI()
    mount_metrics(app, manager, token="s3cret")
    answer = await scrape(app, **headers)
    assert (answer.status_code, answer.text) == (401, "Unauthorized\n")
    assert answer.headers["www-authenticate"] == 'Bearer realm="metrics"'


async def test_a_token_may_be_any_unicode(manager):
    app = FastAPI()
    mount_metrics(app, manager, token="schlüssel-🔑")
    async with client(app) as http:
        right = await http.get("/metrics", headers=[(b"authorization", "Bearer schlüssel-🔑".encode())])
        wrong = await http.get("/metrics", headers=[(b"authorization", "Bearer schlässel-🔑".encode())])
    assert (right.status_code, wrong.status_code) == (200, 401)


async def test_where_a_token_is_required_and_none_is_set_nobody_gets_in(manager):
    app = FastAPI()
    mount_metrics(app, manager, require_token=True)
    assert (await scrape(app, Authorization="Bearer None")).status_code == 401
    assert (await scrape(app, Authorization="Bearer ")).status_code == 401


def test_an_empty_token_is_refused(manager):
    with pytest.raises(ConfigurationError, match="token=''"):
        mount_metrics(FastAPI(), manager, token="")


# Its own thread


class Gate:
    """A collector that waits, and tells on which thread."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.thread = ""

    def collect(self) -> list[Metric]:
        self.thread = threading.current_thread().name
        self.reached.set()
        self.opened.wait(30)
        return [GaugeMetricFamily("gate", "open", value=1)]


async def reach(gate: Gate) -> None:
    await asyncio.to_thread(gate.reached.wait, 30)


async def test_while_a_scrape_is_written_the_event_loop_goes_on(manager, registry):
    gate = Gate()
    registry.register(gate)
    app = FastAPI()
    mount_metrics(app, manager)

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    scraping = asyncio.create_task(scrape(app))
    await reach(gate)
    assert (await scrape(app, "/hello")).json() == "hello"
    gate.opened.set()
    assert "gate 1.0" in (await scraping).text
    assert gate.thread.startswith("taskflow-metrics")


async def test_a_scrape_does_not_wait_for_sixty_sync_routes(manager):
    app = FastAPI()
    mount_metrics(app, manager)
    opened = threading.Event()

    @app.get("/stuck")
    def stuck() -> None:
        opened.wait(30)

    limiter = anyio.to_thread.current_default_thread_limiter()
    async with asyncio.TaskGroup() as group:
        for _ in range(60):
            group.create_task(scrape(app, "/stuck"))
        while limiter.statistics().tasks_waiting < 20:  # noqa: ASYNC110 - a limiter announces nothing
            await asyncio.sleep(0.001)
        async with manager:
            text = (await scrape(app)).text
        opened.set()
    assert 'taskflow_pool_slots_in_use{pool="anyio"} 40.0' in text
    assert 'taskflow_pool_waiting{pool="anyio"} 20.0' in text


async def test_scrapes_at_the_same_time_all_get_the_whole_answer(manager):
    app = FastAPI()
    mount_metrics(app, manager)
    await run_one_task(manager)
    answers = await gather(*(scrape(app, Accept=OPENMETRICS) for _ in range(20)))
    assert {answer.text.endswith("# EOF\n") for answer in answers} == {True}
    assert {'taskflow_tasks_enqueued_total{task="ping"} 1.0' in answer.text for answer in answers} == {True}


async def gather(*scrapes: Awaitable[httpx.Response]) -> list[httpx.Response]:
    return list(await asyncio.gather(*scrapes))


async def test_scrapes_go_on_over_a_restart_of_the_manager(manager):
    app = FastAPI()
    mount_metrics(app, manager)
    for _ in range(2):
        async with manager:
            assert (await scrape(app)).status_code == 200
    assert (await scrape(app)).status_code == 200


async def test_the_thread_ends_with_its_application(manager):
    async def serve_once() -> threading.Thread:
        app = FastAPI()
        mount_metrics(app, manager)
        before = set(threading.enumerate())
        await scrape(app)
        (thread,) = {t for t in threading.enumerate() if t.name.startswith("taskflow-metrics")} - before
        return thread

    thread = await serve_once()
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


# What promtool thinks of it


async def test_promtool_has_nothing_to_say(manager, executable):
    app = FastAPI()
    mount_metrics(app, manager)
    await run_one_task(manager)
    (prometheus,) = manager.logger.observers
    prometheus.persistence.flush_finished(1, 0.1)
    prometheus.persistence.operation("sqlite", "save", "success", 0.1)
    async with manager:
        answer = await scrape(app)
    read = [definition.name for definition in CATALOGUE if definition.source != "events"]
    assert [name for name in read if name not in answer.text] == []
    promtool = await asyncio.create_subprocess_exec(
        executable("promtool"),
        "check",
        "metrics",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await promtool.communicate(answer.content)
    assert (promtool.returncode, said) == (0, b"")
