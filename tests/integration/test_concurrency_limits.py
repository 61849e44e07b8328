"""How much runs at once, and that nothing else has to wait for it."""

import asyncio
import threading
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI

from taskflow import ManagedBackgroundTasks, TaskManager, TaskStatus
from tests.processes import eventually, uvicorn_thread

DISPATCHES = ["request", "detached"]

SECONDS = 60
"""Until an event that should have been set counts as missing."""


class Gauge:
    """How many are inside now, and the most there ever were; for threads and coroutines alike."""

    def __init__(self) -> None:
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self.inside -= 1


def statuses(manager: TaskManager) -> set[TaskStatus]:
    return {record.status for record in manager.store.list()}


def in_use(manager: TaskManager) -> list[tuple[int, int]]:
    return [(pool.in_use, pool.waiting) for pool in manager.pools]


async def test_of_ten_thousand_async_tasks_never_more_than_ten_run_at_once():
    manager = TaskManager(max_concurrent_tasks=10)
    gauge = Gauge()

    @manager.task()
    async def work() -> None:
        with gauge:
            await asyncio.sleep(0)

    async with manager:
        for _ in range(10_000):
            manager.enqueue(work)
        await manager.drain()
    assert (gauge.most, statuses(manager), len(manager.store)) == (10, {TaskStatus.SUCCESS}, 10_000)
    assert in_use(manager) == [(0, 0), (0, 0)]


async def test_retries_take_a_slot_as_first_attempts_do():
    manager = TaskManager(max_concurrent_tasks=10)
    gauge = Gauge()

    @manager.task(retries=2)
    async def flaky(failures: list[int]) -> None:
        with gauge:
            await asyncio.sleep(0)
            if failures:
                failures.pop()
                raise LookupError("not yet")

    async with manager:
        for _ in range(500):
            manager.enqueue(flaky, [1, 2])
        await manager.drain()
    assert (gauge.most, statuses(manager)) == (10, {TaskStatus.SUCCESS})
    assert in_use(manager) == [(0, 0), (0, 0)]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_task_that_waits_for_its_retry_holds_neither_slot_nor_thread(kind):
    manager = TaskManager(max_concurrent_tasks=1, max_sync_threads=1, shutdown_timeout=0)

    @manager.task(retries=1, delay=3600)
    async def flaky() -> None:
        raise LookupError("not yet")

    @manager.task(retries=1, delay=3600)
    def flaky_in_a_thread() -> None:
        raise LookupError("not yet")

    finished = asyncio.Event()

    async def quick() -> None:
        finished.set()

    def quick_in_a_thread(loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon_threadsafe(finished.set)

    async with manager:
        task_id = manager.enqueue(flaky if kind == "async" else flaky_in_a_thread)
        while manager.store.get(task_id).status is not TaskStatus.RETRYING:  # noqa: ASYNC110 - a store announces nothing
            await asyncio.sleep(0.001)
        if kind == "async":
            manager.enqueue(quick)
        else:
            manager.enqueue(quick_in_a_thread, asyncio.get_running_loop())
        async with asyncio.timeout(SECONDS):
            await finished.wait()
        assert manager.store.get(task_id).status is TaskStatus.RETRYING


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_never_more_than_four_sync_tasks_run_at_once_and_sync_routes_answer_meanwhile(dispatch):
    manager = TaskManager(dispatch=dispatch, max_sync_threads=4)
    app = FastAPI()
    manager.init_app(app)
    gauge, opened, full = Gauge(), threading.Event(), threading.Barrier(5)

    def work(wait_for_others: bool) -> None:
        with gauge:
            if wait_for_others:
                full.wait(SECONDS)
            assert opened.wait(SECONDS)

    @app.post("/")
    def add() -> None:
        for number in range(60):
            manager.enqueue(work, number < 4)

    @app.post("/in-request")
    def add_in_request(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(work, False)

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    with uvicorn_thread(app) as url:
        httpx.post(url)
        for _ in range(60):
            httpx.post(f"{url}/in-request", headers={"connection": "close"})
        full.wait(SECONDS)
        assert [httpx.get(f"{url}/hello").json() for _ in range(50)] == ["hello"] * 50
        assert gauge.inside == 4
        opened.set()
        eventually(lambda: statuses(manager) == {TaskStatus.SUCCESS})
    assert (gauge.most, len(manager.store)) == (4, 120)
    assert in_use(manager) == [(0, 0), (0, 0)]


async def test_a_cancelled_wait_for_a_slot_gives_up_its_place_in_the_queue():
    manager = TaskManager(max_concurrent_tasks=1, max_sync_threads=1)
    started, opened = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        started.set()
        await opened.wait()

    async def note() -> None: ...

    async with manager:
        first = manager.enqueue(hold)
        await started.wait()
        second, third = manager.enqueue(note), manager.enqueue(note)
        await asyncio.sleep(0)
        assert in_use(manager)[0] == (1, 2)
        manager.cancel(second)
        opened.set()
        await manager.drain()
    ends = [manager.store.get(task_id).status for task_id in (first, second, third)]
    assert ends == [TaskStatus.SUCCESS, TaskStatus.CANCELLED, TaskStatus.SUCCESS]
    assert in_use(manager) == [(0, 0), (0, 0)]


async def test_a_sync_task_that_was_interrupted_counts_until_it_returns_and_its_result_is_discarded():
    manager = TaskManager(max_sync_threads=1, shutdown_timeout=0)
    started, opened, returned = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        opened.wait(SECONDS)
        returned.set()

    async with manager:
        task_id = manager.enqueue(work)
        await asyncio.to_thread(started.wait, SECONDS)
    assert manager.store.get(task_id).status is TaskStatus.INTERRUPTED
    assert in_use(manager)[1] == (1, 0)
    opened.set()
    await asyncio.to_thread(eventually, lambda: in_use(manager)[1] == (0, 0))
    assert (returned.is_set(), manager.store.get(task_id).status) == (True, TaskStatus.INTERRUPTED)
