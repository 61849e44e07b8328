"""The how-to guides: what each page says happens when its code is used does happen."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient

from taskflow import DecryptionError, TaskManager, task_log
from tests.pages import ENVIRONMENT, load, program
from tests.processes import ROOT, ServerProcess, eventually, uvicorn_process

GUIDES = ROOT / "docs/how-to"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def serve(guide: str, folder: Path, change: tuple[str, str] = ("", ""), **options: Any) -> Any:
    """A guide's program under uvicorn, with its files in ``folder`` and one thing changed in it."""
    text = program(GUIDES / guide).replace(*change)
    (folder / "shop.py").write_text(re.sub(r'"(tasks\.db|shop-\{pid\}\.log)"', rf'"{folder}/\1"', text))
    environment = {**ENVIRONMENT, "PYTHONPATH": str(folder), **options.pop("environment", {})}
    return uvicorn_process("shop:app", folder, environment=environment, **options)


def run_tests(guide: Any) -> dict[str, Exception | None]:
    """Run the tests of a guide; returns what each of them raised."""
    outcomes: dict[str, Exception | None] = {}
    for name, test in list(vars(guide).items()):
        if name.startswith("test_"):
            try:
                asyncio.run(test()) if inspect.iscoroutinefunction(test) else test()
                outcomes[name] = None
            except Exception as error:
                outcomes[name] = error
    return outcomes


def test_the_tests_of_the_guide_to_testing_pass():
    outcomes = run_tests(load(GUIDES / "testing.md"))
    assert len(outcomes) == 6
    assert [(name, error) for name, error in outcomes.items() if error is not None] == []


def test_the_one_with_a_file_and_a_key_fails_in_the_second_run_as_the_guide_says():
    run_tests(load(GUIDES / "testing.md"))
    second = run_tests(load(GUIDES / "testing.md"))
    assert [name for name, error in second.items() if error is not None] == ["test_an_order_is_charged"]


def test_a_task_sees_what_its_request_has_committed():
    guide = load(GUIDES / "after-commit.md")
    with TestClient(guide.app) as client:
        task_id = client.post("/orders", params={"article": "a lamp"}).json()
    record = guide.task_manager.store.get(task_id)
    assert (record.status, record.retries_used) == ("success", 0)
    assert record.logs[0].endswith("invoice for a lamp")


def test_a_task_whose_request_was_rolled_back_does_not_run():
    guide = load(GUIDES / "after-commit.md")
    with TestClient(guide.app, raise_server_exceptions=False) as client:
        assert client.post("/orders", params={"article": ""}).status_code == 500
    (record,) = guide.task_manager.store.list()
    assert (record.status, record.reason, record.logs) == ("cancelled", "not_dispatched", [])


def test_a_task_whose_commit_failed_does_not_run():
    guide = load(GUIDES / "after-commit.md")

    def on_a_full_disk() -> Iterator[Any]:
        with closing(guide.connect()) as database:
            yield database
        raise sqlite3.OperationalError("database or disk is full")

    guide.app.dependency_overrides[guide.transaction] = on_a_full_disk
    with TestClient(guide.app, raise_server_exceptions=False) as client:
        assert client.post("/orders", params={"article": "a lamp"}).status_code == 500
    (record,) = guide.task_manager.store.list()
    assert (record.status, record.reason) == ("cancelled", "not_dispatched")


def test_workers_answer_for_each_other(tmp_path: Path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    token = {"Authorization": f"Bearer {ENVIRONMENT['METRICS_TOKEN']}"}
    with serve("workers.md", tmp_path, workers=2, environment=environment) as server:

        def lines() -> int:
            return sum(len(log.read_text().splitlines()) for log in tmp_path.glob("shop-*.log"))

        def finished() -> bool:
            # A connection each time: any of the workers may take it.
            text = httpx.get(f"{server.url}/metrics", headers=token).text
            return 'taskflow_tasks_finished_total{status="success",task="send_email"} 20.0' in text

        for number in range(20):
            httpx.post(f"{server.url}/signups", params={"address": f"{number}@example.com"})
        eventually(finished)
        eventually(lambda: lines() == 20)
        password = {"username": "admin", "password": ENVIRONMENT["ADMIN_PASSWORD"]}
        login = httpx.post(f"{server.url}/tasks/auth/login", data=password)
        answers = [httpx.get(f"{server.url}/tasks", cookies=login.cookies).status_code for _ in range(20)]
    assert [200] * 20 == answers


def test_the_observers_count_alarm_and_set_the_context():
    guide = load(GUIDES / "observers.md")
    said: list[str] = []

    def chat(request: httpx.Request) -> httpx.Response:
        said.append(json.loads(request.content)["text"])
        return httpx.Response(204)

    alarm = guide.ChatAlarm("https://chat.example.com/hook", httpx.MockTransport(chat))
    failures = guide.FailureCount()
    manager = TaskManager(loggers=[failures, alarm, guide.TenantFromTags()])
    tenants: list[str] = []

    @manager.task()
    async def doomed() -> None:
        tenants.append(guide.tenant.get())
        task_log("about to fail", level="error")
        task_log("not worth an alarm")
        raise ValueError("on purpose")

    async def run() -> None:
        async with manager:
            manager.enqueue(doomed, tags={"tenant": "acme"})
            await manager.drain()

    asyncio.run(run())
    assert {"doomed": 1} == failures.failures
    assert ["doomed: about to fail", "doomed failed: on purpose"] == said
    assert ["acme"] == tenants


async def test_keys_rotate_without_losing_a_task(monkeypatch: pytest.MonkeyPatch):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    charged: list[str] = []

    def start(*keys: str) -> TaskManager:
        monkeypatch.setitem(ENVIRONMENT, "TASKFLOW_KEYS", ",".join(keys))
        manager = load(GUIDES / "key-rotation.md").task_manager

        @manager.task(persist=True)
        async def charge(number: str) -> None:
            if len(keys) == 1:
                raise ConnectionError("the bank is closed")
            charged.append(number)

        return manager

    async with start(old) as manager:
        charge, _ = manager.registry.get_by_name("charge")
        task_id = manager.enqueue(charge, "4111 1111")
        await manager.drain()
    async with start(new) as too_early:
        with pytest.raises(DecryptionError):
            await too_early.retry(task_id)
    async with start(new, old) as rotated:
        await rotated.retry(task_id)
        await rotated.drain()
    assert ["4111 1111"] == charged


def test_a_deploy_hands_a_running_task_to_the_next_process(tmp_path: Path):
    def state(server: ServerProcess) -> tuple[str, str | None]:
        (task,) = httpx.get(f"{server.url}/tasks").json()
        return task["status"], task["reason"]

    with serve("deploys.md", tmp_path, ("shutdown_timeout=20", "shutdown_timeout=0.2")) as before:
        httpx.post(f"{before.url}/shops/17/sync")
        eventually(lambda: state(before) == ("running", None))
        before.send(signal.SIGTERM)
        before.wait()
    with serve("deploys.md", tmp_path) as after:
        eventually(lambda: state(after) == ("running", "requeued"))


@pytest.mark.parametrize(("path", "answer"), [("/signups", {"status": "accepted"}), ("/newsletters", None)])
def test_routes_of_either_kind_are_managed(path: str, answer: object):
    guide = load(GUIDES / "from-background-tasks.md")
    try:
        with TestClient(guide.app) as client:
            answered = client.post(path, params={"address": "ada@example.com"}).json()
    finally:
        guide.task_manager.uninstall()
    (record,) = guide.task_manager.store.list()
    assert (record.func_name, record.status) == ("send_email", "success")
    assert answered == (answer or {"task_id": record.task_id})


async def test_a_task_that_moved_from_another_library_runs():
    guide = load(GUIDES / "from-other-libraries.md")
    async with guide.task_manager as manager:
        task_id = manager.enqueue(guide.charge, 17)
        await manager.committed(task_id)
        await manager.drain()
    record = await manager.history.get(task_id)
    assert (record.func_name, record.status) == ("billing.charge", "success")


async def test_the_backup_of_a_file_that_is_in_use_has_every_task_that_was_committed():
    guide = load(ROOT / "docs/backups.md")
    manager = TaskManager(snapshot_db="tasks.db")

    @manager.task(persist=True)
    async def send_email(address: str) -> None: ...

    async with manager:
        task_id = manager.enqueue(send_email, "ada@example.com")
        await manager.committed(task_id)
        await manager.drain()
        guide.back_up("tasks.db", "copy.db")

    async with TaskManager(snapshot_db="copy.db") as restored:
        assert [record.task_id for record in await restored.merged_list()] == [task_id]


def test_the_nightly_job_that_the_lifespan_starts_runs_its_task():
    page = load(ROOT / "docs/persistence.md")
    manager = page.task_manager

    async def committed() -> str:
        (record,) = manager.store.list()
        await manager.committed(record.task_id)
        await manager.drain()
        return record.task_id

    with TestClient(page.nightly) as client:
        task_id = client.portal.call(committed)

    assert manager.store.get(task_id).status == "success"
