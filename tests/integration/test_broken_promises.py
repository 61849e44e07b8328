"""What would break a promise in silence is told: a manager that nobody starts, a wrong annotation, a
response that does not wait, a request that is cancelled."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient

from taskflow import (
    ConfigurationError,
    ManagedBackgroundTasks,
    ManagerNotStartedError,
    TaskManager,
    TaskStatus,
)
from taskflow.backends import MemoryBackend
from taskflow.web import background


@pytest.fixture(autouse=True)
def nothing_said_before(monkeypatch: pytest.MonkeyPatch):
    background._complaints.reset()


def application(manager: TaskManager, app: FastAPI | None = None) -> FastAPI:
    app = app or FastAPI()

    @manager.task(persist=True)
    async def charge() -> None: ...

    @manager.task()
    async def note() -> None: ...

    @app.post("/{name}")
    async def route(name: str, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> str:
        return tasks.add_task({"charge": charge, "note": note}[name])

    return app


def test_a_durable_task_of_a_manager_that_nobody_started_is_refused():
    manager = TaskManager(snapshot_backend=MemoryBackend())
    app = application(manager)

    with TestClient(app) as client, pytest.raises(ManagerNotStartedError, match=r"'charge'.*init_app"):
        client.post("/charge")

    assert [] == manager.store.list()


def test_a_backend_that_nothing_is_kept_in_is_told_once(caplog: pytest.LogCaptureFixture, tmp_path: Path):
    app = application(TaskManager(snapshot_db=str(tmp_path / "tasks.db")))

    with TestClient(app) as client:
        answers = [client.post("/note").status_code for _ in range(3)]

    assert [200] * 3 == answers
    assert ["nothing of them is kept" in r.message for r in caplog.records if r.name == "taskflow"] == [True]


def test_a_manager_without_a_backend_need_not_be_started(caplog: pytest.LogCaptureFixture):
    with TestClient(application(TaskManager())) as client:
        client.post("/note")

    assert [] == [record for record in caplog.records if record.name == "taskflow"]


def managed_route(app: FastAPI) -> None:
    @app.post("/")
    async def route(tasks: ManagedBackgroundTasks) -> None: ...


def managed_dependency(app: FastAPI) -> None:
    async def dependency(tasks: ManagedBackgroundTasks) -> None: ...

    @app.post("/", dependencies=[Depends(dependency)])
    async def route() -> None: ...


@pytest.mark.parametrize("add", [managed_route, managed_dependency])
def test_an_annotation_that_would_give_a_plain_object_is_refused_at_the_start(add: Any):
    manager, app = TaskManager(), FastAPI()
    add(app)
    manager.init_app(app)

    with pytest.raises(ConfigurationError, match=r"tasks: ManagedBackgroundTasks.*Depends"), TestClient(app):
        pass


def test_the_same_annotation_is_right_where_a_manager_is_installed():
    manager, app = TaskManager(), FastAPI()
    managed_route(app)
    manager.init_app(app)
    manager.install(app)
    try:
        with TestClient(app) as client:
            assert 200 == client.post("/").status_code
    finally:
        manager.uninstall()


def test_a_plain_annotation_is_nobodys_business():
    manager, app = TaskManager(), FastAPI()

    @app.post("/")
    async def route(tasks: BackgroundTasks) -> None: ...

    manager.init_app(app)
    with TestClient(app) as client:
        assert 200 == client.post("/").status_code


@pytest.mark.parametrize("waits", [False, True])
def test_a_response_that_does_not_wait_for_its_commit_is_told(caplog: pytest.LogCaptureFixture, waits: bool):
    manager = TaskManager(snapshot_backend=MemoryBackend())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:  # as the contract shows it: no middleware
        async with manager:
            yield

    app = FastAPI(lifespan=lifespan)

    @manager.task(persist=True)
    async def charge() -> None: ...

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(charge)
        if waits:
            await tasks.committed()

    with TestClient(app) as client:
        client.post("/")
        client.post("/")

    told = [
        r.message for r in caplog.records if r.levelno == logging.ERROR and "went out before" in r.message
    ]
    assert (0 if waits else 1) == len(told)


# What a request goes through


def scope(path: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [],
    }


async def empty_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize("until", ["http.response.start", "http.response.body"])
async def test_a_promise_holds_although_the_request_is_cancelled_while_its_bytes_go_out(until: str):
    manager = TaskManager(snapshot_backend=MemoryBackend())
    app = application(manager)
    manager.init_app(app)
    sending = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == until:
            sending.set()
            await asyncio.Event().wait()  # flow control: the client may have the bytes

    async with manager:
        request = asyncio.create_task(app(scope("/charge"), empty_body, send))
        await sending.wait()
        request.cancel()
        await asyncio.wait({request})
        await manager.drain()
        (record,) = manager.store.list()

    assert (TaskStatus.SUCCESS, None) == (record.status, record.reason)


async def test_a_task_that_nobody_promised_is_not_run_after_a_broken_response():
    manager = TaskManager()
    app = application(manager)
    manager.init_app(app)
    sending = asyncio.Event()

    async def send(message: Any) -> None:
        sending.set()
        await asyncio.Event().wait()

    async with manager:
        request = asyncio.create_task(app(scope("/note"), empty_body, send))
        await sending.wait()
        request.cancel()
        await asyncio.wait({request})
        (record,) = manager.store.list()

    assert (TaskStatus.CANCELLED, "not_dispatched") == (record.status, record.reason)


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_time_limit_around_the_request_does_not_stop_its_task(kind: str):
    manager, app = TaskManager(), FastAPI()
    started, gate, ended = asyncio.Event(), asyncio.Event(), []
    loop = asyncio.get_running_loop()

    async def slow() -> None:
        started.set()
        await gate.wait()
        ended.append("async")

    def slow_sync() -> None:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result()
        ended.append("sync")

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> str:
        return tasks.add_task(slow if kind == "async" else slow_sync)

    manager.init_app(app)

    async def limited(*asgi: Any) -> None:
        request = asyncio.create_task(app(*asgi))
        await started.wait()
        request.cancel()
        await asyncio.wait({request})

    async with manager:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(limited), base_url="http://test"
        ) as client:
            answer = await client.post("/")
        before = manager.store.get(answer.json())
        assert before is not None
        running = before.status
        gate.set()
        await manager.drain()

    assert (TaskStatus.RUNNING, TaskStatus.SUCCESS, [kind]) == (running, before.status, ended)


def test_the_tasks_of_a_socket_start_while_it_is_open():
    manager, app = TaskManager(), FastAPI()
    ran = asyncio.Event()

    @manager.task()
    async def work() -> None:
        ran.set()

    @app.websocket("/")
    async def route(
        socket: WebSocket, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> None:
        await socket.accept()
        tasks.add_task(work)
        await ran.wait()
        await socket.send_text("it ran")
        await socket.receive_text()

    manager.init_app(app)
    with TestClient(app) as client, client.websocket_connect("/") as socket:
        assert "it ran" == socket.receive_text()
        socket.send_text("bye")


def test_what_a_socket_was_promised_survives_an_exception_of_its_route():
    manager, app = TaskManager(snapshot_backend=MemoryBackend()), FastAPI()

    @manager.task(persist=True)
    async def charge() -> None: ...

    @app.websocket("/")
    async def route(
        socket: WebSocket, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> None:
        await socket.accept()
        task_id = tasks.add_task(charge)
        await tasks.committed()
        await socket.send_text(task_id)
        await socket.receive_text()
        raise ValueError("the route is broken")

    manager.init_app(app)
    with TestClient(app) as client:
        with pytest.raises(ValueError, match="broken"), client.websocket_connect("/") as socket:  # noqa: PT012
            task_id = socket.receive_text()
            socket.send_text("go on")
            socket.receive_text()
        assert client.portal is not None
        client.portal.call(manager.drain)
        record = manager.store.get(task_id)

    assert record is not None
    assert TaskStatus.SUCCESS == record.status
