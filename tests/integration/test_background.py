"""What `ManagedBackgroundTasks.add_task` promises: an id, the caller's context, checked types."""

import asyncio
import subprocess
import sys
import threading
import uuid
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import fastapi
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.testclient import TestClient

from taskflow import ManagedBackgroundTasks, TaskManager, TaskStatus, get_task_context
from tests.processes import ROOT

DISPATCHES = ["request", "detached"]

user: ContextVar[str] = ContextVar("user", default="nobody")


@pytest.fixture(params=DISPATCHES)
def manager(request) -> TaskManager:
    return TaskManager(dispatch=request.param)


async def note() -> None: ...


def add_and_drain(app: FastAPI, manager: TaskManager) -> None:
    with TestClient(app) as client:
        assert client.post("/").status_code == 200
        client.portal.call(manager.drain)


# Contexts


@pytest.mark.parametrize("route_kind", ["async", "sync"])
def test_tasks_see_what_their_route_set_in_its_context(manager, route_kind):
    app = FastAPI()
    manager.init_app(app)
    injected = Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]
    seen = []

    async def look() -> None:
        seen.append(user.get())

    def look_in_a_thread() -> None:
        seen.append(user.get())

    if route_kind == "async":

        @app.post("/")
        async def route(tasks: injected) -> None:
            user.set("Ada")
            tasks.add_task(look)
            user.set("Bob")
            tasks.add_task(look_in_a_thread)
    else:

        @app.post("/")
        def sync_route(tasks: injected) -> None:
            user.set("Ada")
            tasks.add_task(look)
            user.set("Bob")
            tasks.add_task(look_in_a_thread)

    add_and_drain(app, manager)
    assert seen == ["Ada", "Bob"]


def test_what_a_task_sets_in_its_context_is_seen_by_nobody_else(manager):
    app = FastAPI()
    manager.init_app(app)
    seen = []

    async def change() -> None:
        seen.append(user.get())
        user.set("changed")
        await asyncio.sleep(0)
        seen.append(user.get())

    def change_in_a_thread() -> None:
        seen.append(user.get())
        user.set("changed in a thread")

    class After:
        """Looks at the request's context when its tasks are done."""

        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            user.set("Ada")
            await self.app(scope, receive, send)
            if scope["type"] == "http":
                seen.append(f"request: {user.get()}")

    app.add_middleware(After)

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        for func in (change, change_in_a_thread, change):
            tasks.add_task(func)

    add_and_drain(app, manager)
    assert sorted(seen) == sorted(["Ada", "changed", "Ada", "Ada", "changed", "request: Ada"])


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_every_attempt_starts_from_the_captured_context_afresh(manager, kind):
    app = FastAPI()
    manager.init_app(app)
    seen = []

    def attempt() -> None:
        seen.append((user.get(), get_task_context().attempt))
        user.set("changed")
        raise LookupError("not yet")

    @manager.task(retries=2)
    async def flaky() -> None:
        attempt()

    @manager.task(retries=2)
    def flaky_in_a_thread() -> None:
        attempt()

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        user.set("Ada")
        tasks.add_task(flaky if kind == "async" else flaky_in_a_thread)

    add_and_drain(app, manager)
    assert seen == [("Ada", 0), ("Ada", 1), ("Ada", 2)]


def test_asyncio_tasks_and_threads_that_a_task_starts_know_the_task(manager):
    app = FastAPI()
    manager.init_app(app)
    seen = []

    def look() -> None:
        seen.append(get_task_context().task_id)

    async def spread() -> None:
        async def child() -> None:
            look()

        async with asyncio.TaskGroup() as group:
            group.create_task(child())
        await asyncio.to_thread(look)
        look()

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(spread)

    add_and_drain(app, manager)
    (record,) = manager.store.list()
    assert (record.status, seen) == (TaskStatus.SUCCESS, [record.task_id] * 3)


def test_a_task_may_use_timeouts_groups_and_locks_of_asyncio(manager):
    app = FastAPI()
    manager.init_app(app)
    seen = []

    async def fail() -> None:
        raise LookupError("in a group")

    async def busy() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("timeout")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()
        except ExceptionGroup:
            seen.append("group")
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            seen.append("wait_for")
        async with asyncio.Lock():
            seen.append("lock")

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(busy)
        tasks.add_task(note)

    add_and_drain(app, manager)
    assert seen == ["timeout", "group", "wait_for", "lock"]
    assert [record.status for record in manager.store.list()] == [TaskStatus.SUCCESS] * 2


# Ids and keys


def test_the_id_is_a_uuid_and_leads_to_the_record(manager):
    tasks = ManagedBackgroundTasks(manager)
    task_id = tasks.add_task(note)
    assert (str(uuid.UUID(task_id)), uuid.UUID(task_id).version) == (task_id, 4)
    assert manager.store.get(task_id).func_name == "note"


def test_tasks_can_be_added_without_a_loop_and_run_by_hand(manager):
    tasks = ManagedBackgroundTasks(manager)
    task_id = tasks.add_task(note)
    asyncio.run(tasks())
    assert manager.store.get(task_id).status is TaskStatus.SUCCESS


def test_the_native_object_of_the_request_is_shared(manager):
    native = BackgroundTasks()
    native.add_task(print, "plain")
    tasks = ManagedBackgroundTasks(manager, native)
    tasks.add_task(note)
    assert [element.func for element in native.tasks] == [print, note]
    assert tasks.tasks is native.tasks


def test_a_key_that_is_held_runs_nothing_and_gives_the_holders_id(manager):
    app = FastAPI()
    manager.init_app(app)
    runs = []

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> list[str]:
        return [tasks.add_task(runs.append, number, idempotency_key="order 1") for number in range(2)]

    with TestClient(app) as client:
        ids = {task_id for _ in range(2) for task_id in client.post("/").json()}
        client.portal.call(manager.drain)
    assert (len(ids), runs) == (1, [0])


def test_of_many_threads_that_use_one_key_one_runs_its_task():
    manager = TaskManager()
    ids, together = [], threading.Barrier(8)

    def add() -> None:
        together.wait()
        ids.append(manager.enqueue(note, idempotency_key="order 1"))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(ids), len(set(ids)), len(manager.store)) == (8, 1, 1)


def test_tags_reach_the_record_and_the_task(manager):
    seen = []

    async def look() -> None:
        seen.append(dict(get_task_context().tags))

    tasks = ManagedBackgroundTasks(manager)
    task_id = tasks.add_task(look, tags={"shop": "books"})
    asyncio.run(tasks())
    assert (manager.store.get(task_id).tags, seen) == ({"shop": "books"}, [{"shop": "books"}])


# Types

SNIPPET = """
from fastapi import Depends, FastAPI
from taskflow import ManagedBackgroundTasks, TaskManager

manager = TaskManager()


@manager.task(retries=1)
async def charge(order: int, *, currency: str = "EUR") -> None: ...


def greet(name: str) -> None: ...


def route(tasks: ManagedBackgroundTasks) -> None:
    {line}
"""

RIGHT = [
    "reveal_type(tasks.add_task(charge, 1))  # str",
    'reveal_type(tasks.add_task(charge, 1, currency="USD"))  # str',
    'reveal_type(tasks.add_task(greet, name="Ada"))  # str',
    'reveal_type(tasks.add_task(charge, 1, idempotency_key="order 1"))  # str',
    'reveal_type(tasks.add_task(charge, 1, tags={"shop": "books"}, currency="USD"))  # str',
    'reveal_type(tasks.add_task(charge, 1, tags={"shop": "books"}, idempotency_key="order 1"))  # str',
    'reveal_type(manager.enqueue(charge, 1, tags={"shop": "books"}))  # str',
    "reveal_type(manager.enqueue(charge, order=1))  # str",
]
WRONG = [
    'tasks.add_task(charge, "one")',
    "tasks.add_task(charge)",
    "tasks.add_task(charge, 1, 2)",
    "tasks.add_task(charge, 1, currency=2)",
    "tasks.add_task(charge, 1, colour=2)",
    "tasks.add_task(greet, 1)",
    'tasks.add_task("greet", "Ada")',
    'tasks.add_task(charge, 1, tags="books")',
    "tasks.add_task(charge, 1, idempotency_key=1)",
    "number: int = tasks.add_task(charge, 1)",
    'manager.enqueue(charge, "one")',
]


def mypy(path: Path, *lines: str) -> list[str]:
    """What ``mypy --strict`` says of the snippet with these lines."""
    path.write_text(SNIPPET.format(line="\n    ".join(lines)), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    command += ["--no-pretty", "--config-file=", f"--cache-dir={path.parent / 'cache'}", str(path)]
    result = subprocess.run(
        command, cwd=path.parent, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    return [line.removeprefix(f"{path.name}:") for line in result.stdout.splitlines()]


def test_right_arguments_pass_the_type_checker_and_give_text(tmp_path):
    said = mypy(tmp_path / "snippet.py", *RIGHT)
    assert [line for line in said if " error: " in line] == []
    assert [line.endswith('Revealed type is "str"') for line in said] == [True] * len(RIGHT)


def test_wrong_arguments_do_not(tmp_path):
    first = SNIPPET[: SNIPPET.index("{line}")].count("\n") + 1
    said = mypy(tmp_path / "snippet.py", *WRONG)
    complained = {int(line.split(":")[0]) for line in said if " error: " in line}
    assert [line for number, line in enumerate(WRONG, first) if number not in complained] == []


def test_fastapi_reads_the_users_function_for_its_own_span(manager):
    tasks = fastapi.BackgroundTasks()
    ManagedBackgroundTasks(manager, tasks).add_task(note)
    (element,) = tasks.tasks
    assert (element.func.__module__, element.func.__qualname__) == (note.__module__, "note")


@pytest.mark.parametrize("func", [note, uuid.uuid5])
def test_a_task_of_the_native_list_can_be_read_like_starlettes_own(manager, func):
    native, managed = BackgroundTasks(), ManagedBackgroundTasks(manager)
    for tasks in (native, managed):
        tasks.add_task(func, 1, name="a")
    expected, found = native.tasks[0], managed.tasks[0]
    for attribute in vars(expected):
        assert getattr(expected, attribute) == getattr(found, attribute)


def test_a_class_of_ones_own_below_fastapis_is_initialised(manager):
    class Audited(BackgroundTasks):
        def __init__(self) -> None:
            super().__init__()
            self.audit: list[str] = []

    class Ours(ManagedBackgroundTasks, Audited): ...

    assert Ours(manager).audit == []
