"""Where tasks run, in which order, and what becomes of those that Starlette never reaches."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.testclient import TestClient
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware

from taskflow import InMemoryLogger, ManagedBackgroundTasks, TaskManager, TaskStatus
from taskflow.core.options import NOTHING
from taskflow.execution.running.attempt import Execution
from tests.processes import eventually, uvicorn_thread

DISPATCHES = ["request", "detached"]

SECONDS = 60
"""Until an event that should have been set counts as missing."""


@pytest.fixture(params=DISPATCHES)
def manager(request) -> TaskManager:
    return TaskManager(dispatch=request.param, loggers=[InMemoryLogger()])


@pytest.fixture(params=["installed", "depends"])
def app(request, manager) -> Iterator[FastAPI]:
    """An app whose routes get the manager either by `install` or by ``Depends``; see `tasks_of`."""
    app = FastAPI()
    manager.init_app(app)
    app.state.injection = request.param
    if request.param == "installed":
        manager.install(app)
    yield app
    manager.uninstall()


def tasks_of(app: FastAPI, manager: TaskManager) -> type[ManagedBackgroundTasks]:
    """The annotation that gives a route of ``app`` its tasks."""
    if app.state.injection == "installed":
        return ManagedBackgroundTasks
    return Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]


def quiet_client(app: FastAPI) -> TestClient:
    """A client that sees a failed route as a server's client does: as a 500."""
    return TestClient(app, raise_server_exceptions=False)


def drain(client: TestClient, manager: TaskManager) -> None:
    client.portal.call(manager.drain)


def endings(manager: TaskManager) -> list[tuple[TaskStatus, str | None]]:
    """Status and reason of every task, in the order in which they were added."""
    return [(record.status, record.reason) for record in manager.store.list()]


def steps(manager: TaskManager, task_id: str) -> list[TaskStatus]:
    (observer,) = manager.logger.observers
    return [event.status for event in observer.lifecycle_events if event.task_id == task_id]


PENDING, RUNNING, RETRYING = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING
SUCCEEDED = (TaskStatus.SUCCESS, None)
NOT_DISPATCHED = (TaskStatus.CANCELLED, "not_dispatched")


async def note() -> None: ...


def note_in_a_thread() -> None: ...


async def break_down() -> None:
    raise RuntimeError("a plain task broke down")


# Responses that failed


def test_tasks_of_a_route_that_raises_are_cancelled(app, manager):
    injected = tasks_of(app, manager)

    @app.post("/")
    async def route(tasks: injected) -> None:
        tasks.add_task(note)
        tasks.add_task(note_in_a_thread)
        raise RuntimeError("the route broke down")

    with quiet_client(app) as client:
        assert client.post("/").status_code == 500
        drain(client, manager)
        assert endings(manager) == [NOT_DISPATCHED, NOT_DISPATCHED]


def test_tasks_of_a_route_in_a_thread_that_raises_are_cancelled(app, manager):
    injected = tasks_of(app, manager)

    @app.post("/")
    def route(tasks: injected) -> None:
        tasks.add_task(note)
        raise RuntimeError("the route broke down")

    with quiet_client(app) as client:
        assert client.post("/").status_code == 500
        assert endings(manager) == [NOT_DISPATCHED]


def test_tasks_of_a_route_that_raises_an_http_exception_are_cancelled(app, manager):
    injected = tasks_of(app, manager)

    @app.post("/")
    async def route(tasks: injected) -> None:
        tasks.add_task(note)
        raise HTTPException(409)

    with quiet_client(app) as client:
        assert client.post("/").status_code == 409
        drain(client, manager)
        assert endings(manager) == [NOT_DISPATCHED]


def test_tasks_of_a_response_that_fails_validation_are_cancelled(app, manager):
    injected = tasks_of(app, manager)

    @app.post("/")
    async def route(tasks: injected) -> int:
        tasks.add_task(note)
        return "not a number"

    with quiet_client(app) as client:
        assert client.post("/").status_code == 500
        assert endings(manager) == [NOT_DISPATCHED]


def test_tasks_of_a_dependency_are_cancelled_when_the_request_fails_validation(app, manager):
    injected = tasks_of(app, manager)

    async def audit(tasks: injected) -> None:
        tasks.add_task(note)

    @app.post("/", dependencies=[Depends(audit)])
    async def route(number: int) -> None: ...

    with quiet_client(app) as client:
        assert client.post("/?number=x").status_code == 422
        assert endings(manager) == [NOT_DISPATCHED]


def test_tasks_are_cancelled_when_a_handler_for_every_exception_answers(app, manager):
    injected = tasks_of(app, manager)

    @app.exception_handler(Exception)
    async def apologise(request, exc) -> PlainTextResponse:
        return PlainTextResponse("sorry", status_code=503)

    @app.post("/")
    async def route(tasks: injected) -> None:
        tasks.add_task(note)
        raise RuntimeError("the route broke down")

    with quiet_client(app) as client:
        assert client.post("/").status_code == 503
        assert endings(manager) == [NOT_DISPATCHED]


def test_tasks_are_cancelled_when_a_stream_breaks_off(app, manager):
    injected = tasks_of(app, manager)

    @app.get("/")
    async def route(tasks: injected) -> StreamingResponse:
        tasks.add_task(note)

        async def lines() -> AsyncIterator[str]:
            yield "one"
            raise RuntimeError("the stream broke off")

        return StreamingResponse(lines())

    with quiet_client(app) as client:
        client.get("/")
        assert endings(manager) == [NOT_DISPATCHED]


def test_tasks_of_a_mounted_app_are_cancelled_when_its_route_raises(app, manager):
    injected = tasks_of(app, manager)
    mounted = FastAPI()
    app.mount("/mounted", mounted)

    @mounted.post("/")
    async def route(tasks: injected) -> None:
        tasks.add_task(note)
        raise RuntimeError("the route broke down")

    with quiet_client(app) as client:
        assert client.post("/mounted/").status_code == 500
        drain(client, manager)
        assert endings(manager) == [NOT_DISPATCHED]


# Responses that went out


def test_tasks_run_beside_a_response_with_a_background_of_its_own(app, manager):
    injected = tasks_of(app, manager)
    seen = []

    @app.post("/")
    async def route(tasks: injected) -> PlainTextResponse:
        tasks.add_task(note)
        tasks.add_task(note_in_a_thread)
        return PlainTextResponse("done", background=BackgroundTask(seen.append, "own"))

    with quiet_client(app) as client:
        client.post("/")
        drain(client, manager)
        assert (endings(manager), seen) == ([SUCCEEDED, SUCCEEDED], ["own"])


@pytest.mark.parametrize("status", [200, 404, 500])
def test_tasks_run_behind_a_plain_sibling_that_raises_whatever_status_the_route_chose(manager, status):
    app = FastAPI()
    manager.init_app(app)

    @app.post("/")
    async def route(
        plain: BackgroundTasks, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> JSONResponse:
        tasks.add_task(note)
        plain.add_task(break_down)
        tasks.add_task(note)
        tasks.add_task(note_in_a_thread)
        return JSONResponse({}, status)

    with quiet_client(app) as client:
        assert client.post("/").status_code == status
        drain(client, manager)
        assert endings(manager) == [SUCCEEDED, SUCCEEDED, SUCCEEDED]


def test_tasks_of_a_mounted_app_run_behind_a_plain_sibling_that_raises(manager):
    app, mounted = FastAPI(), FastAPI()
    manager.init_app(app)
    app.mount("/mounted", mounted)

    @mounted.post("/")
    async def route(
        plain: BackgroundTasks, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> None:
        plain.add_task(break_down)
        tasks.add_task(note)

    with quiet_client(app) as client:
        assert client.post("/mounted/").status_code == 200
        drain(client, manager)
        assert endings(manager) == [SUCCEEDED]


def test_tasks_run_after_a_status_that_the_route_chose(app, manager):
    injected = tasks_of(app, manager)

    @app.post("/")
    async def route(tasks: injected) -> JSONResponse:
        tasks.add_task(note)
        return JSONResponse({}, 404)

    with quiet_client(app) as client:
        assert client.post("/").status_code == 404
        drain(client, manager)
        assert endings(manager) == [SUCCEEDED]


def test_tasks_run_after_a_stream_and_so_do_those_that_the_stream_adds(app, manager):
    injected = tasks_of(app, manager)

    @app.get("/")
    async def route(tasks: injected) -> StreamingResponse:
        tasks.add_task(note)

        async def lines() -> AsyncIterator[str]:
            yield "one"
            tasks.add_task(note)
            yield "two"

        return StreamingResponse(lines())

    with quiet_client(app) as client:
        assert client.get("/").text == "onetwo"
        drain(client, manager)
        assert endings(manager) == [SUCCEEDED, SUCCEEDED]


def test_tasks_run_that_a_dependency_adds_after_the_response(app, manager):
    injected = tasks_of(app, manager)

    async def audit(tasks: injected) -> AsyncIterator[None]:
        yield
        tasks.add_task(note)

    @app.post("/", dependencies=[Depends(audit)])
    async def route() -> None: ...

    with quiet_client(app) as client:
        client.post("/")
        drain(client, manager)
        assert endings(manager) == [SUCCEEDED]


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_base_http_middleware_changes_nothing(manager, where):
    app = FastAPI()
    injected = Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]

    async def pass_on(request, call_next):
        return await call_next(request)

    if where == "outside":
        manager.init_app(app)
    app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)
    if where == "inside":
        manager.init_app(app)

    @app.post("/good")
    async def good(plain: BackgroundTasks, tasks: injected) -> None:
        tasks.add_task(note)
        plain.add_task(break_down)
        tasks.add_task(note_in_a_thread)

    @app.post("/bad")
    async def bad(tasks: injected) -> None:
        tasks.add_task(note)
        raise RuntimeError("the route broke down")

    with quiet_client(app) as client:
        client.post("/good")
        client.post("/bad")
        drain(client, manager)
        assert endings(manager) == [SUCCEEDED, SUCCEEDED, NOT_DISPATCHED]


def test_tasks_of_a_websocket_run_when_it_is_closed(app, manager):
    injected = tasks_of(app, manager)

    @app.websocket("/")
    async def socket(websocket: WebSocket, tasks: injected) -> None:
        await websocket.accept()
        tasks.add_task(note)
        await websocket.close()

    with quiet_client(app) as client:
        with client.websocket_connect("/") as websocket, pytest.raises(WebSocketDisconnect):
            websocket.receive_text()
        drain(client, manager)
        assert endings(manager) == [SUCCEEDED]


def test_tasks_of_a_websocket_run_although_it_raises(app, manager):
    injected = tasks_of(app, manager)

    @app.websocket("/")
    async def socket(websocket: WebSocket, tasks: injected) -> None:
        await websocket.accept()
        tasks.add_task(note)
        raise RuntimeError("the socket broke down")

    with quiet_client(app) as client:
        with pytest.raises(RuntimeError, match="the socket broke down"), client.websocket_connect("/"):
            pass
        drain(client, manager)
        assert endings(manager) == [SUCCEEDED]  # they began at once


# Bare clients: each request has a loop of its own, which ends with it


def test_without_a_start_up_tasks_run_beside_a_response_with_its_own_background(app, manager):
    injected = tasks_of(app, manager)

    async def take_a_while() -> None:
        await asyncio.sleep(0.05)  # longer than the loop lives that has only the request to serve

    @app.post("/")
    async def route(tasks: injected) -> PlainTextResponse:
        tasks.add_task(take_a_while)
        tasks.add_task(take_a_while)
        return PlainTextResponse("done", background=BackgroundTask(note))

    quiet_client(app).post("/")
    assert endings(manager) == [SUCCEEDED, SUCCEEDED]


def test_without_a_start_up_tasks_run_behind_a_plain_sibling_that_raises(manager):
    app = FastAPI()
    manager.init_app(app)

    async def take_a_while() -> None:
        await asyncio.sleep(0.05)  # longer than the loop lives that has only the request to serve

    @app.post("/")
    async def route(
        plain: BackgroundTasks, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> None:
        plain.add_task(break_down)
        tasks.add_task(take_a_while)
        tasks.add_task(note_in_a_thread)

    quiet_client(app).post("/")
    assert endings(manager) == [SUCCEEDED, SUCCEEDED]


def test_a_loop_that_ends_before_its_tasks_began_leaves_none_of_them_pending():
    manager = TaskManager()

    async def script() -> None:
        manager.enqueue(note)
        manager.enqueue(note_in_a_thread)
        # What asyncio.run does at its end, to tasks that may not have made their first step.
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(script())
    assert endings(manager) == [(TaskStatus.INTERRUPTED, "shutdown")] * 2


async def test_drain_waits_for_what_another_thread_has_only_just_enqueued():
    manager = TaskManager()
    async with manager:
        thread = threading.Thread(target=manager.enqueue, args=(note,))
        thread.start()
        thread.join()  # this loop has not had a turn since
        await manager.drain()
        assert endings(manager) == [SUCCEEDED]


# Two managers in one request


@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("ending", ["good", "bad", "own"])
def test_each_of_two_managers_settles_its_own_tasks_of_a_request(dispatch, ending):
    mail, billing = TaskManager(dispatch=dispatch), TaskManager(dispatch=dispatch)
    app = FastAPI()
    mail.init_app(app)
    billing.init_app(app)

    @app.post("/")
    async def route(
        mails: Annotated[ManagedBackgroundTasks, Depends(mail.get_tasks)],
        bills: Annotated[ManagedBackgroundTasks, Depends(billing.get_tasks)],
    ) -> PlainTextResponse:
        mails.add_task(note)
        bills.add_task(note)
        if ending == "bad":
            raise RuntimeError("the route broke down")
        return PlainTextResponse("done", background=BackgroundTask(note) if ending == "own" else None)

    with quiet_client(app) as client:
        client.post("/")
        drain(client, mail)
        drain(client, billing)
        expected = NOT_DISPATCHED if ending == "bad" else SUCCEEDED
        assert (endings(mail), endings(billing)) == ([expected], [expected])


# Clients that go away


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_client_that_leaves_in_the_middle_of_a_stream_leaves_no_task_pending(dispatch):
    manager = TaskManager(dispatch=dispatch)
    app = FastAPI()
    manager.init_app(app)
    over = threading.Event()

    async def lines() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"line\n" * 1000
                await asyncio.sleep(0)
        finally:
            over.set()

    @app.get("/")
    async def route(
        tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)],
    ) -> StreamingResponse:
        tasks.add_task(note)
        return StreamingResponse(lines())

    with uvicorn_thread(app) as url:
        with httpx.stream("GET", url) as response:
            next(response.iter_raw())
        assert over.wait(SECONDS)
        eventually(lambda: all(record.finished for record in manager.store.list()))
    (ending,) = endings(manager)
    assert ending in {SUCCEEDED, NOT_DISPATCHED}


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_client_that_leaves_before_the_response_gets_its_tasks_done(dispatch):
    manager = TaskManager(dispatch=dispatch)
    app = FastAPI()
    manager.init_app(app)
    entered, gone = threading.Event(), threading.Event()

    @app.get("/")
    def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(note)
        entered.set()
        gone.wait(SECONDS)

    with uvicorn_thread(app) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(url, timeout=httpx.Timeout(SECONDS, read=0.2))
        assert entered.wait(SECONDS)
        gone.set()
        eventually(lambda: all(record.finished for record in manager.store.list()))
    assert endings(manager) == [SUCCEEDED]


# Order


def test_plain_and_managed_tasks_of_a_request_run_in_the_order_in_which_they_were_added():
    manager = TaskManager()
    app = FastAPI()
    manager.init_app(app)
    order = []

    async def managed(name: str) -> None:
        await asyncio.sleep(0)
        order.append(name)

    def managed_in_a_thread(name: str) -> None:
        order.append(name)

    @app.post("/")
    async def route(
        plain: BackgroundTasks, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> None:
        plain.add_task(order.append, "plain 1")
        tasks.add_task(managed, "managed 1")
        tasks.add_task(managed_in_a_thread, "managed 2")
        plain.add_task(order.append, "plain 2")
        tasks.add_task(managed, "managed 3")

    with TestClient(app) as client:
        client.post("/")
    assert order == ["plain 1", "managed 1", "managed 2", "plain 2", "managed 3"]


def test_tasks_of_one_request_keep_their_order_through_nested_dependencies(app, manager):
    injected = tasks_of(app, manager)
    order = []

    async def take(name: str, steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        order.append(name)

    def take_in_a_thread(name: str) -> None:
        order.append(name)

    def innermost(tasks: injected) -> None:
        tasks.add_task(take_in_a_thread, "innermost")

    async def inner(tasks: injected, _: Annotated[None, Depends(innermost)]) -> None:
        tasks.add_task(take, "inner", 5)

    @app.post("/")
    async def route(tasks: injected, _: Annotated[None, Depends(inner)]) -> None:
        tasks.add_task(take, "route", 0)

    with TestClient(app) as client:
        client.post("/")
        drain(client, manager)
    assert order == ["innermost", "inner", "route"]


def test_tasks_keep_their_order_across_two_ways_of_injection_in_one_request(manager):
    app = FastAPI()
    manager.init_app(app)
    manager.install(app)
    order = []

    async def take(name: str, steps: int) -> None:
        for _ in range(steps):
            await asyncio.sleep(0)
        order.append(name)

    @app.post("/")
    async def route(
        plain: BackgroundTasks, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> None:
        plain.add_task(take, "first", 5)
        tasks.add_task(take, "second", 2)
        plain.add_task(take, "third", 0)

    try:
        with TestClient(app) as client:
            client.post("/")
            drain(client, manager)
    finally:
        manager.uninstall()
    assert order == ["first", "second", "third"]


# Failures


def test_a_failing_task_stops_none_of_its_siblings(app, manager):
    injected = tasks_of(app, manager)

    def break_down_in_a_thread() -> None:
        raise RuntimeError("broke down in a thread")

    async def leave() -> None:
        raise SystemExit(3)

    async def await_something_cancelled() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @app.post("/")
    async def route(tasks: injected) -> None:
        for func in (break_down, break_down_in_a_thread, leave, await_something_cancelled, note):
            tasks.add_task(func)

    with TestClient(app) as client:
        client.post("/")
        drain(client, manager)
    failed = (TaskStatus.FAILED, None)
    assert endings(manager) == [failed, failed, failed, failed, SUCCEEDED]


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_the_traceback_of_a_failure_is_logged_and_begins_in_the_task(app, manager, kind, caplog):
    injected = tasks_of(app, manager)

    async def charge_card() -> None:
        raise LookupError("no such card")

    def charge_card_in_a_thread() -> None:
        raise LookupError("no such card")

    @app.post("/")
    async def route(tasks: injected) -> str:
        return tasks.add_task(charge_card if kind == "async" else charge_card_in_a_thread)

    with TestClient(app) as client:
        task_id = client.post("/").json()
        drain(client, manager)
    (logged,) = [record for record in caplog.records if record.name == "taskflow"]
    assert logged.levelno == logging.ERROR
    assert task_id in logged.getMessage()
    exc_type, exc, traceback = logged.exc_info
    assert (exc_type, str(exc)) == (LookupError, "no such card")
    assert traceback.tb_frame.f_code.co_name.startswith("charge_card")
    assert "taskflow/execution/driver.py" not in manager.store.get(task_id).stacktrace


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_events_of_a_retried_task_come_in_order_and_none_twice(app, manager, kind, caplog):
    injected = tasks_of(app, manager)

    @manager.task(retries=2, delay=0.01, backoff=2)
    async def flaky() -> None:
        raise LookupError("not yet")

    @manager.task(retries=2, delay=0.01, backoff=2)
    def flaky_in_a_thread() -> None:
        raise LookupError("not yet")

    @app.post("/")
    async def route(tasks: injected) -> str:
        return tasks.add_task(flaky if kind == "async" else flaky_in_a_thread)

    with TestClient(app) as client:
        task_id = client.post("/").json()
        drain(client, manager)
    expected = [PENDING, RUNNING, RETRYING, RUNNING, RETRYING, RUNNING, TaskStatus.FAILED]
    assert steps(manager, task_id) == expected
    (observer,) = manager.logger.observers
    retries = [event for event in observer.lifecycle_events if event.status is RETRYING]
    assert [(event.error, event.next_delay) for event in retries] == [("not yet", 0.01), ("not yet", 0.02)]
    levels = [record.levelno for record in caplog.records if record.name == "taskflow"]
    assert levels == [logging.WARNING, logging.WARNING, logging.ERROR]


def test_a_cancelled_task_whose_clean_up_fails_is_not_tried_again():
    manager = TaskManager()
    attempts = []

    @manager.task(retries=3)
    async def hang(started: asyncio.Event) -> None:
        attempts.append(1)
        if len(attempts) > 1:
            return
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("the clean-up failed")

    async def script() -> None:
        async with manager:
            started = asyncio.Event()
            task_id = manager.enqueue(hang, started)
            await started.wait()
            manager.cancel(task_id)
            await manager.drain()

    asyncio.run(script())
    assert (endings(manager), len(attempts)) == ([(TaskStatus.CANCELLED, "user")], 1)


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_cancelling_a_task_that_runs_lets_its_siblings_and_the_request_go_on(dispatch):
    manager = TaskManager(dispatch=dispatch)
    app = FastAPI()
    manager.init_app(app)
    started = threading.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(note)
        tasks.add_task(hang)
        tasks.add_task(note)
        tasks.add_task(note_in_a_thread)

    with uvicorn_thread(app) as url:
        httpx.post(url)
        assert started.wait(SECONDS)
        manager.cancel(manager.store.list()[1].task_id)
        eventually(lambda: all(record.finished for record in manager.store.list()))
        assert httpx.post(f"{url}/docs").status_code == 405  # the server is in good health
    cancelled = (TaskStatus.CANCELLED, "user")
    assert endings(manager) == [SUCCEEDED, cancelled, SUCCEEDED, SUCCEEDED]


# Detached


def test_detached_tasks_hold_neither_the_response_nor_the_connection():
    manager = TaskManager(dispatch="detached")
    app = FastAPI()
    manager.init_app(app)
    opened = asyncio.Event()
    ports = []

    async def wait() -> None:
        await opened.wait()

    @app.post("/add")
    async def add(
        request: Request, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> str:
        ports.append(request.client.port)
        return tasks.add_task(wait)

    @app.post("/open")
    async def open_(request: Request) -> None:
        ports.append(request.client.port)
        opened.set()

    with uvicorn_thread(app) as url, httpx.Client(base_url=url) as client:
        task_id = client.post("/add").json()
        assert not manager.store.get(task_id).finished
        client.post("/open")
        eventually(lambda: manager.store.get(task_id).finished)
    assert ports[0] == ports[1]
    assert endings(manager) == [SUCCEEDED]


def test_in_request_mode_the_response_is_out_before_the_tasks_begin():
    manager = TaskManager()
    app = FastAPI()
    manager.init_app(app)
    opened = threading.Event()

    def wait() -> None:
        assert opened.wait(SECONDS)

    @app.post("/")
    async def add(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> str:
        return tasks.add_task(wait)

    with uvicorn_thread(app) as url:
        httpx.post(url)
        opened.set()
        eventually(lambda: all(record.finished for record in manager.store.list()))
    assert endings(manager) == [SUCCEEDED]


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_shutdown_waits_for_accepted_tasks(dispatch):
    manager = TaskManager(dispatch=dispatch)
    app = FastAPI()
    manager.init_app(app)

    async def take_a_while() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(take_a_while)
        tasks.add_task(note_in_a_thread)
        manager.enqueue(take_a_while)

    with TestClient(app) as client:
        client.post("/")
    assert endings(manager) == [SUCCEEDED, SUCCEEDED, SUCCEEDED]


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_timeout_of_its_own_before_a_cancellation_does_not_take_the_siblings_along(dispatch):
    manager = TaskManager(dispatch=dispatch)
    app = FastAPI()
    manager.init_app(app)
    started = threading.Event()

    async def time_out_and_hang() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        started.set()
        await asyncio.Event().wait()

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(time_out_and_hang)
        tasks.add_task(note)

    with uvicorn_thread(app) as url:
        httpx.post(url)
        assert started.wait(SECONDS)
        manager.cancel(manager.store.list()[0].task_id)
        eventually(lambda: all(record.finished for record in manager.store.list()))
    assert endings(manager) == [(TaskStatus.CANCELLED, "user"), SUCCEEDED]


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_timeout_of_its_own_does_not_make_a_later_failure_an_interruption(dispatch):
    manager = TaskManager(dispatch=dispatch)
    app = FastAPI()
    manager.init_app(app)

    async def time_out_and_fail() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(time_out_and_fail)
        tasks.add_task(note)

    with TestClient(app) as client:
        client.post("/")
        drain(client, manager)
    assert endings(manager) == [(TaskStatus.FAILED, None), SUCCEEDED]


async def test_what_a_cancelled_request_has_not_reached_is_interrupted_without_a_started_manager():
    manager = TaskManager(loggers=[InMemoryLogger()])
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    executions = [manager.enqueuer.enqueue(work, (), {}, NOTHING, Execution) for _ in range(2)]
    left = [execution for _, execution in executions if execution is not None]
    request = asyncio.create_task(manager.dispatcher.follow_up(left))
    await started.wait()
    request.cancel()
    await asyncio.wait({request})

    assert [TaskStatus.INTERRUPTED] * 2 == [record.status for record in manager.store.list()]
    assert {} == manager.driver.executions
