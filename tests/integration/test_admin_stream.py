"""The live stream, over real connections: nothing is missed, nobody is waited for, and it ends in time."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from starlette.middleware.gzip import GZipMiddleware

from taskflow import TaskManager, task_log
from taskflow.admin.feed import client, hub, ring
from taskflow.admin.feed.sse import EventStreamResponse
from taskflow.admin.stats.health import health
from tests.admin import Listener, Message, admin_app, listening
from tests.processes import PATIENCE, eventually, uvicorn_process, uvicorn_thread


@pytest.fixture
def manager() -> TaskManager:
    return TaskManager()


@pytest.fixture
def url(manager: TaskManager) -> Iterator[str]:
    with uvicorn_thread(admin_app(manager)) as url:
        yield url


async def quick() -> None: ...


def until(listener: Listener, status: str, *events: str) -> list[Message]:
    """The messages up to the first about a task in that status."""
    found = []
    for message in listener.messages("task", *events):
        found.append(message)
        if message.data.get("status") == status:
            return found
    raise AssertionError(f"ended without {status}: {found}")


def test_every_change_is_told_once_and_in_order(manager: TaskManager, url: str) -> None:
    @manager.task(retries=1)
    async def charge() -> None:
        raise LookupError("x" * 500)

    with listening(url) as listener:
        task_id = manager.enqueue(charge, tags={"plan": "pro"})
        told = until(listener, "failed")
    record = manager.store.get(task_id)
    assert [message.data["status"] for message in told] == [
        "pending",
        "running",
        "retrying",
        "running",
        "failed",
    ]
    assert len({message.id for message in told}) == 5
    assert told[-1].data == {
        "task_id": task_id,
        "func_name": "charge",
        "status": "failed",
        "created_at": record.created_at.isoformat(),
        "timestamp": record.end_time.isoformat(),
        "attempt": 1,
        "retries_used": 1,
        "max_retries": 1,
        "duration": record.duration,
        "error": "x" * 200,
        "error_type": "LookupError",
        "tags": {"plan": "pro"},
        "retry_of": None,
        "reason": None,
        "next_delay": None,
    }
    assert told[2].data["next_delay"] == 0.0


def test_the_answer_is_not_kept_or_collected_by_anything_on_its_way(url: str) -> None:
    with listening(url) as listener:
        headers = listener.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")


def test_who_comes_back_gets_what_was_missed_and_nothing_twice(manager: TaskManager, url: str) -> None:
    with listening(url) as listener:
        manager.enqueue(quick)
        last = until(listener, "success")[-1].id
    missed = manager.enqueue(quick)
    eventually(lambda: manager.store.get(missed).finished)
    with listening(url, last) as listener:
        told = list(islice(listener.messages("task", "reset"), 3))
    assert [(m.data["task_id"], m.data["status"]) for m in told] == [
        (missed, "pending"),
        (missed, "running"),
        (missed, "success"),
    ]


def test_who_left_before_the_first_change_misses_nothing_either(manager: TaskManager, url: str) -> None:
    with listening(url), httpx.stream("GET", f"{url}/tasks/stream") as response:
        position = next(Listener(response).blocks())["id"]
    task_id = manager.enqueue(quick)
    with listening(url, position) as listener:
        assert next(listener.messages("task", "reset")).data["task_id"] == task_id


@pytest.mark.parametrize("position", ["deadbeef-3", "3", "-", "x-y", "é", "deadbeef-99999999999999999999"])
def test_who_comes_back_to_another_process_is_told_to_load_everything_again(
    manager: TaskManager, url: str, position: str
) -> None:
    headers = {"Last-Event-ID": position.encode()}
    with httpx.stream("GET", f"{url}/tasks/stream", headers=headers) as response:
        listener = Listener(response)
        reset = next(listener.messages("reset", "task"))
        assert reset.event == "reset"
        manager.enqueue(quick)
        assert until(listener, "success")[0].data["status"] == "pending"
    with listening(url, reset.id) as listener:
        assert next(listener.messages("reset", "task")).event == "task"


def test_who_was_away_for_too_long_is_told_to_load_everything_again(
    manager: TaskManager, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "RING_SIZE", 5)
    with listening(url) as listener:
        manager.enqueue(quick)
        last = until(listener, "success")[-1].id
        for _ in range(2):
            manager.enqueue(quick)
            until(listener, "success")
    with listening(url, last) as listener:
        assert next(listener.messages("reset", "task")).event == "reset"


def test_who_comes_back_after_everybody_had_left_for_long_is_told_to_load_everything_again(
    manager: TaskManager, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = threading.Event()
    subscribe = manager.stream.subscribe

    def subscribe_noticeably(subscriber: Any) -> Any:
        unsubscribe = subscribe(subscriber)
        return lambda: (unsubscribe(), left.set())

    monkeypatch.setattr(manager.stream, "subscribe", subscribe_noticeably)
    monkeypatch.setattr(hub, "LINGER", 0.0)
    with listening(url) as listener:
        manager.enqueue(quick)
        last = until(listener, "success")[-1].id
    assert left.wait(PATIENCE)
    with listening(url, last) as listener:
        assert next(listener.messages("reset", "task")).event == "reset"


def test_a_burst_comes_in_parts_and_complete(
    manager: TaskManager, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "BURST", 7)
    with listening(url) as listener:
        expected = [manager.enqueue(quick) for _ in range(20)]
        told = list(islice(listener.messages("task"), 60))
    assert [m.data["task_id"] for m in told if m.data["status"] == "pending"] == expected


def test_an_overview_comes_at_once_and_after_a_change(manager: TaskManager, url: str) -> None:
    with listening(url) as listener:
        overviews = listener.messages("overview")
        assert next(overviews).data["counts"]["success"] == 0
        manager.enqueue(quick)
        assert any(message.data["counts"]["success"] == 1 for message in overviews)
        manager.enqueue(quick)
        assert httpx.get(f"{url}/tasks/overview").json().keys() == next(overviews).data.keys()


def test_an_overview_that_fails_comes_a_next_time_and_is_told_of_once(
    manager: TaskManager, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([RuntimeError("now")] * 3)

    def fails(task_manager: TaskManager) -> Any:
        for failure in failures:
            raise failure
        return health(task_manager)

    monkeypatch.setattr(hub, "OVERVIEW_AT_REST", 3600.0)
    monkeypatch.setattr(hub, "OVERVIEW_INTERVAL", 0.01)
    monkeypatch.setattr("taskflow.admin.stats.overview.health", fails)
    with listening(url) as listener:
        assert next(listener.messages("overview")).data["counts"]["success"] == 0
    assert [record.message for record in caplog.records] == ["the overview could not be made"]


def test_who_follows_one_task_gets_its_changes_and_its_log_lines_alone(
    manager: TaskManager, url: str
) -> None:
    gate = threading.Event()

    def work(word: str) -> None:
        gate.wait()
        task_log(f"said {word}", level="warning", detail=1)

    followed, other = manager.enqueue(work, "this"), manager.enqueue(work, "that")
    eventually(lambda: manager.store.get(followed).status == manager.store.get(other).status == "running")
    with listening(url, task_id=followed) as one, listening(url, task_id=followed) as two:
        gate.set()
        told, again = (until(listener, "success", "log", "overview") for listener in (one, two))
    assert [(message.event, message.data["task_id"]) for message in told] == [
        ("log", followed),
        ("task", followed),
    ]
    assert {name: told[0].data[name] for name in ("level", "message", "attempt")} == {
        "level": "warning",
        "message": "said this",
        "attempt": 0,
    }
    assert [message.data for message in again] == [message.data for message in told]


def test_a_quiet_stream_is_kept_open_by_comments(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "HEARTBEAT_INTERVAL", 0.0)
    with listening(url, task_id="none") as listener:
        assert next(listener.blocks()) == {"": "ping"}


async def endless(closed: list[str]) -> AsyncGenerator[bytes, None]:
    try:
        while True:
            yield b":\n\n"
            await asyncio.sleep(0)
    finally:
        closed.append("closed")


async def forever(*_: object) -> Any:
    await asyncio.Event().wait()


async def test_a_client_that_takes_nothing_more_is_given_up() -> None:
    closed: list[str] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await forever()

    await EventStreamResponse(endless(closed), send_timeout=0.01)({"type": "http"}, forever, send)
    assert closed == ["closed"]


async def test_a_client_that_has_gone_is_noticed_although_nothing_is_sent() -> None:
    closed: list[str] = []

    async def quiet() -> AsyncGenerator[bytes, None]:
        try:
            await forever()
            yield b""
        finally:
            closed.append("closed")

    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0)
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await EventStreamResponse(quiet())({"type": "http"}, receive, send)
    assert (closed, [message["type"] for message in sent]) == (["closed"], ["http.response.start"])


async def test_what_goes_wrong_while_sending_is_raised() -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b""
        raise LookupError("on purpose")

    async def send(_: Any) -> None: ...

    with pytest.raises(LookupError, match="on purpose"):
        await EventStreamResponse(broken())({"type": "http"}, forever, send)


def test_a_client_that_reads_nothing_holds_up_neither_tasks_nor_other_clients(
    manager: TaskManager, url: str
) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as deaf, listening(url) as listener:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.sendall(b"GET /tasks/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(5):
            for _ in range(300):
                last = manager.enqueue(quick, tags={"padding": "x" * 2_000})
            assert any(
                m.data["task_id"] == last and m.data["status"] == "success" for m in listener.messages("task")
            )


def test_a_stream_ends_with_the_session_that_opened_it_and_no_other() -> None:
    app = admin_app(TaskManager(), auth=("ada", "correct horse"), secret_key="k")
    with uvicorn_thread(app) as url, httpx.Client(base_url=url) as one, httpx.Client(base_url=url) as other:
        for http in (one, other):
            http.post("/tasks/auth/login", data={"username": "ada", "password": "correct horse"})
        with listening(url, cookies=one.cookies) as ending, listening(url, cookies=other.cookies) as staying:
            one.post("/tasks/auth/logout")
            for _ in ending.blocks():
                pass  # to its orderly end
            assert next(staying.messages("overview"))
        assert httpx.get(f"{url}/tasks/stream").status_code == 401


def test_the_stream_passes_through_what_applications_put_in_its_way(manager: TaskManager) -> None:
    app = admin_app(manager)
    app.add_middleware(GZipMiddleware, minimum_size=0)

    @app.middleware("http")
    async def plain(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    with uvicorn_thread(app) as url, listening(url) as listener:
        manager.enqueue(quick)
        assert len(until(listener, "success")) == 3


def test_streams_end_when_the_shutdown_begins(tmp_path: Path) -> None:
    with uvicorn_process("tests.integration.apps.streaming_app:app", tmp_path) as server:
        with listening(server.url) as one, listening(server.url) as other:
            httpx.post(f"{server.url}/quick")
            until(one, "success")
            server.send(signal.SIGTERM)
            for listener in (one, other):
                for _ in listener.blocks():
                    pass  # to its orderly end: httpx raises if the connection breaks
        server.wait()
        assert "Traceback" not in server.output
        assert "without completing" not in server.output


async def test_during_the_shutdown_nobody_is_let_in_any_more(manager: TaskManager) -> None:
    app = admin_app(manager)
    async with app.router.lifespan_context(app):
        pass
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as http:
        answer = await http.get("/tasks/stream")
        assert (answer.status_code, "shutting down" in answer.json()["detail"]) == (503, True)


def test_an_application_that_is_started_again_streams_again(manager: TaskManager) -> None:
    app = admin_app(manager)
    for _ in range(2):
        with uvicorn_thread(app) as url, listening(url) as listener:
            manager.enqueue(quick)
            assert len(until(listener, "success")) == 3
            assert next(listener.messages("overview"))
