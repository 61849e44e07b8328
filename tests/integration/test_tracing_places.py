"""From wherever a task is added, it hangs below the span that is current there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from taskflow import ManagedBackgroundTasks, TaskManager, task_log
from tests.processes import eventually
from tests.telemetry import Telemetry, by_trace, client, no_warnings, tree

pytestmark = pytest.mark.usefixtures("both_kinds_of_spans")


@pytest.fixture(params=["request", "detached"])
def dispatch(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def telemetry(caplog: pytest.LogCaptureFixture) -> Any:
    with no_warnings(caplog):
        yield Telemetry()


def below(telemetry: Telemetry, span: str) -> list[str]:
    """The spans between ``span`` and the root of its trace, innermost first."""
    relations = tree(telemetry.spans)
    path = []
    while (parent := relations[span]) is not None:
        path.append(parent)
        span = parent
    return path


async def test_a_mounted_app(telemetry: Telemetry, dispatch: Any) -> None:
    manager = TaskManager(loggers=[telemetry.observer()], dispatch=dispatch)
    app, mounted = telemetry.app(), telemetry.app()
    app.mount("/shop", mounted)
    manager.init_app(app)

    async def send() -> None: ...

    @mounted.post("/orders")
    async def order(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(send)

    async with manager, client(app) as http:
        await http.post("/shop/orders")
        await manager.drain()
    assert below(telemetry, "run send") == ["enqueue send", "fastapi.endpoint", "POST /shop/orders"]


async def test_a_router_and_from_its_task_in_a_thread_another_task(
    telemetry: Telemetry, dispatch: Any
) -> None:
    manager = TaskManager(loggers=[telemetry.observer()], dispatch=dispatch)
    app, router = telemetry.app(), APIRouter(prefix="/shop")

    async def second() -> None: ...

    @manager.task(retries=1)
    def first() -> None:
        manager.enqueue(second)

    @router.post("/orders")
    def order(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(first)

    app.include_router(router)
    manager.init_app(app)
    async with manager, client(app) as http:
        await http.post("/shop/orders")
        await manager.drain()
    assert below(telemetry, "run second") == [
        "enqueue second",
        "attempt 1",
        "run first",
        "enqueue first",
        "fastapi.endpoint",
        "POST /shop/orders",
    ]


async def test_the_body_of_a_streaming_response(telemetry: Telemetry, dispatch: Any) -> None:
    manager = TaskManager(loggers=[telemetry.observer()], dispatch=dispatch)
    app = telemetry.app()
    manager.init_app(app)

    async def send() -> None: ...

    @app.get("/report")
    async def report(
        tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)],
    ) -> StreamingResponse:
        async def rows() -> AsyncIterator[bytes]:
            yield b"first"
            tasks.add_task(send)
            yield b"last"

        return StreamingResponse(rows())

    async with manager, client(app) as http:
        await http.get("/report")
        await manager.drain()
    assert below(telemetry, "run send") == ["enqueue send", "GET /report"]


def test_a_websocket(telemetry: Telemetry, dispatch: Any) -> None:
    manager = TaskManager(loggers=[telemetry.observer()], dispatch=dispatch)
    app = telemetry.app()
    manager.init_app(app)

    async def send() -> None: ...

    @app.websocket("/chat")
    async def chat(
        socket: WebSocket, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> None:
        await socket.accept()
        await socket.send_text(tasks.add_task(send))
        await socket.close()

    with TestClient(app) as http:
        with http.websocket_connect("/chat") as socket:
            task_id = socket.receive_text()
        eventually(lambda: (record := manager.store.get(task_id)) and record.finished)
    assert below(telemetry, "run send") == ["enqueue send", "fastapi.endpoint", "WS /chat"]


async def test_the_start_up_of_the_application(telemetry: Telemetry) -> None:
    manager = TaskManager(loggers=[telemetry.observer()])

    async def warm_up() -> None: ...

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with telemetry.tracer.start_as_current_span("start-up"):
            manager.enqueue(warm_up)
        yield

    app = FastAPI(lifespan=lifespan, telemetry={"tracer_provider": telemetry.provider})
    manager.init_app(app)
    with TestClient(app):
        pass
    assert below(telemetry, "run warm_up") == ["enqueue warm_up", "start-up"]


async def test_a_thread_of_nobodys(telemetry: Telemetry) -> None:
    manager = TaskManager(loggers=[telemetry.observer()])

    async def send() -> None: ...

    async with manager:
        with telemetry.tracer.start_as_current_span("request"):
            await asyncio.get_running_loop().run_in_executor(None, manager.enqueue, send)
        await manager.drain()
    assert below(telemetry, "run send") == ["enqueue send"]


async def test_what_a_task_leaves_running_stays_below_its_attempt(
    telemetry: Telemetry, dispatch: Any
) -> None:
    manager = TaskManager(loggers=[telemetry.observer()], dispatch=dispatch)
    app = telemetry.app()
    manager.init_app(app)
    left: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def second() -> None: ...

    @manager.task(retries=1)
    async def first() -> None:
        async def straggle() -> None:
            await over.wait()
            task_log("nothing is there any more to put this on")
            telemetry.tracer.start_span("query").end()
            manager.enqueue(second)

        left.append(asyncio.create_task(straggle()))

    @app.post("/orders")
    async def order(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(first)

    async with manager, client(app) as http:
        await http.post("/orders")
        await manager.drain()
        over.set()
        await asyncio.gather(*left)
        await manager.drain()
    relations = tree(telemetry.spans)
    assert (relations["query"], relations["enqueue second"]) == ("attempt 1", "attempt 1")
    assert relations["run second"] == "enqueue second"
    assert len(by_trace(telemetry.spans)) == 1
    assert telemetry.named("attempt 1").events == ()
