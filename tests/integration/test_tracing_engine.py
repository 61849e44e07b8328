"""Traces of real apps: FastAPI's spans, Taskflow's and the user's, in one process."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.telemetry import get_telemetry_data
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from taskflow import (
    LifecycleEvent,
    LogEvent,
    ManagedBackgroundTasks,
    OpenTelemetryObserver,
    TaskManager,
    TaskObserver,
    task_log,
)
from tests.telemetry import PATIENCE, Telemetry, by_trace, client, no_warnings, span_id, trace_id, tree

pytestmark = pytest.mark.usefixtures("both_kinds_of_spans")


def failing_twice(telemetry: Telemetry, asynchronous: bool) -> Callable[[], Any]:
    """A task function that fails in two attempts of three, with a span of its own in each."""
    attempts: Counter[int] = Counter()

    def work() -> None:
        with telemetry.tracer.start_as_current_span("query") as span:
            task = trace.format_trace_id(span.get_span_context().trace_id)
            attempts[int(task, 16)] += 1
            task_log("asking the database")
            if attempts[int(task, 16)] < 3:
                raise ConnectionError("no route to host")

    async def asynchronously() -> None:
        await asyncio.sleep(0)
        work()

    return asynchronously if asynchronous else work


def add_route(app: FastAPI, manager: TaskManager, function: Callable[[], Any], asynchronous: bool) -> None:
    if asynchronous:

        @app.post("/orders")
        async def order(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
            tasks.add_task(function)
    else:

        @app.post("/orders")
        def order(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
            tasks.add_task(function)


@pytest.mark.parametrize("limit", [None, 1], ids=["unlimited", "slots full"])
@pytest.mark.parametrize("dispatch", ["request", "detached"])
@pytest.mark.parametrize("async_route", [True, False], ids=["async route", "def route"])
@pytest.mark.parametrize("async_task", [True, False], ids=["async task", "def task"])
async def test_every_kind_of_task_from_every_kind_of_route_makes_the_same_trace(
    async_task: bool, async_route: bool, dispatch: Any, limit: int | None
) -> None:
    telemetry = Telemetry()
    app = telemetry.app()
    manager = TaskManager(
        loggers=[telemetry.observer()], dispatch=dispatch, max_concurrent_tasks=limit, max_sync_threads=limit
    )
    manager.init_app(app)
    function = failing_twice(telemetry, async_task)
    manager.task(retries=2, name="send")(function)
    add_route(app, manager, function, async_route)

    async with manager, client(app) as http:
        await asyncio.gather(*(http.post("/orders") for _ in range(3)))
        await manager.drain()

    traces = by_trace(telemetry.spans)
    assert len(traces) == 3
    for spans in traces.values():
        names = Counter(span.name for span in spans)
        assert (names["query"], names["run send"], names["enqueue send"]) == (3, 1, 1)
        attempts = {span_id(s): s.name for s in spans if s.name.startswith("attempt")}
        queries = [s for s in spans if s.name == "query"]
        assert sorted(attempts[s.parent.span_id] for s in queries if s.parent) == sorted(attempts.values())
        request, run = (next(s for s in spans if s.name == name) for name in ("POST /orders", "run send"))
        relations = tree([s for s in spans if s.name != "query"])
        assert {
            "POST /orders": None,
            "fastapi.endpoint": "POST /orders",
            "fastapi.background_task": "POST /orders",
            "enqueue send": "fastapi.endpoint",
            "run send": "enqueue send",
            "attempt 1": "run send",
            "attempt 2": "run send",
            "attempt 3": "run send",
        }.items() <= relations.items()
        errors = {s.name for s in spans if s.status.status_code is StatusCode.ERROR}
        assert errors == {"attempt 1", "attempt 2", "query"}
        assert request.end_time is not None
        assert run.start_time is not None
        assert request.end_time <= run.start_time


@pytest.mark.parametrize("dispatch", ["request", "detached"])
@pytest.mark.parametrize("pattern", ["plain", "managed", "get_tasks", "background_tasks"])
async def test_for_every_way_of_injection_the_native_span_names_the_users_function(
    pattern: str, dispatch: Any
) -> None:
    telemetry = Telemetry()
    app = telemetry.app()
    manager = TaskManager(loggers=[telemetry.observer()], dispatch=dispatch)
    manager.init_app(app)
    injected: Any = {
        "plain": BackgroundTasks,
        "managed": ManagedBackgroundTasks,
        "get_tasks": Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)],
        "background_tasks": Annotated[ManagedBackgroundTasks, Depends(manager.background_tasks)],
    }[pattern]

    def send() -> None: ...

    @app.post("/orders")
    async def order(tasks: injected) -> None:
        tasks.add_task(send)

    manager.install(app)
    try:
        async with manager, client(app) as http:
            await http.post("/orders")
            await manager.drain()
    finally:
        manager.uninstall()
    relations = tree(telemetry.spans)
    assert (relations["fastapi.background_task"], relations["run send"]) == ("POST /orders", "enqueue send")
    native = telemetry.named("fastapi.background_task").attributes or {}
    ours = telemetry.named("run send").attributes or {}
    assert native["code.function.name"] == ours["code.function.name"]


@pytest.mark.parametrize("dispatch", ["request", "detached"])
async def test_in_link_mode_request_and_task_are_two_linked_traces(dispatch: Any) -> None:
    telemetry = Telemetry()
    app = telemetry.app()
    manager = TaskManager(loggers=[telemetry.observer(propagation="link")], dispatch=dispatch)

    async def send() -> None:
        telemetry.tracer.start_span("query").end()

    add_route(app, manager, send, asynchronous=True)
    async with manager, client(app) as http:
        await http.post("/orders")
        await manager.drain()
    enqueue, run = telemetry.named("enqueue send"), telemetry.named("run send")
    first, second = trace_id(enqueue), trace_id(run)
    assert set(by_trace(telemetry.spans)) == {first, second}
    assert tree(by_trace(telemetry.spans)[second]) == {"run send": None, "query": "run send"}
    assert [(link.context.trace_id, link.context.span_id) for link in run.links] == [
        (first, span_id(enqueue))
    ]
    assert (run.attributes or {})["taskflow.task.id"] == (enqueue.attributes or {})["taskflow.task.id"]


async def test_a_request_that_a_task_makes_is_below_its_attempt() -> None:
    telemetry = Telemetry()
    app = telemetry.app()
    manager = TaskManager(loggers=[telemetry.observer()])
    seen: list[object] = []

    @app.get("/stock")
    async def stock(request: Request) -> None:
        data = get_telemetry_data()
        seen.append(data is not None and data.request is not None and data.request.url.path)

    async def send() -> None:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        async with client(app) as http:
            await http.get("/stock", headers=headers)

    manager.task(retries=1)(send)
    add_route(app, manager, send, asynchronous=True)
    async with manager, client(app) as http:
        await http.post("/orders")
    assert len(by_trace(telemetry.spans)) == 1
    relations = tree(
        [span for span in telemetry.spans if not span.name.startswith("fastapi.")] + parents(telemetry)
    )
    assert relations["GET /stock"] == "attempt 1"
    assert seen == ["/stock"]


def parents(telemetry: Telemetry) -> list[ReadableSpan]:
    """FastAPI's own operation spans that have children of interest."""
    return [span for span in telemetry.spans if span.name == "fastapi.endpoint"]


async def test_a_task_that_enqueues_a_task_is_above_it() -> None:
    telemetry = Telemetry()
    manager = TaskManager(loggers=[telemetry.observer()])

    def second() -> None: ...

    async def first() -> None:
        manager.enqueue(second)

    async with manager:
        manager.enqueue(first)
        await manager.drain()
    assert tree(telemetry.spans) == {
        "enqueue first": None,
        "run first": "enqueue first",
        "enqueue second": "run first",
        "run second": "enqueue second",
    }


class AsyncSpy(TaskObserver):
    """What span its worker is in."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[trace.Span] = []

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        self.seen.append(trace.get_current_span())


@pytest.mark.parametrize("dispatch", ["request", "detached"])
async def test_nothing_of_a_request_or_of_the_start_up_lives_on(dispatch: Any) -> None:
    telemetry = Telemetry()
    app = telemetry.app()
    spy = AsyncSpy()
    manager = TaskManager(loggers=[telemetry.observer(), spy], dispatch=dispatch)

    async def send() -> None: ...

    add_route(app, manager, send, asynchronous=True)
    with telemetry.tracer.start_as_current_span("start-up"):
        await manager.startup()
    async with client(app) as http:
        await http.post("/orders")
        await manager.drain()
        assert trace.get_current_span() is trace.INVALID_SPAN
        await http.post("/orders")
        manager.enqueue(send)
        await manager.drain()
    await manager.shutdown()
    roots = sorted(span.name for span in telemetry.spans if span.parent is None)
    assert roots == ["POST /orders", "POST /orders", "enqueue send", "start-up"]
    assert len(by_trace(telemetry.spans)) == 4
    assert spy.seen == [trace.INVALID_SPAN] * 9


@pytest.mark.parametrize("dispatch", ["request", "detached"])
async def test_cancelled_interrupted_and_failed_tasks_are_told_apart(
    dispatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = Telemetry()
    manager = TaskManager(loggers=[telemetry.observer()], dispatch=dispatch, shutdown_timeout=0)
    app = telemetry.app()
    started = {name: asyncio.Event() for name in ("cancelled", "interrupted")}
    ids: dict[str, str] = {}

    async def hang(name: str) -> None:
        with telemetry.tracer.start_as_current_span(f"hanging until {name}"):
            started[name].set()
            await asyncio.Event().wait()

    def fail() -> None:
        raise LookupError("no such order")

    manager.task(retries=1)(hang)

    @app.post("/{name}")
    async def route(name: str, tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        ids[name] = tasks.add_task(fail) if name == "failed" else tasks.add_task(hang, name)

    with no_warnings(caplog):
        async with manager, client(app) as http:
            await http.post("/failed")
            await manager.drain()
            cancelled = asyncio.create_task(http.post("/cancelled"))
            await asyncio.wait_for(started["cancelled"].wait(), PATIENCE)
            manager.cancel(ids["cancelled"])
            await cancelled
            interrupted = asyncio.create_task(http.post("/interrupted"))
            await asyncio.wait_for(started["interrupted"].wait(), PATIENCE)
        await asyncio.wait({interrupted})

    runs = {str(attributes["taskflow.task.status"]): s for s, attributes in outcomes(telemetry)}
    assert runs.keys() == {"failed", "cancelled", "interrupted"}
    assert {name: s.status.status_code.name for name, s in runs.items()} == {
        "failed": "ERROR",
        "cancelled": "UNSET",
        "interrupted": "UNSET",
    }
    assert [name for name, s in runs.items() if "error.type" in (s.attributes or {})] == ["failed"]
    assert (runs["failed"].attributes or {})["error.type"] == "LookupError"


def outcomes(telemetry: Telemetry) -> list[tuple[ReadableSpan, Mapping[str, Any]]]:
    return [(span, span.attributes or {}) for span in telemetry.spans if span.name.startswith("run ")]


async def test_a_sync_function_that_outlives_the_shutdown_leaves_no_span_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    telemetry = Telemetry()
    manager = TaskManager(loggers=[telemetry.observer()], shutdown_timeout=0, max_sync_threads=1)
    started, release, over = threading.Event(), threading.Event(), threading.Event()

    def stubborn() -> None:
        started.set()
        release.wait(PATIENCE)
        task_log("nobody hears this")
        over.set()

    with no_warnings(caplog):
        async with manager:
            manager.enqueue(stubborn)
            await asyncio.to_thread(started.wait, PATIENCE)
        release.set()
        await asyncio.to_thread(over.wait, PATIENCE)
    run = telemetry.named("run stubborn")
    assert (run.attributes or {})["taskflow.task.status"] == "interrupted"
    assert run.events == ()


async def test_a_task_whose_response_failed_shows_that_it_never_ran() -> None:
    telemetry = Telemetry()
    app = telemetry.app()
    manager = TaskManager(loggers=[telemetry.observer()])
    manager.init_app(app)

    def send() -> None: ...

    @app.post("/orders")
    async def order(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        tasks.add_task(send)
        raise LookupError("no such customer")

    async with manager, client(app) as http:
        with pytest.raises(LookupError):
            await http.post("/orders")
    end = telemetry.named("cancelled send")
    assert tree(telemetry.spans)["cancelled send"] == "enqueue send"
    assert (end.attributes or {})["taskflow.task.reason"] == "not_dispatched"


async def test_a_manager_that_starts_again_traces_again() -> None:
    telemetry = Telemetry()
    manager = TaskManager(loggers=[telemetry.observer()])

    def send() -> None: ...

    for _ in range(2):
        async with manager:
            manager.enqueue(send)
            await manager.drain()
    assert Counter(span.name for span in telemetry.spans) == {"enqueue send": 2, "run send": 2}
    assert len(by_trace(telemetry.spans)) == 2


class Contrib:
    """An app under opentelemetry-instrumentation-fastapi."""

    def __init__(self, telemetry: Telemetry, *, native: bool) -> None:
        self.app = telemetry.app() if native else FastAPI()
        FastAPIInstrumentor.instrument_app(self.app, tracer_provider=telemetry.provider)

    def __enter__(self) -> FastAPI:
        return self.app

    def __exit__(self, *exc_info: object) -> None:
        FastAPIInstrumentor.uninstrument_app(self.app)


@pytest.mark.parametrize("native", [False, True], ids=["alone", "with FastAPI's own"])
@pytest.mark.parametrize("dispatch", ["request", "detached"])
@pytest.mark.parametrize("async_route", [True, False], ids=["async route", "def route"])
async def test_it_gets_along_with_the_instrumentation_package(
    async_route: bool, dispatch: Any, native: bool, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = Telemetry()
    manager = TaskManager(loggers=[telemetry.observer()], dispatch=dispatch)

    async def send() -> None:
        telemetry.tracer.start_span("query").end()

    with Contrib(telemetry, native=native) as app, no_warnings(caplog):
        add_route(app, manager, send, async_route)
        async with manager, client(app) as http:
            await http.post("/orders")
            await manager.drain()
            await http.post("/orders")
            await manager.drain()
    traces = by_trace(telemetry.spans)
    assert len(traces) == 2
    for spans in traces.values():
        relations = tree(spans)
        assert relations["run send"] == "enqueue send"
        assert relations["query"] == "run send"
        assert [name for name, parent in relations.items() if parent is None] == ["POST /orders"]


async def test_detached_tasks_do_not_hold_the_request_span_of_the_instrumentation_package() -> None:
    telemetry = Telemetry()
    manager = TaskManager(loggers=[telemetry.observer()], dispatch="detached")
    answered = asyncio.Event()

    async def send() -> None:
        await asyncio.wait_for(answered.wait(), PATIENCE)

    with Contrib(telemetry, native=False) as app:
        add_route(app, manager, send, asynchronous=True)
        async with manager, client(app) as http:
            await http.post("/orders")
            assert "POST /orders" in {span.name for span in telemetry.spans}
            answered.set()
            await manager.drain()


class Gate(SpanExporter):
    """An exporter that exports nothing until it is told to."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.opened.wait(PATIENCE)
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


class OpenSpans(SpanProcessor):
    """Counts the spans that started and have not ended."""

    def __init__(self) -> None:
        self.open = 0
        self._lock = threading.Lock()

    def on_start(self, span: trace.Span, parent_context: Context | None = None) -> None:
        with self._lock:
            self.open += 1

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            self.open -= 1


async def test_of_ten_thousand_tasks_none_is_lost_left_open_or_in_a_wrong_trace() -> None:
    gate, open_spans = Gate(), OpenSpans()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(open_spans)
    provider.add_span_processor(BatchSpanProcessor(gate, max_queue_size=40_000))
    app = FastAPI(telemetry={"tracer_provider": provider})
    manager = TaskManager(loggers=[OpenTelemetryObserver(provider)])

    async def quick() -> None:
        provider.get_tracer("the application").start_span("query").end()

    def threaded() -> None:
        provider.get_tracer("the application").start_span("query").end()

    @app.post("/batch")
    async def batch(tasks: Annotated[ManagedBackgroundTasks, Depends(manager.get_tasks)]) -> None:
        for number in range(100):
            tasks.add_task(threaded if number % 10 == 0 else quick)

    async with client(app) as http:
        await manager.startup()
        for _ in range(10):
            await asyncio.gather(*(http.post("/batch") for _ in range(10)))
        gate.opened.set()
        await manager.shutdown()
    provider.shutdown()

    spans = {span_id(span): span for span in gate.spans}
    kinds = Counter(span.name.split()[0] for span in gate.spans)
    assert (kinds["enqueue"], kinds["run"], kinds["query"], kinds["POST"]) == (10_000, 10_000, 10_000, 100)
    assert open_spans.open == 0
    wrong = [span for span in gate.spans if not has_right_parent(span, spans)]
    assert wrong == []


def has_right_parent(span: ReadableSpan, spans: Mapping[int, ReadableSpan]) -> bool:
    expected = {"enqueue": "fastapi.endpoint", "run": "enqueue", "query": "run"}.get(span.name.split()[0])
    if expected is None:
        return True
    parent = spans[span.parent.span_id] if span.parent else None
    if parent is None or parent.name.split()[0] != expected or trace_id(parent) != trace_id(span):
        return False
    task = (span.attributes or {}).get("taskflow.task.id")
    return expected != "enqueue" or task == (parent.attributes or {}).get("taskflow.task.id")


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async task", "def task"])
async def test_events_name_the_span_that_was_current_where_they_were_made_also_to_async_observers(
    asynchronous: bool,
) -> None:
    seen: list[tuple[str, str]] = []

    class Late(TaskObserver):
        async def on_lifecycle(self, event: LifecycleEvent) -> None:
            assert event.span is not None
            seen.append((event.status.value, event.span.span_id))

        async def on_log(self, event: LogEvent) -> None:
            assert event.span is not None
            seen.append((event.message, event.span.span_id))

    telemetry = Telemetry()
    manager = TaskManager(loggers=[telemetry.observer(), Late()])

    def work() -> None:
        with telemetry.tracer.start_as_current_span("query"):
            task_log("asking the database")

    async def asynchronously() -> None:
        work()

    async with manager:
        with telemetry.tracer.start_as_current_span("script"):
            manager.enqueue(asynchronously if asynchronous else work)
        await manager.drain()

    name = "asynchronously" if asynchronous else "work"
    spans = {span.name: f"{span_id(span):016x}" for span in telemetry.spans}
    assert [
        ("pending", spans["script"]),
        ("running", spans[f"run {name}"]),
        ("asking the database", spans["query"]),
        ("success", spans[f"run {name}"]),
    ] == seen
