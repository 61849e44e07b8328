"""Traces as Jaeger shows them: a real server, a real uvicorn app, OTLP between them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_demo import demo, read_until
from tests.jaeger import Jaeger, JaegerSpan, Trace, running_jaeger
from tests.processes import PATIENCE, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def jaeger(executable: Callable[..., Path], tmp_path: Path) -> Iterator[Jaeger]:
    with running_jaeger(executable("jaeger-all-in-one", variable="JAEGER_BIN"), tmp_path) as server:
        yield server


@dataclass
class Shop:
    """The traced app in a process of its own."""

    jaeger: Jaeger
    service: str
    url: str
    process: subprocess.Popen[str]

    def post(self, path: str) -> str:
        answer = httpx.post(f"{self.url}{path}", timeout=PATIENCE)
        answer.raise_for_status()
        return str(answer.json())

    def wait_for(self, task_id: str, status: str) -> None:
        eventually(lambda: httpx.get(f"{self.url}/status/{task_id}").json() == status)

    def stop(self) -> None:
        """SIGTERM; returns when the process has ended, and Jaeger has stored what it sent."""
        self.process.send_signal(signal.SIGTERM)
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert "Failed to detach context" not in output
        assert "Queue full" not in output
        self.jaeger.settle()

    def traces(self, **tags: str) -> list[Trace]:
        return self.jaeger.traces(self.service, **tags)

    def trace_of(self, task_id: str) -> Trace:
        """The one trace that has the task."""
        (found,) = self.traces(taskflow__task__id=task_id)
        return found


@contextmanager
def shop(jaeger: Jaeger, *, exporter: str = "http", **options: str) -> Iterator[Shop]:
    """Start the app; ``exporter`` is ``http`` or ``grpc`` for the official ones, ``taskflow`` for that of
    `taskflow.observers.otlp`, or ``environment`` for FastAPI's own set-up.
    """
    service = f"shop-{uuid.uuid4()}"
    if exporter == "environment":
        options |= {"OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp_http, "OTEL_SERVICE_NAME": service}
        options |= {"OTEL_RESOURCE_ATTRIBUTES": "ip=127.0.0.1"}
    else:
        endpoint = jaeger.otlp_grpc if exporter == "grpc" else jaeger.otlp_http
        options |= {"SERVICE": service, "EXPORTER": exporter, "ENDPOINT": endpoint}
    environment = {**os.environ, **options}
    command = [sys.executable, "-m", "tests.e2e.traced_app"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url.startswith("http://"), url + process.stdout.read()
            yield Shop(jaeger, service, url, process)
        finally:
            process.kill()


def named(spans: Trace, name: str) -> JaegerSpan:
    (span,) = (span for span in spans if span.name == name)
    return span


def tree(spans: Trace) -> dict[str, str | None]:
    """The name of each span's parent, by its own name; every parent must be in the trace."""
    names = {span.span_id: span.name for span in spans}
    return {span.name: names[span.parent_id] if span.parent_id else None for span in spans}


def is_error(span: JaegerSpan) -> bool:
    return span.tags.get("otel.status_code") == "ERROR"


@pytest.mark.parametrize("exporter", ["http", "grpc", "taskflow", "environment"])
def test_a_request_whose_task_fails_twice_and_then_succeeds_is_one_trace(
    jaeger: Jaeger, exporter: str
) -> None:
    with shop(jaeger, exporter=exporter) as app:
        task_id = app.post("/orders/async/async")
        app.wait_for(task_id, "success")
        app.stop()
    spans = app.trace_of(task_id)

    calls = {
        span.span_id: span for span in spans if span.name == "GET" and span.tags["span.kind"] == "client"
    }
    attempts = [named(spans, f"attempt {number}") for number in range(1, 4)]
    assert [span.span_id for span in attempts] == [call.parent_id for call in in_order(list(calls.values()))]
    assert [True, True, False] == [is_error(span) for span in attempts]
    assert ["httpx.HTTPStatusError", "httpx.HTTPStatusError", None] == [
        s.tags.get("error.type") for s in attempts
    ]
    assert [["calling the bank", "exception"], ["calling the bank", "exception"], ["calling the bank"]] == [
        [line["event"] for line in span.logs] for span in attempts
    ]
    assert {"event": "calling the bank", "log.severity": "info", "order": 1, "attempt": 2} == attempts[
        2
    ].logs[0]
    assert "HTTPStatusError" in attempts[0].logs[1]["exception.stacktrace"]

    served = [span for span in spans if span.name == "GET /bank"]
    assert sorted(calls) == sorted(str(span.parent_id) for span in served)
    relations = tree(spans)
    assert {
        "POST /orders/async/{kind}": None,
        "enqueue charge_card": "fastapi.endpoint",
        "run charge_card": "enqueue charge_card",
        "attempt 1": "run charge_card",
        "attempt 2": "run charge_card",
        "attempt 3": "run charge_card",
    }.items() <= relations.items()

    run, request = named(spans, "run charge_card"), named(spans, "POST /orders/async/{kind}")
    assert not is_error(run)
    assert "error.type" not in run.tags
    assert run.tags["taskflow.queue_duration"] > 0
    assert {
        "taskflow.task.id": task_id,
        "taskflow.task.name": "charge_card",
        "taskflow.task.status": "success",
        "taskflow.task.attempts": 3,
        "taskflow.task.tag.shop": "books",
        "code.function.name": "__main__.charge",
        "span.kind": "consumer",
    }.items() <= run.tags.items()
    assert request.start + request.duration <= run.start + 1  # Jaeger counts whole microseconds
    assert [] == [warning for span in spans for warning in span.warnings]


def in_order(spans: Trace) -> Trace:
    return sorted(spans, key=lambda span: span.start)


@pytest.mark.parametrize("limits", [{}, {"LIMIT": "1"}], ids=["unlimited", "slots full"])
@pytest.mark.parametrize("dispatch", ["request", "detached"])
def test_every_kind_of_task_from_every_kind_of_route_has_the_same_shape(
    jaeger: Jaeger, dispatch: str, limits: dict[str, str]
) -> None:
    paths = [f"/orders/{route}/{kind}" for route in ("async", "def") for kind in ("async", "def")]
    with shop(jaeger, DISPATCH=dispatch, **limits) as app:
        ids = asyncio.run(post_all(app.url, paths * 2))
        for task_id in ids:
            app.wait_for(task_id, "success")
        app.stop()
    shapes = [shape(app.trace_of(task_id)) for task_id in ids]
    assert [shapes[0]] * len(ids) == shapes
    assert ("enqueue", "run") in shapes[0]


async def post_all(url: str, paths: list[str]) -> list[Any]:
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as client:
        answers = await asyncio.gather(*(client.post(path) for path in paths))
    return [answer.raise_for_status().json() for answer in answers]


def shape(spans: Trace) -> list[tuple[str, str]]:
    """Parent and child of every edge, with the name of the task left out."""
    names = {span.span_id: short_name(span) for span in spans}
    return sorted((names[span.parent_id] if span.parent_id else "", short_name(span)) for span in spans)


def short_name(span: JaegerSpan) -> str:
    return span.name.split()[0] if span.name.split()[0] in {"enqueue", "run", "POST"} else span.name


def test_requests_that_follow_on_the_same_connection_are_in_traces_of_their_own(jaeger: Jaeger) -> None:
    with shop(jaeger) as app, httpx.Client(base_url=app.url, timeout=PATIENCE) as client:
        ids = [client.post("/orders/async/async").json() for _ in range(3)]
        client.get(f"/status/{ids[0]}").raise_for_status()
        for task_id in ids:
            app.wait_for(task_id, "success")
        app.stop()
    traces = [app.trace_of(task_id) for task_id in ids]
    assert 3 == len({trace[0].trace_id for trace in traces})
    assert [["POST /orders/async/{kind}"]] * 3 == [roots(trace) for trace in traces]
    polls = [trace for trace in app.traces() if "GET /status/{task_id}" in roots(trace)]
    assert polls
    assert all(set(tree(trace).values()) == {None, "GET /status/{task_id}"} for trace in polls)


def test_in_link_mode_a_search_for_the_task_finds_two_linked_traces(jaeger: Jaeger) -> None:
    with shop(jaeger, PROPAGATION="link") as app:
        task_id = app.post("/orders/async/async")
        app.wait_for(task_id, "success")
        app.stop()

    found = {root: spans for spans in app.traces(taskflow__task__id=task_id) for root in roots(spans)}
    assert {"POST /orders/async/{kind}", "run charge_card"} == found.keys()
    request, task = found["POST /orders/async/{kind}"], found["run charge_card"]
    enqueue, run = named(request, "enqueue charge_card"), named(task, "run charge_card")
    assert ((enqueue.trace_id, enqueue.span_id),) == run.links
    assert enqueue.trace_id != run.trace_id
    assert task_id == enqueue.tags["taskflow.task.id"] == run.tags["taskflow.task.id"]


def roots(spans: Trace) -> list[str]:
    return [span.name for span in spans if span.parent_id is None]


def test_failed_cancelled_and_interrupted_tasks_can_be_told_apart(jaeger: Jaeger) -> None:
    with shop(jaeger, SHUTDOWN_TIMEOUT="0") as app:
        ids = {"failed": app.post("/fail"), "cancelled": app.post("/hang"), "interrupted": app.post("/hang")}
        app.wait_for(ids["failed"], "failed")
        app.wait_for(ids["cancelled"], "running")
        app.wait_for(ids["interrupted"], "running")
        httpx.delete(f"{app.url}/{ids['cancelled']}").raise_for_status()
        app.wait_for(ids["cancelled"], "cancelled")
        app.stop()
    runs = {
        status: next(s for s in app.trace_of(task_id) if s.name.startswith("run "))
        for status, task_id in ids.items()
    }
    assert {status: status for status in ids} == {
        s: run.tags["taskflow.task.status"] for s, run in runs.items()
    }
    assert ["failed"] == [status for status, run in runs.items() if is_error(run)]
    assert ["failed"] == [status for status, run in runs.items() if "error.type" in run.tags]


def test_a_task_that_outlives_its_process_goes_on_in_a_trace_that_links_to_the_first(
    jaeger: Jaeger, tmp_path: Path
) -> None:
    stored = {"DB": str(tmp_path / "shop.db")}
    with shop(jaeger, HANG="yes", OTEL_BSP_SCHEDULE_DELAY="50", **stored) as app:
        task_id = app.post("/deliver")
        eventually(lambda: "attempt 1" in {s.name for spans in app.traces() for s in spans})
        app.wait_for(task_id, "running")
        app.process.kill()
        before = app.trace_of(task_id)
    with shop(jaeger, **stored) as app:
        app.wait_for(task_id, "success")
        app.stop()
    after = app.trace_of(task_id)

    enqueue, run = named(before, "enqueue deliver"), named(after, "run deliver")
    assert "run deliver" not in {span.name for span in before}  # it was open when its process died
    assert ((enqueue.trace_id, enqueue.span_id),) == run.links
    assert {"run deliver": None, "attempt 2": "run deliver"} == tree(after)
    assert ("success", 2) == (run.tags["taskflow.task.status"], run.tags["taskflow.task.attempts"])


def test_the_demo_sends_its_traces_to_jaeger(
    jaeger: Jaeger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp_http)
    with demo(tmp_path) as process:
        printed = read_until(process, r"success [1-9]", r"failed [1-9]")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    jaeger.settle()
    assert f"Traces go to {jaeger.otlp_http}" in printed
    assert "Failed to export" not in (tmp_path / "server.log").read_text()
    orders = [spans for spans in jaeger.traces("shop") if "POST /orders" in roots(spans)]
    started = {span.name for spans in orders for span in spans if span.name.startswith("run ")}
    assert {"run charge_card", "run render_invoice", "run send_email"} == started
    assert [] == [warning for spans in orders for span in spans for warning in span.warnings]


def test_of_ten_thousand_tasks_jaeger_has_every_span_in_its_own_trace(jaeger: Jaeger) -> None:
    with shop(jaeger) as app:
        answers = asyncio.run(post_all(app.url, ["/batch/100"] * 100))
        app.stop()

    traces = app.traces()
    spans = [span for spans in traces for span in spans]
    by_id = {(span.trace_id, span.span_id): span for span in spans}
    kinds = Counter(span.name.split()[0] for span in spans)
    assert (10_000, 10_000, 100) == (kinds["run"], kinds["enqueue"], kinds["POST"])
    ids = {
        kind: {task_id(span) for span in spans if span.name.startswith(kind)} for kind in ("enqueue", "run")
    }
    assert [10_000, 10_000] == [len(ids["enqueue"]), len(ids["run"] & ids["enqueue"])]
    for span in spans:
        above = by_id[span.trace_id, span.parent_id] if span.parent_id else None
        if above is None:
            assert "POST /batch/{size}" == span.name
        elif span.name.startswith("enqueue"):
            assert "fastapi.endpoint" == above.name
        elif span.name.startswith("run"):
            assert (span.name.replace("run", "enqueue", 1), task_id(span)) == (above.name, task_id(above))
        else:
            assert "POST /batch/{size}" == above.name  # FastAPI's own
    assert [] == [warning for span in spans for warning in span.warnings]
    # Each trace has the tasks that its request's answer named, and no others.
    enqueued = [sorted(task_id(s) for s in spans if s.name.startswith("run")) for spans in traces]
    assert sorted(sorted(answer) for answer in answers) == sorted(enqueued)


def task_id(span: JaegerSpan) -> str:
    return str(span.tags["taskflow.task.id"])
