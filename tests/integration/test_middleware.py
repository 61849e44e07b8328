"""The request as its tasks see it: which belong to it, how it went, and when it is over."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.testclient import TestClient
from starlette.background import BackgroundTask
from starlette.middleware.gzip import GZipMiddleware

from taskflow import ManagedBackgroundTasks, TaskManager, TaskStatus
from taskflow.web.middleware import current_request


@pytest.fixture(params=["request", "detached"])
def manager(request) -> TaskManager:
    return TaskManager(dispatch=request.param)


@pytest.fixture
def app(manager) -> FastAPI:
    app = FastAPI()
    manager.init_app(app)
    return app


def quiet_client(app: FastAPI) -> TestClient:
    return TestClient(app, raise_server_exceptions=False)


def endings(manager: TaskManager) -> list[tuple[TaskStatus, str | None]]:
    return [(record.status, record.reason) for record in manager.store.list()]


SUCCEEDED = (TaskStatus.SUCCESS, None)
NOT_DISPATCHED = (TaskStatus.CANCELLED, "not_dispatched")


async def note() -> None: ...


async def break_down() -> None:
    raise RuntimeError("a plain task broke down")


def test_the_middleware_is_added_once_for_each_manager(manager):
    app, other = FastAPI(), TaskManager()
    manager.init_app(app)
    try:
        manager.install(app)
        manager.install(app)
        other.init_app(app)
    finally:
        manager.uninstall()
    assert [m.kwargs["task_manager"] for m in app.user_middleware] == [other, manager]


@pytest.mark.parametrize("size", [0, 5000])
def test_files_and_compressed_responses_count_as_complete(app, manager, tmp_path, size):
    app.add_middleware(GZipMiddleware)
    path: Path = tmp_path / "file.txt"
    path.write_text("x" * size)

    @app.get("/")
    async def route(
        plain: BackgroundTasks, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> FileResponse:
        plain.add_task(break_down)
        tasks.add_task(note)
        return FileResponse(path)

    with quiet_client(app) as client:
        assert client.get("/").text == "x" * size
        client.head("/")
        client.portal.call(manager.drain)
    assert endings(manager) == [SUCCEEDED]


def test_a_redirect_is_a_response_like_any_other(app, manager):
    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> RedirectResponse:
        tasks.add_task(note)
        return RedirectResponse("/elsewhere", background=BackgroundTask(note))

    with quiet_client(app) as client:
        client.post("/", follow_redirects=False)
        client.portal.call(manager.drain)
    assert endings(manager) == [SUCCEEDED]


def test_an_http_exception_in_a_mounted_app_cancels_its_tasks(app, manager):
    mounted = FastAPI()
    app.mount("/mounted", mounted)

    @mounted.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(note)
        raise HTTPException(404)

    with quiet_client(app) as client:
        assert client.post("/mounted/").status_code == 404
    assert endings(manager) == [NOT_DISPATCHED]


def test_an_exception_handler_that_answers_400_cancels_the_tasks(app, manager):
    @app.exception_handler(LookupError)
    async def answer(request, exc) -> JSONResponse:
        return JSONResponse({"error": str(exc)}, 400)

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(note)
        raise LookupError("no such order")

    with quiet_client(app) as client:
        assert client.post("/").status_code == 400
    assert endings(manager) == [NOT_DISPATCHED]


def test_tasks_that_a_task_adds_to_a_list_nobody_runs_are_started_with_its_request():
    manager = TaskManager()
    app = FastAPI()
    manager.init_app(app)

    async def add_more() -> None:
        ManagedBackgroundTasks(manager).add_task(note)

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(add_more)

    with quiet_client(app) as client:
        client.post("/")
        client.portal.call(manager.drain)
    assert endings(manager) == [SUCCEEDED, SUCCEEDED]


def test_a_request_is_over_for_what_outlives_it(app, manager):
    seen = []

    async def look() -> None:
        await asyncio.sleep(0.05)
        seen.append(current_request())

    @app.post("/")
    async def route() -> None:
        assert current_request() is not None
        manager.enqueue(look)

    with quiet_client(app) as client:
        client.post("/")
    assert seen == [None]


def test_a_client_that_closes_its_websocket_gets_its_tasks_done(app, manager):
    @app.websocket("/")
    async def socket(
        websocket: WebSocket, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> None:
        await websocket.accept()
        while True:
            await websocket.receive_text()  # raises WebSocketDisconnect in the end
            tasks.add_task(note)
            await websocket.send_text("noted")

    def talk(client: TestClient) -> None:
        with client.websocket_connect("/") as websocket:
            websocket.send_text("hello")
            websocket.receive_text()

    with quiet_client(app) as client:
        with pytest.raises(WebSocketDisconnect):
            talk(client)
        client.portal.call(manager.drain)
    assert endings(manager) == [SUCCEEDED]


def test_a_refusal_with_a_background_of_its_own_is_still_what_the_route_meant(app, manager):
    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> JSONResponse:
        tasks.add_task(note)
        return JSONResponse({}, 409, background=BackgroundTask(note))

    with quiet_client(app) as client:
        assert client.post("/").status_code == 409
        client.portal.call(manager.drain)
    assert endings(manager) == [SUCCEEDED]


def test_an_exception_that_a_handler_turns_into_a_redirect_cancels_the_tasks(app, manager):
    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(note)
        raise HTTPException(303, headers={"Location": "/elsewhere"})

    with quiet_client(app) as client:
        assert client.post("/", follow_redirects=False).status_code == 303
        client.portal.call(manager.drain)
    assert endings(manager) == [NOT_DISPATCHED]


class Belongings:
    """Something that a request has in its context, as an authentication or a session would put it there."""


belongings: ContextVar[Belongings] = ContextVar("belongings")


async def fail() -> None:
    raise RuntimeError


def note_in_a_thread() -> None: ...


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Without the garbage collector, what is in a reference cycle stays for good."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("function", [note, note_in_a_thread, fail])
def test_nothing_of_a_request_is_left_to_the_garbage_collector(app, manager, function, caplog):
    caplog.set_level("CRITICAL", "taskflow")  # pytest would keep the traceback
    manager.task(retries=1)(fail)
    kept = []

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        belongings.set(thing := Belongings())
        kept.append(weakref.ref(thing))
        tasks.add_task(function)

    with quiet_client(app) as client:
        client.post("/")
        client.post("/")
        client.portal.call(manager.drain)
        assert [reference() for reference in kept] == [None, None]
