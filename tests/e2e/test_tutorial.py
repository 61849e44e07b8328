"""The tutorial, done as its readers do it: every command is typed, and what the pages show is seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.jaeger import running_jaeger
from tests.processes import ROOT, eventually, uvicorn_process
from tests.transcript import Reader

STEPS = sorted((ROOT / "docs/tutorial").glob("[0-9]*.md"))
EXAMPLES = ROOT / "docs/examples/tutorial"


@pytest.mark.parametrize("page", STEPS, ids=lambda page: page.stem)
def test_what_the_page_shows_is_what_one_sees(page: Path, tmp_path: Path):
    assert Reader(tmp_path).follow(page) >= 2


def test_each_step_shows_the_whole_of_one_program_and_starts_that_one():
    for page in STEPS:
        text = page.read_text()
        (shown,) = re.findall(r'^--8<-- "examples/tutorial/(\w+)\.py"$', text, re.MULTILINE)
        started = set(re.findall(r"--app-dir docs/examples/tutorial (\w+):app", text))
        assert started == {shown}
        assert (EXAMPLES / f"{shown}.py").exists()


def test_the_first_step_loses_the_task_behind_the_one_that_failed(tmp_path: Path):
    with uvicorn_process("step_1_plain:app", tmp_path, environment={"PYTHONPATH": str(EXAMPLES)}) as server:
        httpx.post(f"{server.url}/signups", params={"address": "ada@example.com"})
        eventually(lambda: "ConnectionError: busy" in server.output)
        assert "counted" not in server.output


def test_the_spans_of_the_fifth_step_are_of_one_trace_in_jaeger(
    executable: Callable[..., Path], tmp_path: Path
):
    with running_jaeger(executable("jaeger-all-in-one", variable="JAEGER_BIN"), tmp_path) as jaeger:
        environment = {"PYTHONPATH": str(EXAMPLES), "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp_http}
        with uvicorn_process("step_5_traces:app", tmp_path, environment=environment) as server:
            task_id = httpx.post(f"{server.url}/signups", params={"address": "ada@example.com"}).json()[
                "task_id"
            ]
            (trace,) = eventually(lambda: jaeger.traces("tutorial", taskflow__task__status="success"))
    assert {"POST /signups", "enqueue send_welcome", "attempt 1", "attempt 2", "run send_welcome"} <= {
        span.name for span in trace
    }
    assert {task_id} == {span.tags["taskflow.task.id"] for span in trace if "taskflow.task.id" in span.tags}


def test_the_password_on_the_sixth_page_opens_the_dashboard(tmp_path: Path):
    (password,) = re.findall(r"with the password `([^`]+)`", STEPS[-1].read_text())
    environment = {"PYTHONPATH": str(EXAMPLES), "TASKS_DB": str(tmp_path / "tasks.db")}
    with (
        uvicorn_process("step_6_dashboards:app", tmp_path, environment=environment) as server,
        httpx.Client(base_url=server.url, follow_redirects=True) as browser,
    ):
        page = browser.post("/tasks/auth/login", data={"username": "admin", "password": password})
        assert (page.status_code, page.url.path) == (200, "/tasks/dashboard")
