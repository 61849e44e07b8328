"""The REST API: every route, its filters and pages, and that retry and cancel do what they say."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry
from starlette.routing import Mount

from taskflow import (
    ArgumentsNotKeptError,
    BackendUnavailableError,
    ConfigurationError,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    PrometheusObserver,
    TaskAdmin,
    TaskManager,
    TaskObserver,
    task_log,
)
from taskflow.admin.api.schemas import ActionResult, Health, MetricsSummary, OverviewAnswer, Task, TaskDetail
from taskflow.backends import MemoryBackend
from taskflow.core.models import FailedAttempt, TaskStatus
from taskflow.execution.retry import retry_id
from tests.admin import admin_app, client
from tests.backends import at, history

UNKNOWN = "00000000-0000-4000-8000-000000000000"
YEAR = timedelta(days=365)


class Broken(Exception):  # noqa: N818 - a name for messages, not an API
    """What the tasks of these tests fail with."""


async def fail(*_: object) -> None:
    raise Broken("on purpose")


async def quick() -> None: ...


async def greet(name: str) -> None: ...


async def ids(http: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await http.get("/tasks", params=query)
    assert answer.status_code == 200, answer.text
    return [task["task_id"] for task in answer.json()]


async def finished(manager: TaskManager, func: Callable[..., Any], *args: Any, **options: Any) -> str:
    task_id = manager.enqueue(func, *args, **options)
    await manager.drain()
    return task_id


# Listing


async def test_without_tasks_the_list_is_empty() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        answer = await http.get("/tasks")
        assert (answer.status_code, answer.json(), answer.headers.get("link")) == (200, [], None)


async def test_the_list_has_each_record_in_brief_the_newest_first() -> None:
    manager = TaskManager()

    @manager.task(retries=1)
    async def charge(order: int) -> None:
        task_log(f"charging order {order}")
        raise Broken("on purpose")

    async with manager, client(admin_app(manager)) as http:
        await finished(manager, charge, 7, tags={"plan": "pro"})
        await finished(manager, quick)
        tasks = (await http.get("/tasks")).json()
    assert tasks == [record.to_dict(brief=True) for record in reversed(manager.store.list())]
    assert [(task["func_name"], task["status"]) for task in tasks] == [
        ("quick", "success"),
        ("charge", "failed"),
    ]
    for task in tasks:
        Task.model_validate(task)


async def test_what_the_list_leaves_out_is_told_of_one_task() -> None:
    backend = MemoryBackend()
    error = "e" * 3_000
    attempts = [FailedAttempt(at(n), at(n), str(n), "Error", 0.0) for n in range(3)]
    whole = {"error": error, "stacktrace": "Traceback", "logs": ["line"] * 1_000}
    await backend.save([history("stored", TaskStatus.FAILED, failed_attempts=attempts, **whole)])
    manager = TaskManager(snapshot_backend=backend)

    @manager.task()
    async def fail() -> None:
        task_log("line")
        raise Broken(error)

    async with manager, client(admin_app(manager)) as http:
        here = await finished(manager, fail)
        for task in (await http.get("/tasks")).json():
            assert (task["error"], task["stacktrace"], task["logs"]) == (error[:1_000], None, [])
            assert [each["error"] for each in task["failed_attempts"]] in ([], ["2"])
        for task_id in (here, "stored"):
            task = (await http.get(f"/tasks/{task_id}")).json()
            assert (task["error"], bool(task["stacktrace"]), bool(task["logs"])) == (error, True, True)
        assert [each["error"] for each in task["failed_attempts"]] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "failed"}, ["old", "paid"]),
        ({"status": ["failed", "success"]}, ["late", "old", "paid"]),
        ({"func_name": "quick"}, ["late"]),
        ({"tag": "plan=pro"}, ["paid"]),
        ({"tag": "plan"}, ["late", "paid"]),
        ({"tag": "plan=pro", "status": "success"}, []),
        ({"q": "ON PURPOSE"}, ["old", "paid"]),
        ({"q": "plan=free"}, ["late"]),
        ({"limit": 1}, ["late"]),
        ({"status": "", "q": "", "tag": " ", "func_name": "", "cursor": ""}, ["late", "old", "paid"]),
    ],
)
async def test_a_filter_lets_through_what_it_names(query: dict[str, Any], expected: list[str]) -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        names = {
            await finished(manager, fail, tags={"plan": "pro"}): "paid",
            await finished(manager, fail): "old",
            await finished(manager, quick, tags={"plan": "free"}): "late",
        }
        query = {name: value for name, value in query.items() if name != "status" or value}
        assert [names[task_id] for task_id in await ids(http, **query)] == expected


async def test_since_and_until_bound_when_a_task_was_enqueued() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        first, second = await finished(manager, quick), await finished(manager, quick)
        moment = manager.store.get(second).created_at.isoformat()
        assert await ids(http, since=moment) == [second]
        assert await ids(http, until=moment) == [first]
        assert await ids(http, since=datetime.now(UTC) + YEAR) == []


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("status", "done"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "many"),
        ("since", "yesterday"),
        ("until", "2026-01-01T00:00:00"),
        ("cursor", "7"),
        ("q", "a\0b"),
        ("tag", "\0"),
    ],
)
async def test_a_value_that_cannot_be_is_refused_by_its_parameters_name(parameter: str, value: str) -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        answer = await http.get("/tasks", params={parameter: value})
        assert (answer.status_code, answer.json()["detail"][0]["loc"][:2]) == (422, ["query", parameter])


async def test_pages_hold_every_record_once_while_others_arrive() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        expected = [await finished(manager, quick) for _ in range(7)][::-1]
        seen: list[str] = []
        url: str | None = "/tasks?limit=3&func_name=quick"
        while url is not None:
            assert url.count("cursor=") <= 1
            answer = await http.get(url)
            seen += [task["task_id"] for task in answer.json()]
            url = answer.links["next"]["url"] if answer.links else None
            await finished(manager, quick)
        assert seen == expected


async def test_the_next_page_is_told_below_the_prefix_of_a_proxy() -> None:
    async with TaskManager() as manager, client(admin_app(manager), root_path="/shop") as http:
        for _ in range(2):
            await finished(manager, quick)
        answer = await http.get("/tasks", params={"limit": 1})
        assert answer.links["next"]["url"].startswith("/shop/tasks?limit=1&cursor=")


async def test_text_that_is_not_utf_8_is_told_as_it_is() -> None:
    manager = TaskManager()

    @manager.task()
    async def read(name: str) -> None:
        task_log(name)
        raise FileNotFoundError(name)

    odd = "caf\udce9"
    async with manager, client(admin_app(manager)) as http:
        task_id = await finished(manager, read, odd)
        (listed,) = (await http.get("/tasks")).json()
        assert listed["error"] == odd
        task = (await http.get(f"/tasks/{task_id}")).json()
        assert (task["error"], task["logs"][0].split()[-1]) == (odd, odd)


# One task


async def test_one_task_is_its_record_and_what_belongs_to_it() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        task_id = await finished(manager, fail)
        answer = await http.get(f"/tasks/{task_id}")
        assert answer.json() == {
            **manager.store.get(task_id).to_dict(),
            "arguments": None,
            "arguments_error": None,
            "trace_id": None,
            "trace_url": None,
            "retried_by": None,
        }
        TaskDetail.model_validate(answer.json())


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/retry"), ("POST", "/cancel")])
async def test_an_unknown_task_is_not_found(method: str, path: str) -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        answer = await http.request(method, f"/tasks/{UNKNOWN}{path}")
        assert (answer.status_code, answer.json()) == (404, {"detail": f"no task with id '{UNKNOWN}'"})


async def shown(manager: TaskManager, task_id: str, app: FastAPI | None = None) -> dict[str, Any]:
    async with client(app or admin_app(manager, display_func_args=True)) as http:
        answer = (await http.get(f"/tasks/{task_id}")).json()
        return {"arguments": answer["arguments"], "error": answer["arguments_error"]}


@pytest.mark.parametrize("key", [None, Fernet.generate_key()], ids=["plain", "encrypted"])
async def test_arguments_are_shown_where_that_is_wanted_encrypted_ones_too(key: bytes | None) -> None:
    manager = TaskManager(encrypt_args_key=key)
    app = admin_app(manager, display_func_args=True)

    @manager.task()
    async def order(number: int, *, price: Decimal) -> None: ...

    async with manager:
        task_id = await finished(manager, order, 7, price=Decimal("1.50"))
        expected = {"args": ["7"], "kwargs": {"price": "Decimal('1.50')"}}
        assert await shown(manager, task_id, app) == {"arguments": expected, "error": None}


@pytest.mark.parametrize("persist", [False, True])
async def test_of_a_task_that_succeeded_the_beginning_of_its_arguments_is_shown(persist: bool) -> None:
    manager = TaskManager(snapshot_backend=MemoryBackend())
    app = admin_app(manager, display_func_args=True)

    @manager.task(persist=persist)
    async def send(texts: list[str], image: bytes) -> None:
        texts.clear()

    async with manager:
        task_id = await finished(manager, send, ["a"], bytes(1_000_000))
        arguments = (await shown(manager, task_id, app))["arguments"]
        with pytest.raises(ArgumentsNotKeptError):
            manager.arguments_of(manager.store.get(task_id))  # type: ignore[arg-type]  # it is there
    texts, image = arguments["args"]
    assert texts == "['a']"
    assert image.startswith("b'\\x00")
    assert len(image) < 1_024


async def test_without_previews_a_success_says_that_its_arguments_are_gone() -> None:
    async with TaskManager() as manager:
        without, with_one = await finished(manager, quick), await finished(manager, greet, "x")
        answer, gone = await shown(manager, without), await shown(manager, with_one)
    assert answer == {"arguments": {"args": [], "kwargs": {}}, "error": None}
    assert gone["arguments"] is None
    assert "its arguments were not kept" in gone["error"]


async def test_arguments_of_a_function_that_is_not_registered_are_shown_too() -> None:
    async with TaskManager() as manager:
        task_id = await finished(manager, fail, "x")
        assert (await shown(manager, task_id))["arguments"] == {"args": ["'x'"], "kwargs": {}}


async def test_stored_arguments_are_shown_after_a_restart() -> None:
    backend = MemoryBackend()
    before, after = (TaskManager(snapshot_backend=backend) for _ in range(2))

    async def send(address: str) -> None: ...

    for manager in (before, after):
        manager.task(persist=True)(send)
    async with before:
        task_id = await finished(before, send, "ada@example.com")
    async with after:
        assert (await shown(after, task_id))["arguments"] == {"args": ["'ada@example.com'"], "kwargs": {}}


async def test_arguments_that_cannot_be_read_any_more_are_said_to_be_so() -> None:
    backend, key = MemoryBackend(), Fernet.generate_key()
    before = TaskManager(snapshot_backend=backend, encrypt_args_key=key)
    async with before:
        task_id = await finished(before, fail, "secret")
    async with TaskManager(snapshot_backend=backend, encrypt_args_key=Fernet.generate_key()) as unregistered:
        answer = await shown(unregistered, task_id)
    assert answer == {
        "arguments": None,
        "error": f"task {task_id}: no function is registered under the name 'fail'",
    }
    other = TaskManager(snapshot_backend=backend, encrypt_args_key=Fernet.generate_key())
    other.task()(fail)
    async with other:
        assert "cannot be decrypted" in (await shown(other, task_id))["error"]


async def test_an_argument_that_is_large_or_has_no_repr_is_shown_as_far_as_it_goes() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise Broken

    class deque: ...  # noqa: N801 - has the name of something else

    large = ["x" * 10**6, list(range(10**5)), {"x" * 500: "y" * 500, "z": 1}]
    async with TaskManager() as manager:
        task_id = await finished(manager, fail, *large, Silent(), deque(), 10**10_000)
        *shortened, silent, odd, huge = (await shown(manager, task_id))["arguments"]["args"]
    assert [text[:2] for text in shortened] == ["'x", "[0", "{'"]
    assert max(len(text) for text in shortened) <= 1001
    assert silent.startswith("<Silent ")
    assert "deque" in odd
    assert huge.startswith("<int")


async def test_a_traced_task_tells_its_trace_and_where_to_see_it() -> None:
    provider = TracerProvider()
    manager = TaskManager(loggers=[OpenTelemetryObserver(provider)])
    traces: list[str] = []

    @manager.task()
    async def look() -> None:
        from opentelemetry import trace

        traces.append(format(trace.get_current_span().get_span_context().trace_id, "032x"))

    app = admin_app(manager, trace_url="https://jaeger.example/trace/{trace_id}?a={b}")
    async with manager, client(app) as http:
        task_id = await finished(manager, look)
        answer = (await http.get(f"/tasks/{task_id}")).json()
    assert answer["trace_id"] == traces[0]
    assert answer["trace_url"] == f"https://jaeger.example/trace/{traces[0]}?a={{b}}"


async def test_after_a_restart_the_trace_is_that_of_whoever_enqueued_the_task() -> None:
    backend, provider = MemoryBackend(), TracerProvider()
    managers = [
        TaskManager(snapshot_backend=backend, loggers=[OpenTelemetryObserver(provider)]) for _ in range(2)
    ]
    for manager in managers:
        manager.task(persist=True)(quick)
    with provider.get_tracer("test").start_as_current_span("request") as span:
        async with managers[0]:
            task_id = await finished(managers[0], quick)
    async with managers[1], client(admin_app(managers[1])) as http:
        answer = (await http.get(f"/tasks/{task_id}")).json()
    assert answer["trace_id"] == format(span.get_span_context().trace_id, "032x")


# Retry


@pytest.mark.parametrize("key", [None, Fernet.generate_key()], ids=["plain", "encrypted"])
async def test_a_retried_task_is_a_new_one_with_the_same_arguments(key: bytes | None) -> None:
    manager = TaskManager(encrypt_args_key=key)
    calls: list[tuple[Any, ...]] = []

    @manager.task()
    async def book(number: int, when: datetime) -> None:
        calls.append((number, when))
        if len(calls) == 1:
            raise Broken("on purpose")

    when = datetime(2026, 1, 1, tzinfo=UTC)
    async with manager, client(admin_app(manager)) as http:
        task_id = await finished(manager, book, 7, when, tags={"plan": "pro"})
        answer = await http.post(f"/tasks/{task_id}/retry")
        result = answer.json()
        await manager.drain()
        again = manager.store.get(result["task_id"])
        assert (answer.status_code, result["task"]["retry_of"]) == (200, task_id)
        assert (again.status, again.tags) == ("success", {"plan": "pro"})
        assert manager.store.get(task_id).status == "failed"
        assert (await http.get(f"/tasks/{task_id}")).json()["retried_by"] == again.task_id
        ActionResult.model_validate(result)
    assert calls == [(7, when), (7, when)]


async def test_a_double_click_does_not_run_a_task_twice() -> None:
    manager = TaskManager()
    runs = 0

    @manager.task()
    async def count() -> None:
        nonlocal runs
        runs += 1
        raise Broken("on purpose")

    async with manager, client(admin_app(manager)) as http:
        task_id = await finished(manager, count)
        answers = await asyncio.gather(*(http.post(f"/tasks/{task_id}/retry") for _ in range(5)))
        await manager.drain()
        assert {answer.json()["task_id"] for answer in answers} == {retry_id(task_id)}
    assert runs == 2


async def test_a_task_that_succeeded_is_not_retried() -> None:
    manager = TaskManager()
    manager.task()(quick)
    async with manager, client(admin_app(manager)) as http:
        answer = await http.post(f"/tasks/{await finished(manager, quick)}/retry")
        assert (answer.status_code, "success" in answer.json()["detail"]) == (400, True)


async def test_a_task_whose_function_is_not_registered_is_not_retried() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        answer = await http.post(f"/tasks/{await finished(manager, fail)}/retry")
        assert (answer.status_code, "'fail'" in answer.json()["detail"]) == (409, True)


async def test_a_retry_during_the_shutdown_is_refused_for_now() -> None:
    manager = TaskManager()
    manager.task()(fail)
    async with client(admin_app(manager)) as http:
        async with manager:
            task_id = await finished(manager, fail)
        answer = await http.post(f"/tasks/{task_id}/retry")
        assert (answer.status_code, "shut down" in answer.json()["detail"]) == (503, True)


async def test_a_retry_that_cannot_be_stored_is_refused_and_does_not_run() -> None:
    class ReadOnly(MemoryBackend):
        full = False

        async def commit(self, changes: Any) -> Any:
            if self.full:
                raise BackendUnavailableError("memory", "the disk is full")
            return await super().commit(changes)

    backend = ReadOnly()
    manager = TaskManager(snapshot_backend=backend)
    runs = 0

    @manager.task(persist=True)
    async def count() -> None:
        nonlocal runs
        runs += 1
        raise Broken("on purpose")

    async with manager, client(admin_app(manager)) as http:
        task_id = await finished(manager, count)
        backend.full = True
        answer = await http.post(f"/tasks/{task_id}/retry")
        backend.full = False
        await manager.drain()
        assert (answer.status_code, "the disk is full" in answer.json()["detail"]) == (503, True)
    assert runs == 1


# Cancel


async def test_a_cancelled_pending_task_never_runs_and_its_siblings_do() -> None:
    manager = TaskManager()
    app = admin_app(manager)
    gate, entered = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    async def wait() -> None:
        entered.set()
        await gate.wait()

    async def note(name: str) -> None:
        ran.append(name)

    @app.post("/work")
    async def work(tasks: ManagedBackgroundTasks) -> list[str]:
        return [tasks.add_task(wait), tasks.add_task(note, "doomed"), tasks.add_task(note, "sibling")]

    manager.install(app)
    try:
        async with manager, client(app) as http, asyncio.TaskGroup() as group:
            request = group.create_task(http.post("/work"))
            await entered.wait()
            doomed = manager.store.list()[1].task_id
            answer = await http.post(f"/tasks/{doomed}/cancel")
            assert (answer.status_code, answer.json()["task"]["status"]) == (200, "cancelled")
            gate.set()
            await request
            statuses = [record.status for record in manager.store.list()]
    finally:
        manager.uninstall()
    assert (ran, statuses) == (["sibling"], ["success", "cancelled", "success"])


async def test_cancelling_a_running_task_does_not_disturb_its_siblings() -> None:
    manager = TaskManager()
    app = admin_app(manager)
    entered, ran = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    async def sibling() -> None:
        ran.set()

    @app.post("/work")
    async def work(tasks: ManagedBackgroundTasks) -> None:
        tasks.add_task(hang)
        tasks.add_task(sibling)

    manager.install(app)
    try:
        async with manager, client(app) as http, asyncio.TaskGroup() as group:
            request = group.create_task(http.post("/work"))
            await entered.wait()
            answer = await http.post(f"/tasks/{manager.store.list()[0].task_id}/cancel")
            await request
            assert answer.status_code == 200
            assert [record.status for record in manager.store.list()] == ["cancelled", "success"]
            assert manager.store.list()[0].reason == "user"
    finally:
        manager.uninstall()


async def test_a_sync_task_that_has_started_cannot_be_cancelled() -> None:
    manager = TaskManager()
    entered, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(entered.set)
        gate.wait()

    async with manager, client(admin_app(manager)) as http:
        task_id = manager.enqueue(work)
        await entered.wait()
        answer = await http.post(f"/tasks/{task_id}/cancel")
        gate.set()
        await manager.drain()
        assert (answer.status_code, "sync function" in answer.json()["detail"]) == (409, True)
        assert manager.store.get(task_id).status == "success"


async def test_a_task_that_has_ended_cannot_be_cancelled() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        answer = await http.post(f"/tasks/{await finished(manager, quick)}/cancel")
        assert (answer.status_code, "success" in answer.json()["detail"]) == (400, True)


async def test_a_task_of_another_instance_is_cancelled_there() -> None:
    backend, gate = MemoryBackend(), asyncio.Event()
    here, there = (TaskManager(snapshot_backend=backend) for _ in range(2))

    async def wait() -> None:
        await gate.wait()

    there.task(persist=True)(wait)
    async with here, there, client(admin_app(here)) as http:
        task_id = there.enqueue(wait)
        await there.committed(task_id)
        running = await http.post(f"/tasks/{task_id}/cancel")
        gate.set()
        await there.drain()
        ended = await http.post(f"/tasks/{task_id}/cancel")
    assert (running.status_code, "another instance" in running.json()["detail"]) == (409, True)
    assert (ended.status_code, "already ended" in ended.json()["detail"]) == (400, True)


# Numbers


async def test_metrics_add_up() -> None:
    manager = TaskManager()
    manager.task()(quick)
    async with manager, client(admin_app(manager)) as http:
        for func in (quick, quick, quick, fail):
            await finished(manager, func)
        cancelled = manager.enqueue(quick)
        manager.cancel(cancelled)
        answer = (await http.get("/tasks/metrics")).json()
    MetricsSummary.model_validate(answer)
    durations = [r.duration for r in manager.store.list() if r.duration is not None]
    assert (answer["total"], answer["success"], answer["failed"], answer["cancelled"]) == (5, 3, 1, 1)
    assert answer["success_rate"] == 3 / 5
    assert answer["avg_duration_seconds"] == pytest.approx(sum(durations) / 4)
    assert answer["percentiles"]["p99"] == pytest.approx(max(durations), rel=0.03)
    per_task = {task["func_name"]: task for task in answer["per_task"]}
    assert (per_task["quick"]["success"], per_task["quick"]["registered"]) == (3, True)
    assert (per_task["fail"]["failed"], per_task["fail"]["success_rate"]) == (1, 0.0)


async def test_before_the_first_task_there_are_no_rates() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        answer = (await http.get("/tasks/metrics")).json()
        assert (answer["total"], answer["success_rate"], answer["avg_duration_seconds"]) == (0, None, None)


async def test_the_overview_tells_what_waits_runs_and_has_ended() -> None:
    class Watcher(TaskObserver): ...

    manager = TaskManager(max_concurrent_tasks=1, loggers=[Watcher()])
    entered, gate = asyncio.Event(), asyncio.Event()

    @manager.task()
    async def work() -> None:
        entered.set()
        await gate.wait()

    async with manager, client(admin_app(manager)) as http:
        await finished(manager, fail)
        manager.enqueue(work)
        await entered.wait()
        manager.enqueue(work)
        while not manager.pools[0].waiting:  # noqa: ASYNC110 - nothing tells that a task waits
            await asyncio.sleep(0)
        answer = (await http.get("/tasks/overview")).json()
        gate.set()
        await manager.drain()
    OverviewAnswer.model_validate(answer)
    assert answer["counts"] | {"failed": 1, "running": 1, "pending": 1} == answer["counts"]
    assert answer["pools"] == [
        {"pool": "async", "slots": 1, "in_use": 1, "waiting": 1},
        {"pool": "thread", "slots": manager.pools[1].size, "in_use": 0, "waiting": 0},
    ]
    assert answer["observers"] == [{"name": "Watcher", "errors": 0, "dropped": 0, "queue": 0}]
    assert answer["oldest"]["pending"] >= 0
    assert answer["oldest"]["retrying"] is None
    tasks = {task["func_name"]: task for task in answer["tasks"]}
    assert tasks["work"]["counts"]["running"] == 1
    assert sum(tasks["fail"]["failures"]) == 1
    assert answer["health"] == {"ok": True, "reasons": [], "waiting": []}
    assert answer["backend"] is None


async def test_counts_keep_up_with_this_process_while_the_backend_is_not_counted_anew() -> None:
    manager = TaskManager(snapshot_backend=MemoryBackend(), merged_list_ttl=3_600)
    entered, gate = asyncio.Event(), asyncio.Event()

    @manager.task()
    async def work() -> None:
        entered.set()
        await gate.wait()

    async with manager, client(admin_app(manager)) as http:
        await finished(manager, fail)
        before = (await http.get("/tasks/overview")).json()["counts"]
        manager.enqueue(work)
        await entered.wait()
        await http.get("/tasks/metrics")
        during = (await http.get("/tasks/overview")).json()["counts"]
        gate.set()
        await manager.drain()
        after = (await http.get("/tasks/overview")).json()
    nothing = dict.fromkeys(before, 0)
    assert before == nothing | {"failed": 1}
    assert during == nothing | {"failed": 1, "running": 1}
    assert after["counts"] == nothing | {"failed": 1, "success": 1}
    assert after["success_rate"] == 0.5


async def test_a_task_that_ends_while_the_backend_is_asked_is_counted_once() -> None:
    class Asked(MemoryBackend):
        """Ends a task just before it saves what has changed."""

        end: Callable[[], Awaitable[None]] | None = None

        async def save(self, rows: Any) -> None:
            if self.end is not None:
                end, self.end = self.end, None
                await end()
            await super().save(rows)

    backend, gate = Asked(), asyncio.Event()
    manager = TaskManager(snapshot_backend=backend, merged_list_ttl=3_600)

    @manager.task()
    async def work() -> None:
        await gate.wait()

    async def end() -> None:
        gate.set()
        await manager.drain()

    async with manager, client(admin_app(manager)) as http:
        await finished(manager, quick)
        manager.enqueue(work)
        backend.end = end
        await http.get("/tasks/overview")
        counts = (await http.get("/tasks/overview")).json()["counts"]
    assert counts == dict.fromkeys(counts, 0) | {"success": 2}


async def test_counts_of_other_instances_are_those_that_the_backend_knows() -> None:
    backend = MemoryBackend()
    here, there = (TaskManager(snapshot_backend=backend, merged_list_ttl=3_600) for _ in range(2))
    async with here, there, client(admin_app(here)) as http:
        await finished(there, quick)
        await there.history.totals()
        await finished(here, quick)
        before = (await http.get("/tasks/overview")).json()["counts"]
        await finished(here, fail)
        after = (await http.get("/tasks/overview")).json()["counts"]
    assert (before["success"], before["failed"]) == (2, 0)
    assert (after["success"], after["failed"]) == (2, 1)


async def test_health_is_good_while_the_manager_runs_and_says_why_not_otherwise() -> None:
    manager = TaskManager()
    async with client(admin_app(manager)) as http:
        before = await http.get("/tasks/health")
        async with manager:
            during = await http.get("/tasks/health")
        after = await http.get("/tasks/health")
    reasons = ["the TaskManager has not started, or is shutting down"]
    assert (before.status_code, before.json()) == (503, {"ok": False, "reasons": reasons, "waiting": []})
    assert (during.status_code, during.json()) == (200, {"ok": True, "reasons": [], "waiting": []})
    assert after.status_code == 503
    Health.model_validate(after.json())


@pytest.mark.parametrize("options", [{}, {"auth": ("ada", "secret"), "secret_key": "key"}])
async def test_the_probes_answer_anybody_by_their_status_alone(options: dict[str, Any]) -> None:
    gate = asyncio.Event()
    manager = TaskManager()

    @manager.task()
    async def long() -> None:
        await gate.wait()

    async def probed() -> list[tuple[int, bytes]]:
        answers = [await http.get(f"/tasks/{name}") for name in ("live", "ready")]
        assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
        return [(answer.status_code, answer.content) for answer in answers]

    stopping = asyncio.Event()
    manager.on_stopping(stopping.set)
    async with client(admin_app(manager, **options)) as http:
        assert await probed() == [(503, b""), (503, b"")]
        await manager.startup()
        manager.enqueue(long)
        assert await probed() == [(200, b""), (200, b"")]
        shutdown = asyncio.create_task(manager.shutdown())
        await stopping.wait()
        assert await probed() == [(200, b""), (503, b"")]
        gate.set()
        await shutdown
        assert await probed() == [(503, b""), (503, b"")]


def test_the_probes_are_in_the_schema_without_a_body_or_a_session() -> None:
    paths = admin_app(TaskManager(), auth=("ada", "secret"), secret_key="key").openapi()["paths"]
    for name in ("live", "ready"):
        operation = paths[f"/tasks/{name}"]["get"]
        answers = operation["responses"].items()
        assert {status: answer.get("content") for status, answer in answers} == {"200": None, "503": None}
        assert "security" not in operation


class FailingBackend(MemoryBackend):
    """A backend that can be switched off."""

    down = False

    async def save(self, rows: Any) -> None:
        self._check()
        await super().save(rows)

    async def find(self, query: Any) -> Any:
        self._check()
        return await super().find(query)

    async def get(self, task_id: str) -> Any:
        self._check()
        return await super().get(task_id)

    async def count(self) -> Any:
        self._check()
        return await super().count()

    def _check(self) -> None:
        if self.down:
            raise BackendUnavailableError("memory", "unplugged")


async def test_while_the_backend_is_away_the_overview_shows_this_process_and_what_is_wrong() -> None:
    backend = FailingBackend()
    manager = TaskManager(snapshot_backend=backend, merged_list_ttl=0)
    async with manager, client(admin_app(manager)) as http:
        await finished(manager, quick)
        backend.down = True
        refused = [await http.get(f"/tasks{path}") for path in ("", "/metrics", f"/{UNKNOWN}")]
        overview = (await http.get("/tasks/overview")).json()
        health = await http.get("/tasks/health")
        probes = [(await http.get(f"/tasks/{name}")).status_code for name in ("live", "ready")]
        backend.down = False
        recovered = await http.get("/tasks")
    assert [(answer.status_code, answer.json()) for answer in refused] == [
        (503, {"detail": "memory: unplugged"})
    ] * 3
    assert (overview["counts"]["success"], overview["backend"]) == (1, {"error": "memory: unplugged"})
    assert (health.status_code, probes) == (503, [200, 503])
    assert health.json()["reasons"] == ["the backend cannot be used: memory: unplugged"]
    assert len(recovered.json()) == 1


# Mounting


async def test_fixed_addresses_are_not_taken_for_task_ids() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        for name in ("metrics", "overview", "health", "live", "ready", "dashboard"):
            assert (await http.get(f"/tasks/{name}")).status_code == 200, name


async def test_without_a_login_there_are_no_login_pages() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        assert (await http.get("/tasks/auth/login")).status_code == 404
        assert (await http.post("/tasks/auth/login")).status_code == 404
        assert (await http.post("/tasks/auth/logout")).status_code == 404


async def test_two_admins_with_their_own_managers_share_an_application() -> None:
    app, first, second = FastAPI(), TaskManager(), TaskManager()
    TaskAdmin(app, first, path="/tasks")
    TaskAdmin(app, second, path="/internal/jobs", title="Jobs")
    async with first, second, client(app) as http:
        await finished(first, quick)
        await finished(second, fail)
        tasks = (await http.get("/tasks")).json() + (await http.get("/internal/jobs")).json()
        assert [task["func_name"] for task in tasks] == ["quick", "fail"]
    operations = [o["operationId"] for path in app.openapi()["paths"].values() for o in path.values()]
    assert len(operations) == len(set(operations)) == 18


@pytest.mark.parametrize("path", ["/{anything:path}", "/tasks", "/tasks/{name}", "/tasks/{a}/{b}"])
async def test_a_route_that_would_answer_first_is_an_error(path: str) -> None:
    app = FastAPI()

    @app.api_route(path, methods=["GET", "POST"])
    async def taken() -> None: ...

    with pytest.raises(
        ConfigurationError, match=r"path='/tasks': \w+ /tasks.* is answered by the app's route"
    ):
        TaskAdmin(app, TaskManager())


async def test_a_mounted_application_that_would_answer_first_is_an_error() -> None:
    app = FastAPI()
    app.router.routes.append(Mount("/", app=FastAPI()))
    with pytest.raises(ConfigurationError, match="path='/tasks'"):
        TaskAdmin(app, TaskManager())
    assert len(app.user_middleware) == 0


async def test_a_route_that_comes_later_does_not_hide_the_admin() -> None:
    manager = TaskManager()
    app = admin_app(manager)

    @app.get("/{anything:path}")
    async def everything(anything: str) -> str:
        return anything

    async with manager, client(app) as http:
        assert (await http.get("/tasks")).json() == []
        assert (await http.get("/other")).json() == "other"


async def test_a_manager_that_is_introduced_twice_starts_once() -> None:
    class Starts(TaskObserver):
        count = 0

        async def startup(self) -> None:
            self.count += 1

    starts = Starts()
    app, manager = FastAPI(), TaskManager(loggers=[starts])
    manager.init_app(app)
    TaskAdmin(app, manager)
    async with app.router.lifespan_context(app):
        assert (manager.running, starts.count) == (True, 1)
    assert not manager.running
    assert len(app.user_middleware) == 1


async def test_auto_install_manages_plain_background_tasks() -> None:
    manager = TaskManager()
    app = admin_app(manager, auto_install=True)

    @app.post("/")
    async def add(tasks: ManagedBackgroundTasks) -> str:
        return tasks.add_task(quick)

    try:
        async with manager, client(app) as http:
            task_id = (await http.post("/")).json()
            assert manager.store.get(task_id).status == "success"
    finally:
        manager.uninstall()


async def test_the_metrics_of_a_prometheus_observer_are_served() -> None:
    manager = TaskManager(loggers=[PrometheusObserver(CollectorRegistry())])
    async with manager, client(admin_app(manager)) as http:
        await finished(manager, quick)
        assert 'taskflow_tasks_enqueued_total{task="quick"} 1.0' in (await http.get("/metrics")).text


async def test_without_a_prometheus_observer_there_is_no_metrics_route() -> None:
    async with TaskManager() as manager, client(admin_app(manager)) as http:
        assert (await http.get("/metrics")).status_code == 404


@pytest.mark.parametrize("path", ["/tasks", "/tasks/metrics", "/taken"])
async def test_a_metrics_path_that_is_taken_is_an_error(path: str) -> None:
    app = FastAPI()
    app.add_api_route("/taken", lambda: None)
    manager = TaskManager(loggers=[PrometheusObserver(CollectorRegistry())])
    with pytest.raises(ConfigurationError, match=f"metrics_path='{path}'"):
        TaskAdmin(app, manager, metrics_path=path)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("app", object()),
        ("task_manager", None),
        ("path", "tasks"),
        ("path", "/tasks/"),
        ("path", "/"),
        ("path", ""),
        ("path", "/{tenant}"),
        ("path", "/a/../b"),
        ("path", None),
        ("auth", ("ada",)),
        ("auth", []),
        ("auth", [("ada", "")]),
        ("auth", "ada:secret"),
        ("secret_key", ""),
        ("secret_key", 7),
        ("token_expiry", 0),
        ("token_expiry", 1.5),
        ("display_func_args", "no"),
        ("auto_install", 1),
        ("title", " "),
        ("metrics_path", "metrics"),
        ("metrics_token", ""),
        ("trace_url", "https://jaeger.example/trace/"),
        ("trace_url", "javascript:alert('{trace_id}')"),
        ("trace_url", "/trace/{trace_id}"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_its_name(parameter: str, value: Any) -> None:
    options: dict[str, Any] = {"app": FastAPI(), "task_manager": TaskManager(), "auth": ("ada", "secret")}
    with pytest.raises(ConfigurationError, match=f"^{parameter}="):
        TaskAdmin(**options | {"secret_key": "k", parameter: value})


@pytest.mark.parametrize("secret", ["hunter2"])
@pytest.mark.parametrize("auth", [("ada", 7, "hunter2"), [("ada", "hunter2"), ("bob", "")]])
def test_no_error_tells_a_password(auth: Any, secret: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TaskAdmin(FastAPI(), TaskManager(), auth=auth)
    assert secret not in str(caught.value)
