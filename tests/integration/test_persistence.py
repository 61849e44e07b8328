"""What a task lives through when its process stops, dies, or loses its backend."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Self
from uuid import UUID

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from taskflow import (
    ArgumentsNotKeptError,
    BackendFormatError,
    BackendUnavailableError,
    CommitError,
    InMemoryLogger,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskManager,
    TaskObserver,
    TaskRecord,
    TaskStatus,
    persistence,
    snapshot,
    task_log,
)
from taskflow.backends import MemoryBackend
from taskflow.query import TaskQuery
from taskflow.retry import _draft, retry_id
from taskflow.rows import RELEASED
from tests.faulty import FaultyBackend
from tests.processes import PATIENCE

QUICK = {"heartbeat_interval": 0.05, "lease_timeout": 0.2, "rescue_interval": 0.02}
"""Times for tests in which an instance dies."""


class Instance:
    """A manager as one process would have it, with functions that wait for the test.

    Attributes:
        ran: what the functions were called with.
        go: lets them end.
        dead: whether it was killed.
    """

    def __init__(self, backend: MemoryBackend, *observers: TaskObserver, **options: Any) -> None:
        self.events = InMemoryLogger()
        loggers = [self.events, *observers]
        self.manager = TaskManager(snapshot_backend=backend, loggers=loggers, **(QUICK | options))
        self.ran: list[Any] = []
        self.go = asyncio.Event()
        self.dead = False

    def task(self, **config: Any) -> Callable[[Any], Any]:
        """Register a function that notes its argument, and ends when the test says so."""

        async def work(value: Any = None) -> None:
            self.ran.append(value)
            await self.go.wait()

        return self.manager.task(**({"name": "work"} | config))(work)

    async def __aenter__(self) -> Self:
        await self.manager.startup()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.go.set()
        if not self.dead:
            await self.manager.shutdown()

    async def stop(self) -> None:
        """Shut down while its functions wait, and go on waiting."""
        self.go = asyncio.Event()
        await self.manager.shutdown()

    async def die(self) -> None:
        """Stop without a word, as SIGKILL would: no heartbeat, no journal, nobody drives its tasks."""
        self.dead = True
        persistence = self.manager._persistence
        assert persistence is not None
        loops = [*persistence._loops, *self.manager.dispatcher._tasks]
        if persistence.journal._worker is not None:
            loops.append(persistence.journal._worker)
        persistence._on_event = lambda event: None  # type: ignore[method-assign]
        self.manager.stream._set_subscribers(())
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    def story(self, task_id: str) -> list[tuple[str, str | None]]:
        """The states that a task went through here, and why."""
        return [(e.status.value, e.reason) for e in self.events.lifecycle_events if e.task_id == task_id]


def enqueue_only(instance: Instance, function: Any, value: Any) -> str:
    """As a request that has not ended: nobody drives the task yet."""
    task_id, _ = instance.manager.enqueuer.enqueue(function, (value,), {})
    return task_id


async def until(condition: Callable[[], Any]) -> Any:
    """What the condition, or what it returns to await, gives once that is true."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.005)


async def ends(instance: Instance, task_id: str) -> TaskRecord:
    """The task's record once it has ended."""

    async def ended() -> TaskRecord | None:
        record = await instance.manager.history.get(task_id)
        return record if record is not None and record.finished else None

    found: TaskRecord = await until(ended)
    return found


async def stored(backend: MemoryBackend, task_id: str) -> TaskStatus | None:
    """The state that the backend knows of."""
    row = await backend.get(task_id)
    return None if row is None else row.status


@asynccontextmanager
async def client(manager: TaskManager, app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The app as a server would run it, in this loop."""
    manager.init_app(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as requests,
    ):
        yield requests


# A clean stop


async def test_a_pending_task_runs_after_the_next_start_as_if_nothing_had_happened():
    backend = MemoryBackend()
    moment, number = datetime(2026, 1, 1, 12, tzinfo=UTC), UUID(int=7)

    def functions(instance: Instance) -> Any:
        @instance.manager.task(retries=2)
        async def bill(when: datetime, amount: Decimal, *, ids: set[UUID], raw: bytes = b"\xff") -> None:
            instance.ran.append((when, amount, ids, raw))

        return bill, instance.task()

    async with Instance(
        backend, requeue_pending=True, max_concurrent_tasks=1, shutdown_timeout=0.05
    ) as first:
        bill, slow = functions(first)
        first.manager.enqueue(slow)
        task_id = first.manager.enqueue(
            bill, moment, Decimal("1.50"), ids={number}, idempotency_key="bill:1", tags={"to": "ada"}
        )
        await until(lambda: first.ran)
        await first.stop()
    assert first.manager.store.get(task_id) is None  # it is the backend's

    second = Instance(backend, requeue_pending=True)
    functions(second)
    async with second:
        record = await ends(second, task_id)

    assert [(moment, Decimal("1.50"), {number}, b"\xff")] == second.ran
    assert (TaskStatus.SUCCESS, "bill:1", {"to": "ada"}, 2) == (
        record.status,
        record.idempotency_key,
        record.tags,
        record.max_retries,
    )
    assert [("pending", None)] == first.story(task_id)
    assert [("pending", "requeued"), ("running", None), ("success", None)] == second.story(task_id)


@pytest.mark.parametrize("again", [True, False])
async def test_a_running_task_runs_again_only_if_it_may(again: bool):
    backend = MemoryBackend()
    async with Instance(backend, requeue_pending=True, shutdown_timeout=0.05) as first:
        task_id = first.manager.enqueue(first.task(requeue_on_interrupt=again), 1)
        await until(lambda: first.ran)
        await first.stop()

    second = Instance(backend, requeue_pending=True)
    second.task(requeue_on_interrupt=again)
    second.go.set()
    async with second:
        record = await ends(second, task_id)

    left = "pending" if again else "interrupted"
    assert (left, "shutdown") == first.story(task_id)[-1]
    assert (TaskStatus.SUCCESS if again else TaskStatus.INTERRUPTED) is record.status
    assert ([1] if again else []) == second.ran


async def test_a_task_that_waits_for_its_retry_waits_for_the_rest_after_the_next_start():
    backend = MemoryBackend()

    def failing(instance: Instance) -> Any:
        @instance.manager.task(retries=1, delay=3600)
        async def fail() -> None:
            instance.ran.append(1)
            raise ValueError("no")

        return fail

    async with Instance(backend, requeue_pending=True, shutdown_timeout=5) as first:
        task_id = first.manager.enqueue(failing(first))
        await until(lambda: (task_id, "retrying") == (task_id, first.story(task_id)[-1][0]))

    second = Instance(backend, requeue_pending=True, shutdown_timeout=5)
    failing(second)
    async with second:
        await until(lambda: second.manager.executor.executions)
        execution = second.manager.executor.executions[task_id]
        record = execution.record

        assert 3500 < execution.retry_delay <= 3600
        assert (TaskStatus.PENDING, 1) == (record.status, record.retries_used)
    assert [] == second.ran
    assert ["pending", "running", "retrying", "pending"] == [state for state, _ in first.story(task_id)]


async def test_without_requeueing_what_is_unfinished_is_interrupted():
    backend = MemoryBackend()
    async with Instance(backend, max_concurrent_tasks=1, shutdown_timeout=0.05) as first:
        work = first.task()
        ids = [first.manager.enqueue(work), first.manager.enqueue(work)]
        await until(lambda: first.ran)
        await first.stop()

    rows = [await backend.get(task_id) for task_id in ids]
    assert ["interrupted", "interrupted"] == [row.status for row in rows if row is not None]


async def test_a_function_that_is_not_registered_cannot_be_requeued_and_is_interrupted():
    backend = MemoryBackend()
    async with Instance(backend, requeue_pending=True, max_concurrent_tasks=1, shutdown_timeout=0.05) as only:

        async def passing() -> None: ...

        only.manager.enqueue(only.task())
        task_id = only.manager.enqueue(passing)
        await until(lambda: only.ran)
        await only.stop()

    row = await backend.get(task_id)
    assert row is not None
    assert TaskStatus.INTERRUPTED is row.status


async def test_one_manager_finds_its_own_tasks_again_when_it_is_started_again():
    async with Instance(
        MemoryBackend(), requeue_pending=True, max_concurrent_tasks=1, shutdown_timeout=0.05
    ) as only:
        work = only.task(requeue_on_interrupt=True)
        only.manager.enqueue(work, 1)
        only.manager.enqueue(work, 2)
        await until(lambda: only.ran)
        await only.stop()
        only.ran.clear()
        only.go.set()

        await only.manager.startup()
        await until(lambda: {1, 2} == set(only.ran))
        await only.manager.drain()

    assert ["success", "success"] == [record.status for record in await only.manager.merged_list()]


# A crash


async def test_a_durable_task_that_had_not_begun_is_rescued_and_runs():
    backend = MemoryBackend()
    async with Instance(backend, max_concurrent_tasks=1) as dead, Instance(backend) as alive:
        work = dead.task(persist=True)
        alive.task(persist=True)
        alive.go.set()
        dead.manager.enqueue(work, "mid-execution")
        task_id = dead.manager.enqueue(work, "waits")
        await dead.manager.committed(task_id)
        await until(lambda: dead.ran)

        await dead.die()
        record = await ends(alive, task_id)

        assert (["waits"], TaskStatus.SUCCESS) == (alive.ran, record.status)
        assert [("pending", "rescued"), ("running", None), ("success", None)] == alive.story(task_id)


@pytest.mark.parametrize("again", [True, False])
async def test_a_durable_task_that_had_begun_runs_again_only_if_it_may(again: bool):
    backend = MemoryBackend()
    async with Instance(backend) as dead, Instance(backend) as alive:
        work = dead.task(persist=True, requeue_on_interrupt=again)
        alive.task(persist=True, requeue_on_interrupt=again)
        alive.go.set()
        task_id = dead.manager.enqueue(work, 1)
        await until(lambda: dead.ran)

        await dead.die()
        record = await ends(alive, task_id)

        if again:
            assert ([1], TaskStatus.SUCCESS) == (alive.ran, record.status)
        else:
            assert ([], TaskStatus.INTERRUPTED, "rescued") == (alive.ran, record.status, record.reason)


async def test_a_task_in_whose_middle_three_processes_died_is_poison():
    backend = MemoryBackend()
    instances = [Instance(backend) for _ in range(4)]
    async with instances[0]:
        task_id = instances[0].manager.enqueue(instances[0].task(persist=True, requeue_on_interrupt=True))
        for dead, following in pairwise(instances):
            await until(lambda dead=dead: dead.ran)
            await dead.die()
            following.task(persist=True, requeue_on_interrupt=True)
            await following.manager.startup()
        record = await ends(instances[3], task_id)

        assert (TaskStatus.FAILED, "poison", 3) == (record.status, record.reason, record.rescues)
        assert [] == instances[3].ran
        assert [("failed", "poison")] == instances[3].story(task_id)
        await instances[3].manager.shutdown()


async def test_what_an_instance_does_after_its_lease_ran_out_does_not_count():
    backend = MemoryBackend()
    late, other = Instance(backend, heartbeat_interval=60, lease_timeout=120), Instance(backend)
    async with late, other:
        work = late.task(persist=True, requeue_on_interrupt=True)
        other.task(persist=True, requeue_on_interrupt=True)
        task_id = late.manager.enqueue(work)
        await until(lambda: late.ran)

        owner = backend._rows[task_id].owner
        assert owner is not None
        backend._leases[owner] = 0.0  # its heartbeat did not come in time
        await until(lambda: other.ran)
        late.go.set()
        await until(lambda: late.story(task_id)[-1][0] in ("success", "interrupted"))
        await until(lambda: late.manager.store.get(task_id) is None)
        row = await backend.get(task_id)
        assert row is not None
        assert TaskStatus.RUNNING is row.status

        other.go.set()
        assert TaskStatus.SUCCESS is (await ends(other, task_id)).status


async def test_an_instance_that_wakes_up_cancels_what_others_have_taken_over():
    backend = MemoryBackend()
    late, other = Instance(backend, heartbeat_interval=0.05, lease_timeout=60), Instance(backend)
    async with late, other:
        work = late.task(persist=True, requeue_on_interrupt=True)
        kept = late.manager.enqueue(late.task(name="kept", persist=True))
        other.task(persist=True, requeue_on_interrupt=True)
        task_id = late.manager.enqueue(work)
        await until(lambda: len(late.ran) == 2)

        taken = backend._rows[task_id]
        assert late.manager._persistence is not None
        backend._rows[task_id] = replace(taken, owner=RELEASED, status=TaskStatus.PENDING)
        await until(lambda: other.ran)
        backend._leases[late.manager._persistence._instance.token] = 0.0  # its heartbeat did not come in time
        await until(lambda: late.story(task_id)[-1] == ("interrupted", "lease_lost"))
        await until(lambda: task_id not in late.manager.executor.executions)

        late.go.set()
        assert TaskStatus.SUCCESS is (await ends(late, kept)).status
        other.go.set()
        assert TaskStatus.SUCCESS is (await ends(other, task_id)).status


async def test_a_heartbeat_keeps_a_long_task():
    backend = FaultyBackend()
    async with Instance(backend) as busy, Instance(backend) as other:
        other.task(persist=True)
        task_id = busy.manager.enqueue(busy.task(persist=True))
        await until(lambda: busy.ran)
        beats, looks = backend.calls["renew"], backend.calls["claimable"]
        await until(lambda: backend.calls["renew"] > beats + 10 and backend.calls["claimable"] > looks + 20)

        busy.go.set()
        assert TaskStatus.SUCCESS is (await ends(busy, task_id)).status
        assert [] == other.ran


async def test_what_is_not_durable_is_interrupted_in_the_history_when_its_process_dies():
    backend = MemoryBackend()
    async with Instance(backend) as dead, Instance(backend) as alive:
        task_id = dead.manager.enqueue(dead.task())
        await until(lambda: dead.ran)
        assert dead.manager._scheduler is not None
        await dead.manager._scheduler.flush()

        await dead.die()
        record = await ends(alive, task_id)

        assert (TaskStatus.INTERRUPTED, "shutdown") == (record.status, record.reason)
        assert [("interrupted", "shutdown")] == alive.story(task_id)


# The write-ahead


async def test_a_response_does_not_start_before_its_durable_tasks_are_stored():
    backend = FaultyBackend()
    instance, app = Instance(backend), FastAPI()
    work = instance.task(persist=True)
    instance.go.set()

    @app.post("/")
    def route(tasks: Annotated[ManagedBackgroundTasks, Depends(instance.manager.get_tasks)]) -> str:
        return tasks.add_task(work, 1)

    async with client(instance.manager, app) as requests:
        backend.gate.clear()
        asked = asyncio.create_task(requests.post("/"))
        await until(lambda: backend.calls["commit"])
        assert not asked.done()
        assert [] == instance.ran

        backend.gate.set()
        answer = await asked
        record = await ends(instance, answer.json())

    assert (200, [1], TaskStatus.SUCCESS) == (answer.status_code, instance.ran, record.status)


async def test_an_enqueue_that_cannot_be_stored_is_answered_with_503_and_nothing_of_it_runs():
    backend = FaultyBackend()
    instance, app = Instance(backend), FastAPI()
    work, plain = instance.task(persist=True), instance.task(name="plain")
    instance.go.set()

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(instance.manager.get_tasks)]) -> None:
        tasks.add_task(plain, "before")
        tasks.add_task(work, 1)
        tasks.add_task(plain, "after")

    async with client(instance.manager, app) as requests:
        backend.down = True
        answer = await requests.post("/")
        records = instance.manager.store.list()
        backend.down = False

        assert 503 == answer.status_code
        assert "5" == answer.headers["retry-after"]
        assert "memory: it is down" in answer.json()["detail"]
        assert [("cancelled", "not_dispatched")] * 3 == [(r.status, r.reason) for r in records]
        assert [] == instance.ran

        async def accepted() -> bool:
            return (await requests.post("/")).is_success

        await until(accepted)


async def test_a_write_whose_answer_was_lost_does_not_leave_a_task_that_nobody_runs():
    backend = FaultyBackend()
    async with Instance(backend) as instance:
        backend.lost_answers = True
        task_id = instance.manager.enqueue(instance.task(persist=True), 1)
        with pytest.raises(CommitError, match="the answer was lost"):
            await instance.manager.committed(task_id)
        backend.lost_answers = False

        async def cancelled() -> bool:
            return await stored(backend, task_id) is TaskStatus.CANCELLED

        await until(cancelled)
        assert [] == instance.ran


async def test_a_durable_task_of_a_route_that_raises_is_cancelled_in_the_backend_too():
    backend = MemoryBackend()
    instance, app = Instance(backend), FastAPI()
    work = instance.task(persist=True)

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(instance.manager.get_tasks)]) -> None:
        raise HTTPException(418, tasks.add_task(work, 1))

    async with client(instance.manager, app) as requests:
        answer = await requests.post("/")
        task_id = answer.json()["detail"]

    row = await backend.get(task_id)
    assert row is not None
    assert (418, TaskStatus.CANCELLED, []) == (answer.status_code, row.status, instance.ran)


async def test_a_durable_task_is_known_to_run_before_its_function_starts():
    backend = MemoryBackend()
    async with Instance(backend) as instance:
        seen = []

        @instance.manager.task(persist=True)
        async def asynchronous(task_id: list[str]) -> None:
            seen.append((await backend.get(ids[0])).status)  # type: ignore[union-attr]

        @instance.manager.task(persist=True)
        def synchronous() -> None:
            seen.append(backend._rows[ids[1]].status)

        ids = [instance.manager.enqueue(asynchronous, ["x"]), instance.manager.enqueue(synchronous)]
        for task_id in ids:
            await ends(instance, task_id)

    assert [TaskStatus.RUNNING, TaskStatus.RUNNING] == seen


async def test_tasks_that_are_added_while_the_response_streams_can_be_awaited():
    backend = FaultyBackend()
    instance, app = Instance(backend), FastAPI()
    work = instance.task(persist=True)
    instance.go.set()

    @app.get("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(instance.manager.get_tasks)]) -> Any:
        async def lines() -> AsyncIterator[str]:
            yield "started "
            backend.down = True
            tasks.add_task(work, 1)
            try:
                await tasks.committed()
            except CommitError:
                yield "refused"
            backend.down = False

        return StreamingResponse(lines())

    async with client(instance.manager, app) as requests:
        answer = await requests.get("/")

    assert ("started refused", []) == (answer.text, instance.ran)


async def test_without_a_start_there_is_no_promise_to_give():
    instance, app = Instance(MemoryBackend()), FastAPI()
    work = instance.task(persist=True)
    instance.manager.init_app(app)

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(instance.manager.get_tasks)]) -> str:
        return tasks.add_task(work, 1)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as requests:
        answer = await requests.post("/")

    assert 503 == answer.status_code
    assert "has not been started" in answer.json()["detail"]


async def test_what_is_enqueued_before_the_start_is_stored_and_runs_with_it():
    instance = Instance(MemoryBackend())
    instance.go.set()
    task_id = instance.manager.enqueue(instance.task(persist=True), 1)

    async with instance:
        await instance.manager.committed(task_id)
        assert TaskStatus.SUCCESS is (await ends(instance, task_id)).status


# Idempotency keys


async def test_a_key_runs_once_on_two_instances_and_the_loser_leads_to_the_winner():
    backend = MemoryBackend()
    async with Instance(backend) as one, Instance(backend) as other:
        one.go.set()
        other.go.set()
        first = one.manager.enqueue(one.task(persist=True), 1, idempotency_key="k")
        await ends(one, first)
        second = other.manager.enqueue(other.task(persist=True), 1, idempotency_key="k")
        await other.manager.committed(second)  # the promise is kept: by the other task
        record = await ends(other, second)

    assert (TaskStatus.CANCELLED, "duplicate", first) == (record.status, record.reason, record.duplicate_of)
    assert ([1], []) == (one.ran, other.ran)


async def test_a_second_request_with_the_key_waits_for_the_first_one_to_be_stored():
    backend = FaultyBackend()
    instance, app = Instance(backend), FastAPI()
    work = instance.task(persist=True)
    instance.go.set()

    @app.post("/")
    async def route(tasks: Annotated[ManagedBackgroundTasks, Depends(instance.manager.get_tasks)]) -> str:
        return tasks.add_task(work, 1, idempotency_key="k")

    async with client(instance.manager, app) as requests:
        backend.gate.clear()
        asked = [asyncio.create_task(requests.post("/")) for _ in range(2)]
        await until(lambda: backend.calls["commit"])
        for _ in range(100):
            await asyncio.sleep(0)
        assert [False, False] == [task.done() for task in asked]

        backend.gate.set()
        answers = [await task for task in asked]

    assert [200, 200] == [answer.status_code for answer in answers]
    assert answers[0].json() == answers[1].json()
    assert [1] == instance.ran


async def test_a_key_of_a_failed_task_is_free_again_on_every_instance():
    backend = MemoryBackend()
    async with Instance(backend) as one, Instance(backend) as other:
        for instance in (one, other):

            @instance.manager.task(persist=True, name="fails")
            async def fails(instance: str) -> None:
                raise ValueError("no")

            task_id = instance.manager.enqueue(fails, "x", idempotency_key="k")
            assert TaskStatus.FAILED is (await ends(instance, task_id)).status


# A backend that goes away


async def test_tasks_go_on_while_the_backend_is_away_and_their_ends_reach_it_afterwards():
    backend = FaultyBackend()
    async with Instance(backend, lease_timeout=60) as instance:
        durable = instance.manager.enqueue(instance.task(persist=True), "durable")
        await until(lambda: instance.ran)
        backend.down = True
        plain = instance.manager.enqueue(instance.task(name="plain"), "plain")
        instance.go.set()
        await until(lambda: ("success", None) == instance.story(plain)[-1])
        await until(lambda: ("success", None) == instance.story(durable)[-1])
        await until(lambda: instance.manager.backend_error is not None)
        refused = instance.manager.enqueue(instance.task(persist=True, name="late"), "late")
        with pytest.raises(CommitError, match="it is down"):
            await instance.manager.committed(refused)

        backend.down = False

        async def succeeded() -> bool:
            return await stored(backend, durable) is TaskStatus.SUCCESS

        await until(succeeded)
    assert TaskStatus.SUCCESS is await stored(backend, plain)
    assert TaskStatus.CANCELLED is await stored(backend, refused)


async def test_a_backend_that_is_away_is_not_asked_all_the_time():
    backend = FaultyBackend()
    async with Instance(backend) as instance:
        work = instance.task(persist=True)
        instance.go.set()
        backend.down = True
        first = instance.manager.enqueue(work)
        with pytest.raises(CommitError):
            await instance.manager.committed(first)
        asked = backend.calls["commit"]
        for _ in range(500):
            task_id = instance.manager.enqueue(work)
            with pytest.raises(CommitError):
                await instance.manager.committed(task_id)

        assert asked == backend.calls["commit"]
        backend.down = False


async def test_who_waits_behind_a_commit_that_fails_does_not_wait_for_another_one():
    backend = FaultyBackend()
    async with Instance(backend) as instance:
        work = instance.task(persist=True)
        backend.lost_answers = True
        backend.gate.clear()
        first = instance.manager.enqueue(work)
        await until(lambda: backend.calls["commit"])
        second = instance.manager.enqueue(work)
        backend.gate.set()
        for task_id in (first, second):
            with pytest.raises(CommitError, match="the answer was lost"):
                await instance.manager.committed(task_id)
        assert 1 == backend.calls["commit"]
        backend.lost_answers = False
        await until(lambda: instance.manager.backend_error is None)

    assert TaskStatus.CANCELLED is await stored(backend, first)
    assert TaskStatus.CANCELLED is await stored(backend, second)
    assert [] == instance.ran


async def test_no_client_waits_for_the_answer_to_whether_the_backend_is_back():
    backend = FaultyBackend()
    async with Instance(backend) as instance:
        work = instance.task(persist=True)
        instance.go.set()
        backend.lost_answers = True
        with pytest.raises(CommitError):
            await instance.manager.committed(instance.manager.enqueue(work))
        backend.gate.clear()
        asked = backend.calls["commit"]
        await until(lambda: backend.calls["commit"] > asked)  # that the first one is cancelled, and no answer
        with pytest.raises(CommitError):
            await instance.manager.committed(instance.manager.enqueue(work))

        backend.lost_answers = False
        backend.gate.set()

        async def accepted() -> bool:
            try:
                await instance.manager.committed(instance.manager.enqueue(work))
            except CommitError:
                return False
            return True

        await until(accepted)


async def test_a_backend_that_is_away_at_the_start_is_taken_up_when_it_comes(
    caplog: pytest.LogCaptureFixture,
):
    backend = FaultyBackend()
    backend.down = True
    async with Instance(backend) as instance:
        work, plain = instance.task(persist=True), instance.task(name="plain")
        instance.go.set()
        assert "memory: it is down" == instance.manager.backend_error
        assert "the backend cannot be used, open failed: memory: it is down" in caplog.text
        refused = instance.manager.enqueue(work, "refused")
        with pytest.raises(CommitError):
            await instance.manager.committed(refused)
        runs = instance.manager.enqueue(plain, "plain")
        await until(lambda: ("success", None) == instance.story(runs)[-1])

        backend.down = False
        await until(lambda: instance.manager.backend_error is None)

        async def accepted() -> bool:
            try:
                await instance.manager.committed(instance.manager.enqueue(work, "accepted"))
            except CommitError:
                return False
            return True

        await until(accepted)
        await until(lambda: "accepted" in instance.ran)


async def test_a_backend_that_can_never_be_used_ends_the_start():
    class Foreign(MemoryBackend):
        async def open(self) -> None:
            raise BackendFormatError("memory", "it belongs to somebody else")

    with pytest.raises(BackendFormatError, match="it belongs to somebody else"):
        await Instance(Foreign()).manager.startup()


async def test_a_backend_of_ones_own_that_raises_anything_is_treated_as_away():
    class Odd(MemoryBackend):
        async def commit(self, changes: Any) -> Any:
            raise KeyError("oops")

    async with Instance(Odd()) as instance:
        task_id = instance.manager.enqueue(instance.task(persist=True))
        with pytest.raises(CommitError, match="KeyError: 'oops'"):
            await instance.manager.committed(task_id)


# What the observers see


async def test_a_rescue_shows_in_the_metrics_as_one_and_not_as_another_enqueue():
    backend, registry = MemoryBackend(), CollectorRegistry()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    async with Instance(backend) as dead, Instance(backend, PrometheusObserver(registry)) as alive:
        task_id = dead.manager.enqueue(dead.task(persist=True, requeue_on_interrupt=True))
        alive.task(persist=True, requeue_on_interrupt=True)
        alive.go.set()
        await until(lambda: dead.ran)
        await dead.die()
        await ends(alive, task_id)
        assert alive.manager._scheduler is not None
        await alive.manager._scheduler.flush()

        assert 1 == value("taskflow_tasks_recovered_total", task="work", reason="rescued")
        assert 0 == (value("taskflow_tasks_enqueued_total", task="work") or 0)
        assert 1 == value("taskflow_tasks_finished_total", task="work", status="success")
        commits = {"backend": "memory", "operation": "commit", "outcome": "success"}
        assert 3 <= (value("taskflow_backend_operation_seconds_count", **commits) or 0)
        assert 1 <= (value("taskflow_snapshot_duration_seconds_count") or 0)
        assert 0 < (value("taskflow_snapshot_last_success_timestamp_seconds") or 0)


async def test_poison_shows_in_the_metrics_as_a_failure_without_an_attempt():
    backend, registry = MemoryBackend(), CollectorRegistry()
    watched = Instance(backend, PrometheusObserver(registry), max_rescues=1)
    watched.task(persist=True)
    async with Instance(backend) as dead:
        task_id = dead.manager.enqueue(dead.task(persist=True))
        await until(lambda: dead.ran)
        await dead.die()
        async with watched:
            await ends(watched, task_id)

    labels = {"task": "work", "reason": "poison"}
    assert 1 == registry.get_sample_value("taskflow_tasks_recovered_total", labels)
    finished = {"task": "work", "status": "failed"}
    assert 1 == registry.get_sample_value("taskflow_tasks_finished_total", finished)
    attempts = {"task": "work", "outcome": "failed"}
    assert not registry.get_sample_value("taskflow_task_attempt_duration_seconds_count", attempts)


async def test_a_failed_flush_shows_in_the_metrics_and_the_next_one_makes_up_for_it():
    backend, registry = FaultyBackend(), CollectorRegistry()
    async with Instance(backend, PrometheusObserver(registry)) as instance:
        instance.go.set()
        instance.manager.enqueue(instance.task())
        await instance.manager.drain()
        scheduler = instance.manager._scheduler
        assert scheduler is not None
        backend.down = True
        with pytest.raises(BackendUnavailableError):
            await scheduler.flush()
        backend.down = False
        await scheduler.flush()

        assert 1 == registry.get_sample_value("taskflow_snapshot_failures_total")
        assert 1 == registry.get_sample_value("taskflow_snapshot_records_total")


async def test_the_span_of_a_rescued_run_is_linked_to_the_request_that_enqueued_the_task():
    backend, exporter = MemoryBackend(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traced = [OpenTelemetryObserver(provider), OpenTelemetryObserver(provider)]
    async with (
        Instance(backend, traced[0], max_concurrent_tasks=1) as dead,
        Instance(backend, traced[1]) as alive,
    ):
        work = dead.task(persist=True)
        dead.manager.enqueue(work)
        with provider.get_tracer("test").start_as_current_span("request"):
            task_id = dead.manager.enqueue(work)
        await dead.manager.committed(task_id)
        await dead.die()
        alive.task(persist=True)
        alive.go.set()
        await ends(alive, task_id)

    spans = [span for span in exporter.get_finished_spans() if task_id in (span.attributes or {}).values()]
    enqueued, run = (next(s for s in spans if s.name == f"{verb} work") for verb in ("enqueue", "run"))
    (link,) = run.links
    assert enqueued.context is not None
    assert run.context is not None
    assert enqueued.context.span_id == link.context.span_id
    assert enqueued.context.trace_id == link.context.trace_id != run.context.trace_id


# What cannot be revived here


async def leave_behind(backend: MemoryBackend, count: int, **options: Any) -> list[str]:
    """Durable tasks that wait, of a process that has stopped."""
    async with Instance(backend, max_concurrent_tasks=1, shutdown_timeout=0.05, **options) as first:
        first.manager.enqueue(first.task(name="blocks"))
        await until(lambda: first.ran)
        work = first.task(persist=True)
        ids = [first.manager.enqueue(work, 5) for _ in range(count)]
        await first.manager.committed(ids[-1])
        await first.stop()
    return ids


async def leave_one_behind(backend: MemoryBackend, **options: Any) -> str:
    """One such task."""
    (task_id,) = await leave_behind(backend, 1, **options)
    return task_id


async def test_a_task_of_an_unknown_function_stays_and_is_named_in_the_log(caplog: pytest.LogCaptureFixture):
    backend = MemoryBackend()
    task_id = await leave_one_behind(backend)
    async with Instance(backend):
        assert "1 stored tasks wait for a function named 'work', which is not registered here" in caplog.text
    row = await backend.get(task_id)
    assert row is not None
    assert TaskStatus.PENDING is row.status

    async with Instance(backend) as knowing:
        knowing.go.set()
        knowing.task(persist=True)
        assert TaskStatus.SUCCESS is (await ends(knowing, task_id)).status


async def test_a_wrong_key_leaves_the_row_where_it_is_and_says_so_once(caplog: pytest.LogCaptureFixture):
    backend = FaultyBackend()
    key = Fernet.generate_key()
    task_id = await leave_one_behind(backend, encrypt_args_key=key)
    caplog.clear()
    wrong = Instance(backend, encrypt_args_key=Fernet.generate_key())
    wrong.task(persist=True)
    async with wrong:
        looks = backend.calls["claimable"]
        await until(lambda: backend.calls["claimable"] > looks + 5)
    row = await backend.get(task_id)
    assert row is not None
    assert TaskStatus.PENDING is row.status
    assert 1 == caplog.text.count("was left behind and stays where it is")

    right = Instance(backend, encrypt_args_key=[Fernet.generate_key(), key])  # rotated
    right.task(persist=True)
    right.go.set()
    async with right:
        assert TaskStatus.SUCCESS is (await ends(right, task_id)).status
    assert [5] == right.ran


async def test_a_wrong_key_for_many_tasks_does_not_fill_the_log(caplog: pytest.LogCaptureFixture):
    backend = FaultyBackend()
    await leave_behind(backend, 200, encrypt_args_key=Fernet.generate_key())
    caplog.clear()
    wrong = Instance(backend, encrypt_args_key=Fernet.generate_key())
    wrong.task(persist=True)
    async with wrong:
        looks = backend.calls["claimable"]
        await until(lambda: backend.calls["claimable"] > looks + 10)
    assert 10 == caplog.text.count("was left behind and stays where it is")
    assert 1 == caplog.text.count("more tasks work were left behind like that; they are not logged any more")


async def test_arguments_that_the_function_no_longer_takes_leave_the_row_where_it_is(
    caplog: pytest.LogCaptureFixture,
):
    backend = MemoryBackend()
    task_id = await leave_one_behind(backend)
    other = Instance(backend)

    @other.manager.task(persist=True, name="work")
    async def changed(someone: str, when: datetime) -> None: ...

    async with other:
        assert "stays where it is: task 'work', argument" in caplog.text
    row = await backend.get(task_id)
    assert row is not None
    assert TaskStatus.PENDING is row.status


# History


async def test_a_record_that_changed_is_saved_once_and_then_no_more():
    backend = FaultyBackend()
    async with Instance(backend) as instance:
        instance.go.set()
        work = instance.task()
        ids = [instance.manager.enqueue(work, n) for n in range(3)]
        await instance.manager.drain()
        scheduler = instance.manager._scheduler
        assert scheduler is not None
        await scheduler.flush()
        saves = backend.calls["save"]
        await scheduler.flush()

        assert saves == backend.calls["save"]
        rows = [await backend.get(task_id) for task_id in ids]
        assert [TaskStatus.SUCCESS] * 3 == [row.status for row in rows if row is not None]


async def test_what_piles_up_while_others_are_saved_is_saved_at_once(monkeypatch: pytest.MonkeyPatch):
    class SlowBackend(MemoryBackend):
        async def save(self, rows: Any) -> None:
            saving.set()
            await go.wait()
            await super().save(rows)

    monkeypatch.setattr(snapshot, "EARLY", 10)
    saving, go, backend = asyncio.Event(), asyncio.Event(), SlowBackend()
    async with Instance(backend, snapshot_interval=3600) as instance:
        instance.go.set()
        work = instance.task()
        for number in range(10):
            instance.manager.enqueue(work, number)
        await saving.wait()
        for number in range(20):  # beyond the mark, while the first are being saved
            instance.manager.enqueue(work, number)
        await instance.manager.drain()
        go.set()
        await until(lambda: len(backend._rows) == 30)


async def test_a_shutdown_saves_what_is_to_run_again_before_a_long_history(monkeypatch: pytest.MonkeyPatch):
    class SlowBackend(MemoryBackend):
        async def save(self, rows: Any) -> None:
            if all(row.owner is None for row in rows):
                await asyncio.Event().wait()  # the history takes longer than there is time
            await super().save(rows)

    monkeypatch.setattr(persistence, "LAST_WORD", 0.1)
    backend = SlowBackend()
    async with Instance(backend, requeue_pending=True, snapshot_interval=3600) as instance:
        instance.go.set()
        work = instance.task()
        instance.manager.enqueue(work, "done")
        await instance.manager.drain()
        waits = enqueue_only(instance, work, "waits")
    assert {waits: RELEASED} == {row.task_id: row.owner for row in backend._rows.values()}


async def test_what_was_being_taken_over_when_a_shutdown_began_is_left_for_the_next_start():
    class SlowBackend(MemoryBackend):
        async def commit(self, changes: Any) -> Any:
            outcomes = await super().commit(changes)
            committed.set()  # the server has done it ...
            await answer.wait()  # ... and its answer is under way
            return outcomes

    committed, answer, backend = asyncio.Event(), asyncio.Event(), SlowBackend()
    answer.set()
    async with Instance(backend, requeue_pending=True) as old:
        task_id = enqueue_only(old, old.task(), 1)
        async with Instance(backend, requeue_pending=True) as taker:
            taker.task()
            answer.clear()
            await old.manager.shutdown()
            old.dead = True
            committed.clear()
            await until(lambda: backend._rows[task_id].owner != RELEASED)
            stopping = asyncio.create_task(taker.manager.shutdown())
            await asyncio.sleep(0)
            taker.manager._persistence.stop_recovering()  # type: ignore[union-attr]
            await asyncio.sleep(0)
            answer.set()
            await stopping
        assert RELEASED == backend._rows[task_id].owner
        async with Instance(backend, requeue_pending=True) as new:
            new.go.set()
            new.task()
            await until(lambda: new.ran == [1])


async def test_a_record_that_left_the_memory_before_it_was_saved_is_still_found_and_saved():
    backend = MemoryBackend()
    async with Instance(backend, max_history=1) as instance:
        instance.go.set()
        work = instance.task()
        ids = [instance.manager.enqueue(work, n) for n in range(3)]
        await instance.manager.drain()
        assert 1 == len(instance.manager.store)
        found = [await instance.manager.history.get(task_id) for task_id in ids]
        assert ids == [record.task_id for record in found if record is not None]
        assert set(ids) == {record.task_id for record in await instance.manager.merged_list()}

    assert set(ids) == set(backend._rows)


async def test_a_record_that_left_the_memory_is_found_also_while_it_is_being_saved():
    class SlowBackend(MemoryBackend):
        async def save(self, rows: Any) -> None:
            saving.set()
            await go.wait()
            await super().save(rows)

    saving, go = asyncio.Event(), asyncio.Event()
    async with Instance(SlowBackend(), max_history=1) as instance:
        instance.go.set()
        work = instance.task()
        ids = [instance.manager.enqueue(work, n) for n in range(3)]
        await instance.manager.drain()
        assert instance.manager._scheduler is not None
        flushing = asyncio.create_task(instance.manager._scheduler.flush())
        await saving.wait()
        found = [await instance.manager.history.get(task_id) for task_id in ids]
        assert ids == [record.task_id for record in found if record is not None]
        go.set()
        await flushing
        assert [] == list(instance.manager._scheduler.unsaved())


async def test_the_listing_has_each_task_once_across_memory_and_backend_and_instances():
    backend = MemoryBackend()
    async with (
        Instance(backend, max_history=2, merged_list_ttl=0) as one,
        Instance(backend, merged_list_ttl=0) as other,
    ):
        for instance in (one, other):
            instance.go.set()
            work = instance.task()
            for n in range(5):
                instance.manager.enqueue(work, n)
            await instance.manager.drain()
            assert instance.manager._scheduler is not None
            await instance.manager._scheduler.flush()

        listed = [record.task_id for record in await one.manager.merged_list()]
        totals = await one.manager.history.totals()

    assert (10, 10) == (len(listed), len(set(listed)))
    assert {TaskStatus.SUCCESS: 10} == {status: total.count for status, total in totals.items()}


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_pages_have_the_tasks_of_two_instances_in_order_whoever_has_them_in_memory(limit: int):
    backend = MemoryBackend()
    async with (
        Instance(backend, max_history=8, merged_list_ttl=0) as one,
        Instance(backend, merged_list_ttl=0) as other,
    ):
        instances = (one, other)
        functions = {instance: instance.task() for instance in instances}
        ids = []
        for number in range(40):
            instance = instances[number * 7 % 5 % 2]
            instance.go.set()
            ids.append(instance.manager.enqueue(functions[instance]))
        for instance in instances:
            await instance.manager.drain()
            assert instance.manager._scheduler is not None
            await instance.manager._scheduler.flush()

        listed: list[str] = []
        page = await one.manager.history.page(TaskQuery(limit=limit))
        while page.next is not None:
            listed += [record.task_id for record in page.records]
            page = await one.manager.history.page(TaskQuery(limit=limit, after=page.next))
        listed += [record.task_id for record in page.records]

    assert ids[::-1] == listed


async def test_a_page_of_recent_tasks_asks_the_backend_once_however_many_are_in_memory():
    backend = FaultyBackend()
    async with Instance(backend, merged_list_ttl=0) as instance:
        instance.go.set()
        work = instance.task()
        ids = [instance.manager.enqueue(work) for _ in range(100)]
        await instance.manager.drain()
        assert instance.manager._scheduler is not None
        await instance.manager._scheduler.flush()
        page = await instance.manager.history.page(TaskQuery(limit=10))

    assert ids[:-11:-1] == [record.task_id for record in page.records]
    assert 1 == backend.calls["find"]


async def test_a_line_that_is_logged_after_the_end_reaches_the_history():
    backend = MemoryBackend()
    async with Instance(backend) as instance:
        done = asyncio.Event()
        later: list[asyncio.Task[None]] = []

        @instance.manager.task(persist=True)
        async def chatty() -> None:
            async def afterwards() -> None:
                await done.wait()
                task_log("one more thing")

            later.append(asyncio.create_task(afterwards()))

        task_id = instance.manager.enqueue(chatty)
        await ends(instance, task_id)
        done.set()
        await asyncio.gather(*later)

    row = await backend.get(task_id)
    assert row is not None
    assert "one more thing" in row.body


async def test_old_tasks_are_pruned_with_their_keys():
    backend = MemoryBackend()
    async with Instance(backend, retention_days=1e-9) as instance:
        instance.go.set()
        work = instance.task(persist=True)
        task_id = instance.manager.enqueue(work, idempotency_key="k")
        await ends(instance, task_id)
        scheduler = instance.manager._scheduler
        assert scheduler is not None

        assert 1 == await scheduler.prune(1e-9)
        assert {} == backend._rows


# Retry


async def test_a_task_of_an_earlier_process_is_retried_with_its_own_arguments():
    backend = MemoryBackend()

    def functions(instance: Instance) -> Any:
        @instance.manager.task(persist=True, name="fails")
        async def fails(amount: Decimal) -> None:
            instance.ran.append(amount)
            if instance is first:
                raise ValueError("no")

        return fails

    key = Fernet.generate_key()
    async with Instance(backend, encrypt_args_key=key) as first:
        old = first.manager.enqueue(functions(first), Decimal("2.50"), tags={"a": "b"})
        await ends(first, old)
    second = Instance(backend, encrypt_args_key=key)
    functions(second)
    async with second:
        new, twice = await asyncio.gather(second.manager.retry(old), second.manager.retry(old))
        record = await ends(second, new.task_id)

    assert new is twice
    assert (old, {"a": "b"}, TaskStatus.SUCCESS) == (record.retry_of, record.tags, record.status)
    assert [Decimal("2.50")] == second.ran


@pytest.mark.parametrize("persist", [False, True])
async def test_a_retry_on_two_instances_runs_once(persist: bool):
    backend = MemoryBackend()

    def function(instance: Instance) -> Any:
        @instance.manager.task(persist=persist, name="fails")
        async def fails(value: int) -> None:
            ran.append(value)
            if len(ran) == 1:
                raise ValueError("no")

        return fails

    ran: list[int] = []
    async with (
        Instance(backend, requeue_pending=True) as one,
        Instance(backend, requeue_pending=True) as other,
    ):
        old = one.manager.enqueue(function(one), 5)
        function(other)
        await ends(one, old)
        assert one.manager._scheduler is not None
        await one.manager._scheduler.flush()
        managers = [one.manager, other.manager, one.manager]
        new = [await manager.retry(old) for manager in managers]
        await ends(one, new[0].task_id)
        await other.manager.drain()

        assert 1 == len({record.task_id for record in new})
        assert [5, 5] == ran


@pytest.mark.parametrize("persist", [False, True])
async def test_a_retry_that_is_clicked_on_two_instances_at_once_runs_once(persist: bool):
    backend = FaultyBackend()

    def function(instance: Instance) -> Any:
        @instance.manager.task(persist=persist, name="fails")
        async def fails() -> None:
            ran.append(instance)
            if len(ran) == 1:
                raise ValueError("no")

        return fails

    ran: list[Instance] = []
    async with Instance(backend) as one, Instance(backend) as other:
        old = one.manager.enqueue(function(one))
        function(other)
        await ends(one, old)
        assert one.manager._scheduler is not None
        await one.manager._scheduler.flush()
        backend.gate.clear()  # both have seen that nobody has retried it
        before = backend.calls["commit"]
        clicks = [asyncio.create_task(instance.manager.retry(old)) for instance in (one, other, one)]
        await until(lambda: backend.calls["commit"] >= before + 2)
        backend.gate.set()
        new = await asyncio.gather(*clicks)
        await one.manager.drain()
        await other.manager.drain()
        assert one.manager._scheduler is not None
        await one.manager._scheduler.flush()
        seen = [await each.manager.history.get(new[0].task_id) for each in (one, other)]
        assert [TaskStatus.SUCCESS] * 2 == [record.status for record in seen if record is not None]

    assert 1 == len({record.task_id for record in new})
    assert 2 == len(ran)


async def test_a_retry_that_could_not_be_stored_can_be_made_when_there_is_room_again():
    backend = FaultyBackend()
    async with Instance(backend) as instance:

        @instance.manager.task(persist=True)
        async def fails() -> None:
            instance.ran.append(1)
            if len(instance.ran) == 1:
                raise ValueError("no")

        old = instance.manager.enqueue(fails)
        await ends(instance, old)
        backend.full = True
        refused = await instance.manager.retry(old)
        with pytest.raises(CommitError):
            await instance.manager.committed(refused.task_id)
        backend.full = False

        async def stored_again() -> bool:
            new = await instance.manager.retry(old)
            await instance.manager.drain()
            return new.status is TaskStatus.SUCCESS

        await until(stored_again)
        again = await instance.manager.retry(old)
        assert [1, 1] == instance.ran
        assert TaskStatus.SUCCESS is again.status


async def test_a_retry_that_was_cancelled_before_it_began_can_be_made_again():
    async with Instance(MemoryBackend(), max_concurrent_tasks=1) as instance:

        @instance.manager.task()
        async def fails() -> None:
            instance.ran.append(1)
            if len(instance.ran) == 1:
                raise ValueError("no")

        old = instance.manager.enqueue(fails)
        await instance.manager.drain()
        busy = instance.manager.enqueue(instance.task(name="busy"))
        await until(lambda: instance.manager.store.get(busy).status is TaskStatus.RUNNING)
        cancelled = await instance.manager.retry(old)
        instance.manager.cancel(cancelled.task_id)
        again, twice = await instance.manager.retry(old), await instance.manager.retry(old)
        instance.go.set()
        await instance.manager.drain()

        assert again is twice
        assert (cancelled.task_id, TaskStatus.SUCCESS) == (again.retry_of, again.status)


async def test_a_retry_of_an_instance_that_died_before_it_was_saved_is_interrupted_and_can_be_made_again():
    backend = MemoryBackend()

    def function(instance: Instance) -> Any:
        @instance.manager.task(name="fails")
        async def fails(value: int = 0) -> None:
            instance.ran.append(value)
            if instance is not alive or not instance.go.is_set():
                raise ValueError("no")

        return fails

    dead, alive = Instance(backend, requeue_pending=True), Instance(backend, requeue_pending=True)
    async with dead, alive:
        old = dead.manager.enqueue(function(dead), 5)
        await ends(dead, old)
        assert dead.manager._scheduler is not None
        await dead.manager._scheduler.flush()
        assert dead.manager._persistence is not None
        function(alive)
        alive.go.set()
        record = dead.manager.store.get(old)
        assert record is not None
        draft = _draft(record, retry_id(old), (5,), {})
        assert await dead.manager._persistence.reserve(draft)
        await dead.die()
        left = await ends(alive, retry_id(old))
        assert (TaskStatus.INTERRUPTED, old) == (left.status, left.retry_of)

        again = await alive.manager.retry(old)
        await alive.manager.drain()
        assert ([5], TaskStatus.SUCCESS) == (alive.ran, again.status)


async def test_a_task_whose_arguments_were_not_kept_is_not_called_without_them():
    backend = MemoryBackend()

    def functions(instance: Instance) -> Any:
        @instance.manager.task()
        async def fails(value: int = 0) -> None:
            instance.ran.append(value)
            raise ValueError("no")

        return fails

    async with Instance(backend) as first:
        old = first.manager.enqueue(functions(first), 5)
        await ends(first, old)
    second = Instance(backend)
    functions(second)
    async with second:
        with pytest.raises(ArgumentsNotKeptError, match="its arguments were not kept"):
            await second.manager.retry(old)
    assert [] == second.ran
