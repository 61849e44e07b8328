"""Every way in which a route gets its managed tasks, under every kind of server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import fastapi.dependencies.utils
import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI
from fastapi.testclient import TestClient

from taskflow import ManagedBackgroundTasks, TaskManager, TaskStatus
from tests.processes import eventually, uvicorn_thread

Post = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _fastapi_as_it_was() -> Iterator[None]:
    yield
    assert fastapi.dependencies.utils.BackgroundTasks is BackgroundTasks


def annotations(manager: TaskManager) -> dict[str, Any]:
    """What a route's parameter may be annotated with."""
    return {
        "plain": BackgroundTasks,
        "managed": ManagedBackgroundTasks,
        "get_tasks": Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)],
        "background_tasks": Annotated[ManagedBackgroundTasks, Depends(manager.background_tasks)],
    }


def greet(names: list[str], name: str, *, polite: bool = False) -> None:
    names.append(f"dear {name}" if polite else name)


async def greet_async(names: list[str], name: str, *, polite: bool = False) -> None:
    greet(names, name, polite=polite)


@contextmanager
def under_uvicorn(app: FastAPI) -> Iterator[Post]:
    with uvicorn_thread(app) as url, httpx.Client(base_url=url) as client:
        yield lambda path: client.post(path).json()


@contextmanager
def under_test_client(app: FastAPI) -> Iterator[Post]:
    with TestClient(app) as client:
        yield lambda path: client.post(path).json()


@contextmanager
def under_bare_test_client(app: FastAPI) -> Iterator[Post]:
    yield lambda path: TestClient(app).post(path).json()


SERVERS = [under_uvicorn, under_test_client, under_bare_test_client]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("dispatch", ["request", "detached"])
@pytest.mark.parametrize("pattern", ["plain", "managed", "get_tasks", "background_tasks"])
def test_routes_of_both_kinds_get_managed_tasks(pattern, dispatch, server):
    manager = TaskManager(dispatch=dispatch)
    app = FastAPI()
    manager.init_app(app)
    injected = annotations(manager)[pattern]
    names = []

    @app.post("/async")
    async def async_route(tasks: injected) -> list[str]:
        return [tasks.add_task(greet, names, "Ada"), tasks.add_task(greet_async, names, "Bob", polite=True)]

    @app.post("/sync")
    def sync_route(tasks: injected) -> list[str]:
        return [tasks.add_task(greet, names, "Ada"), tasks.add_task(greet_async, names, "Bob", polite=True)]

    if pattern in {"plain", "managed"}:
        manager.install(app)
    try:
        with server(app) as post:
            for route in ("/async", "/sync"):
                ids = post(route)
                eventually(lambda ids=ids: all(manager.store.get(task_id).finished for task_id in ids))
    finally:
        manager.uninstall()
    assert names == ["Ada", "dear Bob", "Ada", "dear Bob"]
    assert [record.status for record in manager.store.list()] == [TaskStatus.SUCCESS] * 4


@pytest.mark.parametrize("dispatch", ["request", "detached"])
@pytest.mark.parametrize("pattern", ["plain", "managed", "get_tasks", "background_tasks"])
def test_one_app_serves_two_test_clients_one_after_the_other(pattern, dispatch):
    manager = TaskManager(dispatch=dispatch, max_concurrent_tasks=1, max_sync_threads=1)
    app = FastAPI()
    manager.init_app(app)
    manager.install(app)
    injected = annotations(manager)[pattern]
    names = []

    @app.post("/")
    def route(tasks: injected) -> None:
        tasks.add_task(greet, names, "Ada")
        tasks.add_task(greet_async, names, "Bob")

    try:
        for _ in range(2):
            with under_test_client(app) as post:
                post("/")
                post("/")
    finally:
        manager.uninstall()
    assert names == ["Ada", "Bob"] * 4


def test_depends_as_a_default_value_works_as_the_annotation_does():
    manager = TaskManager()
    app = FastAPI()
    manager.init_app(app)
    names = []

    @app.post("/")
    def route(
        tasks=Depends(manager.get_tasks),  # noqa: B008 - the form of the contract's example
        background_tasks=Depends(manager.background_tasks),  # noqa: B008 - the same
    ) -> list[str]:
        return [tasks.add_task(greet, names, "Ada"), background_tasks.add_task(greet, names, "Bob")]

    with under_test_client(app) as post:
        ids = post("/")
    assert names == ["Ada", "Bob"]
    assert [record.task_id for record in manager.store.list()] == ids


def test_routes_that_were_made_before_the_installation_get_managed_tasks_too():
    manager = TaskManager()
    app, router, names = FastAPI(), APIRouter(), []

    @router.post("/")
    async def route(tasks: BackgroundTasks) -> str:
        return tasks.add_task(greet, names, "Ada")

    app.include_router(router)
    manager.install(app)
    try:
        task_id = TestClient(app).post("/").json()
    finally:
        manager.uninstall()
    assert (names, manager.store.get(task_id).status) == (["Ada"], TaskStatus.SUCCESS)


def test_each_of_two_apps_gets_its_own_manager_and_a_third_the_last_installed():
    shop, billing, third = FastAPI(), FastAPI(), FastAPI()
    of_shop, of_billing = TaskManager(), TaskManager()
    of_shop.install(shop)
    of_billing.install(billing)

    async def route(tasks: BackgroundTasks) -> str:
        return tasks.add_task(greet, [], "Ada")

    def sync_route(tasks: ManagedBackgroundTasks) -> str:
        return tasks.add_task(greet, [], "Ada")

    try:
        for app, manager in ((shop, of_shop), (billing, of_billing), (third, of_billing)):
            app.post("/async")(route)
            app.post("/sync")(sync_route)
            for path in ("/async", "/sync"):
                task_id = TestClient(app).post(path).json()
                assert manager.store.get(task_id).status is TaskStatus.SUCCESS
    finally:
        of_shop.uninstall()
        of_billing.uninstall()
    assert (len(of_shop.store), len(of_billing.store)) == (2, 4)


def test_requests_to_two_apps_at_once_do_not_mix_up_their_managers():
    apps = [FastAPI() for _ in range(2)]
    managers = [TaskManager() for _ in apps]

    async def route(tasks: BackgroundTasks) -> str:
        return tasks.add_task(greet, [], "Ada")

    for app, manager in zip(apps, managers, strict=True):
        manager.init_app(app)
        manager.install(app)
        app.post("/")(route)
    try:
        with under_uvicorn(apps[0]) as post_first, under_uvicorn(apps[1]) as post_second:
            ids = [(post_first("/"), post_second("/")) for _ in range(20)]
    finally:
        for manager in managers:
            manager.uninstall()
    assert [record.task_id for record in managers[0].store.list()] == [first for first, _ in ids]
    assert [record.task_id for record in managers[1].store.list()] == [second for _, second in ids]


def test_a_mounted_app_with_a_manager_of_its_own_gets_that_one():
    outer, inner = FastAPI(), FastAPI()
    of_outer, of_inner = TaskManager(), TaskManager()
    outer.mount("/inner", inner)
    of_inner.install(inner)
    of_outer.install(outer)

    async def route(tasks: BackgroundTasks) -> str:
        return tasks.add_task(greet, [], "Ada")

    outer.post("/")(route)
    inner.post("/")(route)
    try:
        client = TestClient(outer)
        assert of_outer.store.get(client.post("/").json()) is not None
        assert of_inner.store.get(client.post("/inner/").json()) is not None
    finally:
        of_inner.uninstall()
        of_outer.uninstall()


def test_uninstalling_brings_back_the_class_of_fastapi_when_the_last_manager_leaves():
    first, second = TaskManager(), TaskManager()
    first.install(FastAPI())
    second.install(FastAPI())
    first.install(FastAPI())
    assert issubclass(fastapi.dependencies.utils.BackgroundTasks, ManagedBackgroundTasks)
    first.uninstall()
    assert issubclass(fastapi.dependencies.utils.BackgroundTasks, ManagedBackgroundTasks)
    second.uninstall()
    second.uninstall()
    assert fastapi.dependencies.utils.BackgroundTasks is BackgroundTasks


def test_after_uninstalling_routes_get_plain_tasks_again():
    manager = TaskManager()
    app, names = FastAPI(), []
    manager.install(app)
    manager.uninstall()

    @app.post("/")
    async def route(tasks: BackgroundTasks) -> bool:
        tasks.add_task(greet, names, "Ada")
        return isinstance(tasks, ManagedBackgroundTasks)

    assert TestClient(app).post("/").json() is False
    assert (names, len(manager.store)) == (["Ada"], 0)


def test_installing_on_an_app_that_has_started_is_refused():
    app = FastAPI()
    with TestClient(app) as client:
        client.get("/")
        with pytest.raises(RuntimeError):
            TaskManager().install(app)
