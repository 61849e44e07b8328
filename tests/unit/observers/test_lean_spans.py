"""Lean spans beside the SDK's own: the same tasks, under providers of every kind, make the same spans."""

from __future__ import annotations

import asyncio
import copy
import inspect
import itertools
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage, trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceState,
)

from taskflow import ConfigurationError, OpenTelemetryObserver, TaskManager
from taskflow.observers.otel import choice, lean
from taskflow.observers.otel.attributes import CleanAttributes
from taskflow.observers.otel.lean import LeanSpan, LeanSpans
from taskflow.observers.otel.spans import Spans
from tests.same_tasks import Counted, exported, run_tasks, told

# Providers


class RandomCounted(Counted):
    def is_trace_id_random(self) -> bool:
        return True


class InvalidIds(Counted):
    """Every third id is no valid one."""

    def generate_span_id(self) -> int:
        number = super().generate_span_id()
        return number if number % 3 else 0

    def generate_trace_id(self) -> int:
        number = super().generate_trace_id()
        return number if number % 3 else 0


class Copying(SpanProcessor):
    """Copies what it sees at the start to the span, as the baggage processor does."""

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        for key, value in baggage.get_all(parent_context).items():
            span.set_attribute(key, str(value))
        span.set_attribute("parent seen", trace.get_current_span(parent_context).get_span_context().span_id)
        span.set_attribute("attributes seen", list(span.attributes or {}))


class Ending(SpanProcessor):
    def _on_ending(self, span: SdkSpan) -> None:
        span.set_attribute("ending", True)


class Reading(SpanProcessor):
    """Reads private parts of finished spans, as some vendors' processors do."""

    def __init__(self) -> None:
        self.types: list[tuple[type, ...]] = []

    def on_end(self, span: ReadableSpan) -> None:
        parts = (span, span._attributes, span._events, span._links, *[e.attributes for e in span.events])
        self.types.append(tuple(type(part) for part in parts))


class Odd(Sampler):
    """Drops, records and samples by what it is shown, and adds attributes that have to be checked."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Mapping[str, Any] | None = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        shown = {
            **(attributes or {}),
            "parent": parent.span_id,
            "links": len(links or ()),
            "odd": [1, object],
        }
        decision = Decision.RECORD_AND_SAMPLE
        if shown.get("taskflow.task.tag.kind") == "recorded":
            decision = Decision.RECORD_ONLY
        elif name == "run dropped":
            decision = Decision.DROP
        return SamplingResult(decision, shown, TraceState([("sampler", "odd")]))

    def get_description(self) -> str:
        return "odd"


class OwnMulti(SynchronousMultiSpanProcessor):
    """Anybody may write one."""


@dataclass
class Case:
    """A provider, what is added to it, and whether any of its spans can be lean."""

    provider: Callable[[], dict[str, Any]] = dict
    processors: Sequence[type[SpanProcessor]] = ()
    observer: dict[str, Any] = field(default_factory=dict)
    lean: bool = True


def sampler(sampler: Sampler) -> Callable[[], dict[str, Any]]:
    return lambda: {"sampler": sampler}


def limits(**limits: int) -> Callable[[], dict[str, Any]]:
    return lambda: {"span_limits": SpanLimits(**limits)}


TIGHT = {
    "max_span_attributes": 3,
    "max_events": 2,
    "max_span_attribute_length": 5,
    "max_event_attributes": 1,
    "max_links": 0,
}

CASES: dict[str, Case] = {
    "default": Case(),
    "always on": Case(sampler(ALWAYS_ON)),
    "always off": Case(sampler(ALWAYS_OFF), lean=False),
    "odd sampler": Case(sampler(Odd()), lean=False),
    "odd sampler of roots": Case(sampler(ParentBased(Odd()))),
    "odd sampler below remote spans": Case(sampler(ParentBased(ALWAYS_ON, remote_parent_sampled=Odd()))),
    "odd sampler below local spans": Case(sampler(ParentBased(ALWAYS_ON, local_parent_sampled=Odd()))),
    "ratio": Case(sampler(ParentBasedTraceIdRatio(0.0))),
    "baggage": Case(processors=[Copying]),
    "ending": Case(processors=[Ending, Copying]),
    "on end": Case(processors=[Reading]),
    "tight limits": Case(limits(**TIGHT), lean=False),
    "few events": Case(limits(max_events=2)),
    "few attributes": Case(limits(max_span_attributes=4)),
    "few attributes of events": Case(limits(max_event_attributes=1)),
    "short texts of events": Case(limits(max_attribute_length=3, max_span_attribute_length=-1)),
    "no limits": Case(limits(max_span_attributes=-1, max_events=-1, max_event_attributes=-1)),
    "concurrent": Case(lambda: {"active_span_processor": ConcurrentMultiSpanProcessor()}, [Copying]),
    "a multi-processor of its own": Case(lambda: {"active_span_processor": OwnMulti()}, lean=False),
    "links": Case(observer={"propagation": "link"}),
    "no relation": Case(observer={"propagation": "none"}),
    "resource": Case(lambda: {"resource": Resource({"service.name": "shop"})}),
    "random ids": Case(lambda: {"id_generator": RandomCounted()}),
    "invalid ids": Case(lambda: {"id_generator": InvalidIds()}),
    "spans are counted": Case(lambda: {"meter_provider": NoOpMeterProvider()}, lean=False),
}


def made(case: Case, *, lean: bool, monkeypatch: pytest.MonkeyPatch) -> list[ReadableSpan]:
    """The finished spans of the same tasks, in order."""
    ids = itertools.count(1)
    monkeypatch.setattr("taskflow.execution.enqueue.new_task_id", lambda: f"task {next(ids)}")
    provider = TracerProvider(**{"id_generator": Counted(), "shutdown_on_exit": False} | case.provider())
    exporter = InMemorySpanExporter()
    for processor in case.processors:
        provider.add_span_processor(processor())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    manager = TaskManager(loggers=[OpenTelemetryObserver(provider, lean_spans=lean, **case.observer)])
    asyncio.run(run_tasks(manager, provider.get_tracer("theirs")))
    return list(exporter.get_finished_spans())


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """The SDK warns of each attribute that it drops or cuts."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def lean_made(monkeypatch: pytest.MonkeyPatch) -> list[LeanSpan]:
    """The lean spans that are made while a test runs."""
    found: list[LeanSpan] = []
    filled = lean._filled

    def noting(*args: Any) -> LeanSpan:
        found.append(filled(*args))
        return found[-1]

    monkeypatch.setattr(lean, "_filled", noting)
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_same_tasks_make_the_same_spans_with_lean_spans_and_without(
    name: str, lean_made: list[LeanSpan], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "spans are counted":
        monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    expected = made(CASES[name], lean=False, monkeypatch=monkeypatch)
    assert [] == lean_made
    spans = made(CASES[name], lean=True, monkeypatch=monkeypatch)
    assert [told(span) for span in expected] == [told(span) for span in spans]
    assert exported(expected) == exported(spans)
    assert CASES[name].lean == bool(lean_made)


# One span

SCALARS = st.one_of(
    st.text(max_size=8), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False)
)
ANYTHING = st.one_of(SCALARS, st.none(), st.binary(max_size=3), st.lists(SCALARS, max_size=2))
NEW_KEYS = st.builds(lambda key: f"{key} {next(NUMBER)}", st.text(max_size=2))
NUMBER = itertools.count()
CLEAN = st.dictionaries(NEW_KEYS, SCALARS, max_size=3).map(CleanAttributes)
GIVEN = st.dictionaries(st.text(max_size=3), ANYTHING, max_size=3)
LINKED = st.builds(SpanContext, st.integers(1, 9), st.integers(1, 9), st.booleans())
STEPS = st.one_of(
    st.tuples(st.just("set_attributes"), st.one_of(CLEAN, GIVEN)),
    st.tuples(st.just("add_event"), st.text(max_size=5), st.one_of(CLEAN, GIVEN)),
    st.tuples(st.just("set_attribute"), st.text(max_size=3), ANYTHING),
    st.tuples(st.just("add_link"), LINKED, GIVEN),
    st.tuples(st.just("record_exception"), st.just(ValueError("x"))),
    st.tuples(st.just("set_status"), st.sampled_from(StatusCode), st.text(max_size=3)),
    st.tuples(st.just("update_name"), st.text(max_size=3)),
    st.tuples(st.just("end")),
)
NUMBERS = st.sampled_from([SpanLimits.UNSET, 0, 1, 2, 5])
SOME_LIMITS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(inspect.signature(SpanLimits).parameters, NUMBERS),
)


def acted(make: Callable[[Any], Spans], steps: Sequence[tuple[Any, ...]], limits: Mapping[str, int]) -> Any:
    """What is exported of one span, and what it says of itself, after these calls."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        id_generator=Counted(), span_limits=SpanLimits(**limits), shutdown_on_exit=False, sampler=ALWAYS_ON
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = make(provider.get_tracer("one"))
    span = spans.start("n", SpanKind.CONSUMER, {"a": "text", "b": 1}, trace.INVALID_SPAN_CONTEXT, Context())
    for method, *arguments in steps:
        getattr(span, method)(*arguments)
    recording = span.is_recording()
    if recording:
        span.end()
    return recording, [told(each) for each in exporter.get_finished_spans()]


@given(st.lists(STEPS, max_size=8), SOME_LIMITS)
def test_a_lean_span_answers_every_call_as_a_span_of_the_sdk_does(
    steps: list[tuple[Any, ...]], limits: dict[str, int]
) -> None:
    assert acted(Spans, copy.deepcopy(steps), limits) == acted(LeanSpans, steps, limits)


class Started:
    """A lean span, of a provider that exports at once."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.span = self.start()

    def start(self) -> LeanSpan:
        spans = choice.spans_of(self.provider.get_tracer("one"))
        span = spans.start("n", SpanKind.CONSUMER, {"a": 1}, trace.INVALID_SPAN_CONTEXT, Context())
        assert isinstance(span, LeanSpan)
        return span


def test_a_processor_that_came_while_a_span_was_open_sees_one_of_the_sdks() -> None:
    started, reading = Started(), Reading()
    started.provider.add_span_processor(reading)
    started.span.end()
    assert [(ReadableSpan, BoundedAttributes, BoundedList, BoundedList)] == reading.types


def test_processors_of_others_see_the_sdks_own_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for lean_spans in (False, True):
        reading = Reading()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(reading)
        manager = TaskManager(loggers=[OpenTelemetryObserver(provider, lean_spans=lean_spans)])
        asyncio.run(run_tasks(manager, provider.get_tracer("theirs")))
        seen.append(reading.types)
    assert seen[0] == seen[1]


def test_a_span_that_was_touched_has_the_sdks_own_collections_for_what_it_had_before() -> None:
    started = Started()
    started.span.add_event("before", CleanAttributes(severity="info"))
    started.span.set_attribute("theirs", 1)
    parts = (started.span._attributes, started.span._events, started.span._links)
    assert (BoundedAttributes, BoundedList, BoundedList) == tuple(type(part) for part in parts)
    assert [BoundedAttributes] == [type(event.attributes) for event in started.span.events]


def test_a_finished_span_can_be_copied_as_those_of_the_sdk() -> None:
    started = Started()
    started.span.end()
    (span,) = started.exporter.get_finished_spans()
    assert isinstance(span, LeanSpan)
    assert told(span) == told(copy.deepcopy(span)) == told(copy.copy(span))


class Flushing(BatchSpanProcessor):
    """Another flush is nothing that a span sees."""

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        return super().force_flush(timeout_millis)


class Counting(BatchSpanProcessor):
    """Another `on_end` meets the spans."""

    def on_end(self, span: ReadableSpan) -> None:
        super().on_end(span)


@pytest.mark.parametrize(("processor_class", "lean"), [(Flushing, True), (Counting, False)])
def test_a_processor_meets_lean_spans_only_by_the_methods_of_the_sdk(
    processor_class: type[BatchSpanProcessor], lean: bool
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor_class(exporter))
    asyncio.run(run_tasks(TaskManager(loggers=[OpenTelemetryObserver(provider)]), provider.get_tracer("x")))
    provider.shutdown()
    assert lean == (LeanSpan in map(type, exporter.get_finished_spans()))


def test_a_finished_span_does_not_change(caplog: pytest.LogCaptureFixture) -> None:
    logging.disable(logging.NOTSET)
    started = Started()
    started.span.end()
    before = told(started.span)
    started.span.set_attributes(CleanAttributes(late=1))
    started.span.add_event("late", CleanAttributes(late=1))
    started.span.set_attribute("late", 1)
    started.span.add_link(SpanContext(5, 6, is_remote=True))
    started.span.end()
    assert before == told(started.span)
    assert 1 == len(started.exporter.get_finished_spans())
    assert [
        "Setting attribute on ended span.",
        "Tried calling _add_event on an ended span.",
        "Setting attribute on ended span.",
        "Tried calling _add_link on an ended span.",
        "Calling end() on an ended span.",
    ] == [record.getMessage() for record in caplog.records]


def test_lines_of_many_threads_are_all_on_the_span_that_the_task_touches_meanwhile() -> None:
    started = Started()
    together = threading.Barrier(5)

    def log(name: str) -> None:
        together.wait()
        for number in range(20):
            started.span.add_event(name, CleanAttributes(number=number))

    threads = [threading.Thread(target=log, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    together.wait()
    started.span.set_attribute("touched", True)
    for thread in threads:
        thread.join()
    started.span.end()
    assert sorted((name, number) for name in "abcd" for number in range(20)) == sorted(
        (event.name, (event.attributes or {})["number"]) for event in started.span.events
    )


def test_below_a_span_of_others_that_has_no_context_a_trace_begins() -> None:
    foreign = NonRecordingSpan(None)  # type: ignore[arg-type]
    spans = choice.spans_of(TracerProvider(shutdown_on_exit=False).get_tracer("one"))
    assert LeanSpans is type(spans)
    context = trace.set_span_in_context(foreign)
    span = spans.start("n", SpanKind.CONSUMER, {}, foreign.get_span_context(), context)
    assert isinstance(span, ReadableSpan)
    assert span.parent is None


# An SDK that is not known


@pytest.fixture
def _unjudged() -> Iterator[None]:
    """The installed SDK is compared anew, before and after the test."""
    choice._is_known.cache_clear()
    yield
    choice._is_known.cache_clear()


def more_fields(owner: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let instances of a class have one more field than today."""
    construct = owner.__init__

    def constructed(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        self._news = 1

    monkeypatch.setattr(owner, "__init__", constructed)


def other_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let finished spans have other names than today."""
    finished = SdkSpan._readable_span

    def renamed(self: SdkSpan) -> ReadableSpan:
        span = finished(self)
        span._name = "news"
        return span

    monkeypatch.setattr(SdkSpan, "_readable_span", renamed)


CHANGES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "_news": lambda patch: more_fields(SdkSpan, patch),
    "_news of an event": lambda patch: more_fields(SdkEvent, patch),
    "_news of a tracer": lambda patch: more_fields(SdkTracer, patch),
    "'name': 'news'": other_names,
    "'Tracer' object has no attribute '_is_enabled'": lambda patch: patch.delattr(SdkTracer, "_is_enabled"),
    "ModuleNotFoundError": lambda patch: patch.setitem(
        sys.modules, "taskflow.observers.otel.rehearsal", None
    ),
}


@pytest.mark.usefixtures("_unjudged")
@pytest.mark.parametrize("change", CHANGES)
def test_of_an_sdk_that_is_not_known_spans_are_made_in_the_ordinary_way_and_the_log_says_so_once(
    change: str, monkeypatch: pytest.MonkeyPatch, lean_made: list[LeanSpan], caplog: pytest.LogCaptureFixture
) -> None:
    logging.disable(logging.NOTSET)
    CHANGES[change](monkeypatch)
    provider = TracerProvider(shutdown_on_exit=False)
    tracers = [OpenTelemetryObserver(provider)._spans for _ in range(2)]
    assert [Spans, Spans] == [type(spans) for spans in tracers]
    (record,) = (record for record in caplog.records if record.name == "taskflow.observers")
    assert record.getMessage().startswith("this OpenTelemetry SDK is not known to Taskflow")
    assert change in record.getMessage()


@pytest.mark.usefixtures("_unjudged")
def test_the_installed_sdk_is_known_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    logging.disable(logging.NOTSET)
    assert LeanSpans is type(OpenTelemetryObserver(TracerProvider(shutdown_on_exit=False))._spans)
    assert [] == caplog.records


def test_the_spans_of_a_global_provider_that_is_set_late_are_lean(
    monkeypatch: pytest.MonkeyPatch, lean_made: list[LeanSpan]
) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    manager = TaskManager(loggers=[OpenTelemetryObserver()])
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    asyncio.run(run_tasks(manager, trace.NoOpTracer()))
    assert "run quiet" in {span.name for span in lean_made}


def test_an_application_without_the_sdk_has_no_lean_spans_and_need_not_have_it() -> None:
    program = (
        "import sys; from taskflow import OpenTelemetryObserver as O; print(type(O()._spans).__name__);"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    answer = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert "Spans\n[]\n" == answer.stdout


def test_lean_spans_is_true_or_false() -> None:
    with pytest.raises(ConfigurationError, match="lean_spans"):
        OpenTelemetryObserver(lean_spans="no")  # type: ignore[arg-type]
