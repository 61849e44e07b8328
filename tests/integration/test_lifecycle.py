"""Starting and stopping with an app, whatever lifespan it has, and again."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.testclient import TestClient

from taskflow import ManagedBackgroundTasks, ManagerClosedError, TaskManager, TaskObserver, TaskStatus
from taskflow.backends import MemoryBackend
from taskflow.core.exceptions import BackendFormatError
from tests.instances import until


class Diary(TaskObserver):
    """Writes down when it is started and closed, and every state in between."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str] = []

    def on_lifecycle(self, event) -> None:
        self.entries.append(event.status.value)

    async def startup(self) -> None:
        self.entries.append("startup")

    async def close(self) -> None:
        self.entries.append("close")


ONE_TASK = ["pending", "running", "success"]


async def note() -> None: ...


def add_route(app: FastAPI, manager: TaskManager) -> None:
    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> str:
        return tasks.add_task(note)


def entries_of_two_lives(app: FastAPI, diary: Diary) -> list[list[str]]:
    lives = []
    for _ in range(2):
        with TestClient(app) as client:
            assert client.post("/").status_code == 200
        lives.append(list(diary.entries))
        diary.entries.clear()
    return lives


LIFE = ["startup", *ONE_TASK, "close"]


@pytest.mark.parametrize("dispatch", ["request", "detached"])
def test_an_app_without_a_lifespan(dispatch):
    diary = Diary()
    manager = TaskManager(loggers=[diary], dispatch=dispatch)
    app = FastAPI()
    manager.init_app(app)
    add_route(app, manager)
    assert entries_of_two_lives(app, diary) == [LIFE, LIFE]


@pytest.mark.parametrize("dispatch", ["request", "detached"])
def test_an_app_whose_lifespan_calls_startup_and_shutdown(dispatch):
    diary = Diary()
    manager = TaskManager(loggers=[diary], dispatch=dispatch)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await manager.startup()
        yield
        await manager.shutdown()

    app = FastAPI(lifespan=lifespan)
    add_route(app, manager)
    assert entries_of_two_lives(app, diary) == [LIFE, LIFE]


def test_an_app_whose_lifespan_starts_it_and_that_is_initialised_too_starts_it_once():
    diary = Diary()
    manager = TaskManager(loggers=[diary])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await manager.startup()
        yield
        await manager.shutdown()

    app = FastAPI(lifespan=lifespan)
    manager.init_app(app)
    manager.init_app(app)
    add_route(app, manager)
    assert entries_of_two_lives(app, diary) == [LIFE, LIFE]


def test_tasks_can_use_what_the_lifespan_opened_until_they_end():
    manager = TaskManager(dispatch="detached")
    opened = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        opened.append("database")
        yield {"name": "shop"}
        opened.clear()

    app = FastAPI(lifespan=lifespan)
    manager.init_app(app)
    seen = []

    async def use() -> None:
        await asyncio.sleep(0.05)  # the client has left its block by then
        seen.extend(opened)

    @app.post("/")
    async def route(
        request: Request, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    ) -> str:
        tasks.add_task(use)
        return request.state.name

    with TestClient(app) as client:
        assert client.post("/").json() == "shop"
    assert (seen, opened) == (["database"], [])


@pytest.mark.parametrize("included", ["before", "after"])
def test_included_routers_keep_their_own_lifespans(included):
    diary = Diary()
    manager = TaskManager(loggers=[diary])
    seen = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        seen.append("opened")
        yield
        seen.append("closed")

    app, router = FastAPI(), APIRouter(lifespan=lifespan)
    if included == "before":
        app.include_router(router)
        manager.init_app(app)
    else:
        manager.init_app(app)
        app.include_router(router)
    add_route(app, manager)
    assert entries_of_two_lives(app, diary) == [LIFE, LIFE]
    assert seen == ["opened", "closed"] * 2


def test_a_lifespan_that_fails_at_its_start_starts_nothing():
    diary = Diary()
    manager = TaskManager(loggers=[diary])

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    app = FastAPI(lifespan=lifespan)
    manager.init_app(app)
    with pytest.raises(RuntimeError, match="no database"), TestClient(app):
        pass
    assert diary.entries == []


def test_a_bare_test_client_starts_nothing_and_runs_tasks_all_the_same():
    diary = Diary()
    manager = TaskManager(loggers=[diary])
    app = FastAPI()
    manager.init_app(app)
    add_route(app, manager)
    assert TestClient(app).post("/").status_code == 200
    assert diary.entries == ONE_TASK


def test_initialising_an_app_that_has_started_is_refused_and_leaves_it_as_it_was():
    manager = TaskManager()
    app = FastAPI()
    with TestClient(app) as client:
        client.get("/")
    before = app.router.lifespan_context
    with pytest.raises(RuntimeError):
        manager.init_app(app)
    assert app.router.lifespan_context is before


async def test_a_manager_that_was_shut_down_takes_no_tasks_until_it_is_started_again():
    manager = TaskManager(max_sync_threads=1, max_concurrent_tasks=1)
    async with manager:
        first = manager.enqueue(note)
    with pytest.raises(ManagerClosedError):
        manager.enqueue(note)
    async with manager:
        second = manager.enqueue(note)
        third = manager.enqueue(lambda: None)
        await manager.drain()
    assert [manager.store.get(i).status for i in (first, second, third)] == [TaskStatus.SUCCESS] * 3


async def test_starting_and_shutting_down_twice_is_once():
    diary = Diary()
    manager = TaskManager(loggers=[diary])
    await manager.startup()
    await manager.startup()
    await manager.shutdown()
    await manager.shutdown()
    assert diary.entries == ["startup", "close"]


async def test_starting_twice_at_once_is_once():
    class Slow(MemoryBackend):
        async def open(self) -> None:
            opened.append(self)
            await asyncio.sleep(0)

    diary, opened = Diary(), []
    manager = TaskManager(loggers=[diary], snapshot_backend=Slow())
    await asyncio.gather(manager.startup(), manager.startup(), manager.startup())
    assert manager.running
    await manager.shutdown()
    assert (diary.entries, len(opened)) == (["startup", "close"], 1)


async def test_a_start_that_failed_is_tried_by_who_waited_for_it():
    class FailsOnce(MemoryBackend):
        async def open(self) -> None:
            opened.append(self)
            await asyncio.sleep(0)
            if len(opened) == 1:
                raise BackendFormatError("memory", "it is another one's")

    opened: list[MemoryBackend] = []
    manager = TaskManager(snapshot_backend=FailsOnce())
    outcomes = await asyncio.gather(manager.startup(), manager.startup(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BackendFormatError, type(None)]
    assert manager.running
    await manager.shutdown()


def test_tasks_that_were_enqueued_before_there_was_a_loop_run_at_the_start():
    manager = TaskManager()
    task_id = manager.enqueue(note)

    async def script() -> None:
        async with manager:
            await manager.drain()

    asyncio.run(script())
    assert manager.store.get(task_id).status is TaskStatus.SUCCESS


def test_a_start_after_a_loop_that_ended_without_a_shutdown():
    manager = TaskManager()

    async def script() -> str:
        await manager.startup()
        task_id = manager.enqueue(note)
        await manager.drain()
        return task_id

    ids = [asyncio.run(script()) for _ in range(2)]
    assert [manager.store.get(task_id).status for task_id in ids] == [TaskStatus.SUCCESS] * 2
    asyncio.run(manager.shutdown())


# Signals


@pytest.fixture
def caught() -> Iterator[list[int]]:
    """The signals that reach the handler that was there first."""
    caught: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    yield caught
    signal.signal(signal.SIGTERM, previous)


async def test_a_signal_reaches_the_handler_that_was_there_before(caught):
    before = signal.getsignal(signal.SIGTERM)
    async with TaskManager():
        signal.raise_signal(signal.SIGTERM)
    assert caught == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


async def test_a_second_ctrl_c_reaches_the_server_when_nothing_runs_any_more():
    seen = []
    previous = signal.signal(signal.SIGINT, lambda *_: seen.append(record.status))
    manager = TaskManager(shutdown_timeout=3600)
    await manager.startup()
    record = manager.store.get(manager.enqueue(asyncio.Event().wait))
    await until(lambda: record.status is TaskStatus.RUNNING)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert seen == [TaskStatus.RUNNING]
    await until(lambda: len(seen) == 2)
    assert seen[1] is TaskStatus.INTERRUPTED
    signal.signal(signal.SIGINT, previous)


async def test_a_third_ctrl_c_reaches_the_server_at_once():
    seen = []
    previous = signal.signal(signal.SIGINT, lambda *_: seen.append("signal"))
    async with TaskManager():
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert len(seen) == 2
    await until(lambda: len(seen) == 3)
    signal.signal(signal.SIGINT, previous)


async def test_without_handle_signals_the_handlers_are_left_alone(caught):
    before = signal.getsignal(signal.SIGTERM)
    async with TaskManager(handle_signals=False):
        assert signal.getsignal(signal.SIGTERM) is before


async def test_a_signal_reaches_the_first_handler_after_the_middle_one_of_a_chain_has_left(caught):
    first, second = TaskManager(), TaskManager()
    await first.startup()
    await second.startup()
    await first.shutdown()
    signal.raise_signal(signal.SIGTERM)
    assert caught == [signal.SIGTERM]
    await second.shutdown()


async def test_a_signal_reaches_every_handler_once_after_the_middle_one_of_a_chain_came_back(caught):
    first, second = TaskManager(), TaskManager()
    await first.startup()
    await second.startup()
    await first.shutdown()
    await first.startup()
    signal.raise_signal(signal.SIGTERM)
    assert caught == [signal.SIGTERM]
    await first.shutdown()
    await second.shutdown()
