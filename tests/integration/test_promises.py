"""What a client is promised of a durable task, also while the backend is away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from taskflow import (
    BackendFormatError,
    BackendUnavailableError,
    CommitError,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskStatus,
)
from taskflow.backends import MemoryBackend
from tests.faulty import FaultyBackend
from tests.instances import Instance, client, ends, stored, stored_as, until

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
        assert answer.json()["detail"].endswith("will not run: the backend cannot be used now")
        assert ["memory: it is down"] == [r.error for r in records if r.durable or r.error]
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
        await stored_as(backend, task_id, TaskStatus.CANCELLED)
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
    assert "was never started" in answer.json()["detail"]


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
        await stored_as(backend, durable, TaskStatus.SUCCESS)
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

        assert 1 == value("taskflow_tasks_recovered_total", task="work", reason="lease_expired")
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
