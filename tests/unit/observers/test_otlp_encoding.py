"""Our encoder of spans against the official one: the same bytes, or the same refusal."""

from __future__ import annotations

import logging
import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from enum import IntEnum
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from taskflow.observers.otlp import encoding, request, sample
from taskflow.observers.otlp.encoding import Encoded, lean_export
from taskflow.observers.otlp.request import request_bytes
from taskflow.observers.otlp.sample import sample_spans
from taskflow.observers.otlp.spans import span_bytes


class Colour(IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


def official(spans: Sequence[ReadableSpan]) -> bytes:
    encoded: bytes = encode_spans(spans).SerializePartialToString()
    return encoded


def ours(spans: Sequence[ReadableSpan]) -> bytes:
    return Encoded(spans).SerializePartialToString()


def outcome(encode: Callable[[Sequence[ReadableSpan]], bytes], spans: Sequence[ReadableSpan]) -> Any:
    """The bytes, or the class of the error."""
    try:
        return encode(spans)
    except Exception as exc:
        return type(exc)


# Strategies

texts = st.text() | st.text("aé\ud800", max_size=5) | st.text("x", min_size=20, max_size=300)
integers = st.integers() | st.sampled_from([0, 127, 128, 2**31, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
odd = st.sampled_from([Colour.RED, Text("text"), Decimal(1), object, bytearray(b"x"), range(3)])
scalars = st.none() | st.booleans() | texts | integers | st.floats() | st.binary() | odd
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(texts | st.integers(), inner)
    ),
    max_leaves=6,
)
mappings = st.dictionaries(texts, values, max_size=6)
counts = st.integers(0, 2**32 - 1) | st.integers(0, 300)
nanoseconds = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1_700_000_000_000_000_000])
states = st.none() | st.dictionaries(
    st.from_regex(r"[a-z]{1,9}", fullmatch=True), st.from_regex(r"[a-z]{1,9}", fullmatch=True), max_size=3
).map(lambda pairs: TraceState(list(pairs.items())))


@st.composite
def bounded_attributes(draw: st.DrawFn) -> BoundedAttributes | None:
    if draw(st.booleans()):
        return None
    logging.disable()  # the SDK complains of every odd value
    attributes = BoundedAttributes(draw(st.none() | st.integers(0, 3)), draw(mappings))
    logging.disable(logging.NOTSET)
    attributes.dropped += draw(counts) // 2
    return attributes


contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.integers(0, 255).map(TraceFlags),
    states,
)
events = st.builds(Event, texts, bounded_attributes(), nanoseconds)
links = st.builds(Link, contexts, bounded_attributes())
statuses = st.builds(Status, st.just(StatusCode.ERROR), st.none() | texts) | st.sampled_from(
    [Status(StatusCode.UNSET), Status(StatusCode.OK), None]
)
urls = st.sampled_from(["", "https://one.example", "https://two.example/é"])
plain = st.dictionaries(st.sampled_from("abc"), st.booleans() | st.integers(0, 2) | st.text(max_size=3))
resources = st.builds(Resource, plain, urls) | st.builds(Resource, mappings, urls)
scopes = st.none() | st.builds(InstrumentationScope, texts, st.none() | texts, urls, st.none() | plain)


def bounded(items: list[Any], dropped: int) -> Sequence[Any]:
    found = BoundedList.from_seq(len(items), items)
    found.dropped = dropped
    return found


@st.composite
def readable_spans(draw: st.DrawFn, resource: Any = resources, scope: Any = scopes) -> ReadableSpan:
    return ReadableSpan(
        name=draw(texts),
        context=draw(contexts),
        parent=draw(st.none() | contexts),
        resource=draw(resource),
        attributes=draw(bounded_attributes() | mappings),
        events=bounded(draw(st.lists(events, max_size=3)), draw(counts)),
        links=bounded(draw(st.lists(links, max_size=3)), draw(counts)),
        kind=draw(st.sampled_from(SpanKind)),
        status=draw(statuses),
        start_time=draw(st.none() | nanoseconds),
        end_time=draw(st.none() | nanoseconds),
        instrumentation_scope=draw(scope),
    )


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The official encoder logs a traceback for each value that it refuses."""
    logger = logging.getLogger("opentelemetry")
    logger.disabled, before = True, logger.disabled
    logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal").disabled = True
    yield
    logger.disabled = before
    logging.getLogger("opentelemetry.exporter.otlp.proto.common._internal").disabled = False


@settings(max_examples=150)
@given(span=readable_spans())
def test_a_span_is_encoded_as_the_official_encoder_does_it(span: ReadableSpan) -> None:
    assert outcome(official, [span]) == outcome(ours, [span])


@settings(max_examples=50)
@given(data=st.data(), seed=st.integers())
def test_spans_are_grouped_by_equal_resources_and_scopes(data: st.DataObject, seed: int) -> None:
    known = [data.draw(st.lists(choice, min_size=1, max_size=3)) for choice in (resources, scopes)]
    shared = readable_spans(*(st.sampled_from(choices) for choices in known))
    spans = data.draw(st.lists(shared | readable_spans(), max_size=8))
    random.Random(seed).shuffle(spans)
    assert outcome(official, spans) == outcome(ours, spans)


class Fleeting(ReadableSpan):
    """A span whose resource is made when it is asked for, and belongs to nobody."""

    made: ClassVar[list[weakref.ref[Resource]]] = []
    alive: ClassVar[list[bool]] = []

    @property
    def resource(self) -> Resource:
        type(self).alive = [reference() is not None for reference in self.made]
        resource = Resource({"number": self.start_time})
        self.made.append(weakref.ref(resource))
        return resource


def test_a_resource_that_nobody_keeps_lives_as_long_as_another_one_might_get_its_address() -> None:
    context = SpanContext(1, 2, is_remote=False)
    spans = [Fleeting("a", context, start_time=1 + number % 2, end_time=9) for number in range(5)]
    expected = official(spans)
    Fleeting.made.clear()
    assert expected == request_bytes(spans)
    assert [True] * 4 == Fleeting.alive


def odd_status() -> Status:
    status = Status(StatusCode.ERROR, "told")
    status._status_code = StatusCode.UNSET
    return status


ODD: dict[str, dict[str, Any]] = {
    "began at 0": {"start_time": 0},
    "never began": {"start_time": None},
    "ended at 0": {"end_time": 0},
    "never ended": {"end_time": None},
    "ended after the year 2554": {"end_time": 2**64},
    "no name": {"name": None},
    "a name that is a number": {"name": 1},
    "an empty key": {"attributes": {"": 1, "a": 2}},
    "a key that is a number": {"attributes": {1: 1, "a": 2}},
    "a key with a lone surrogate": {"attributes": {"\ud800": 1, "a": 2}},
    "no attributes": {"attributes": None},
    "attributes that cannot be copied": {"attributes": BoundedAttributes(attributes={"a": {}}).items()},
    "an event at 0": {"events": [Event("a", None, 0)]},
    "an event without a name": {"events": [Event("", {"a": 1}, 1)]},
    "a status that says nothing and has a text": {"status": odd_status()},
    "no status": {"status": None},
    "dropped events and links, and none left": {"events": bounded([], 1), "links": bounded([], 2)},
    "a parent without an id": {"parent": SpanContext(0, 0, is_remote=True)},
    "an id that is too large": {"context": SpanContext(2**128, 1, is_remote=False)},
    "no context": {"context": None},
    "an unknown kind": {"kind": 7},
    "a list": {"attributes": {"a": [1, "b", None], "b": []}},
    "a list of lists": {"attributes": {"a": ((1,), ())}},
    "numbers that are other classes": {"attributes": {"a": Colour.RED, "b": Text("c"), "d": Decimal(1)}},
}


@pytest.mark.parametrize("oddity", ODD)
def test_odd_spans_are_left_to_the_official_encoder(oddity: str) -> None:
    usual = {"name": "odd", "context": SpanContext(1, 2, is_remote=False), "start_time": 1, "end_time": 2}
    span = ReadableSpan(**{**usual, "resource": Resource({}), **ODD[oddity]})
    assert outcome(official, [*sample_spans(), span]) == outcome(ours, [*sample_spans(), span])


def finished(limits: SpanLimits | None = None, **arguments: Any) -> list[ReadableSpan]:
    """Spans as the SDK hands them over: a producer, and below it one with events, links and an error."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("taskflow", "1.0", "https://schema.example", {"scope": "attribute"})
    remote = SpanContext(
        5, 7, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("a", "b")])
    )
    with tracer.start_as_current_span("outer", kind=SpanKind.PRODUCER, **arguments):
        try:
            with tracer.start_as_current_span("inner", links=[Link(remote, {"n": 1})], **arguments) as inner:
                inner.add_event("sent", {"to": "someone"})
                inner.add_event("again", {"a": 1, "b": 2})
                raise OSError("no route to host")
        except OSError:
            pass
    return list(exporter.get_finished_spans())


@settings(max_examples=50)
@given(attributes=mappings)
def test_what_the_sdk_makes_of_attributes_is_encoded_alike(attributes: dict[str, Any]) -> None:
    spans = finished(attributes=attributes)
    assert official(spans) == ours(spans)


def test_what_a_limit_has_dropped_is_counted_alike() -> None:
    limits = SpanLimits(max_span_attributes=1, max_events=1, max_event_attributes=1, max_links=0)
    spans = finished(limits, attributes={"a": 1, "b": 2})
    assert official(spans) == request_bytes(spans)
    assert b"again" not in request_bytes(spans)


@pytest.mark.parametrize("span", sample_spans())
def test_usual_spans_are_not_handed_to_the_official_encoder(span: ReadableSpan) -> None:
    attributes = {"text": "a", "more": ("a", None, 1), "number": -1, "double": 0.5, "yes": True, "raw": b"\0"}
    for usual in finished(attributes=attributes):
        assert official([usual]).endswith(span_bytes(usual) + b"\x1a\x16https://schema.example")


def test_a_value_that_cannot_be_sent_costs_that_value_alone() -> None:
    spans = finished(attributes={"big": 2**70, "lone": "\ud800", "fine": "kept"})
    assert official(spans) == request_bytes(spans)
    assert b"kept" in request_bytes(spans)


def test_a_name_that_is_no_text_is_refused_as_the_official_encoder_does_it() -> None:
    spans = finished()
    broken = ReadableSpan("\ud800", spans[0].context, start_time=1, end_time=2)
    with pytest.raises(UnicodeEncodeError):
        official([*spans, broken])
    with pytest.raises(UnicodeEncodeError):
        ours([*spans, broken])


# What is seen at start


@pytest.fixture
def fresh() -> Iterator[None]:
    lean_export.cache_clear()
    yield
    lean_export.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_known_versions_get_our_encoder_and_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert trace_exporter.OTLPSpanExporter.export is not lean_export()
    assert trace_exporter.OTLPSpanExporter.export.__code__ is lean_export().__code__  # type: ignore[attr-defined]
    assert [] == caplog.records


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("replaced", "reason"),
    [
        (
            (encoding, "request_bytes", lambda spans: official(spans) + b"\0"),
            "writes other bytes than known ones",
        ),
        ((request, "span_bytes", lambda span: b"\0"), "writes other bytes than known ones"),
        ((encoding, "span_bytes", lambda span: span.nonsense), "spans are unknown (AttributeError"),
        ((sample, "_bounded", lambda items: 1 / 0), "spans are unknown (ZeroDivisionError"),
        (
            (trace_exporter.OTLPSpanExporter, "export", lambda self, spans: None),
            "does not call its encoder as known ones do",
        ),
    ],
)
def test_unknown_versions_encode_by_themselves_and_the_log_says_so_once(
    replaced: tuple[Any, str, Any],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(*replaced)
    assert trace_exporter.OTLPSpanExporter.export is lean_export() is lean_export()
    (record,) = caplog.records
    assert record.getMessage().startswith("Spans are encoded by the official exporter, which takes longer: ")
    assert reason in record.getMessage()


def test_the_sample_sets_every_field_that_a_span_has() -> None:
    message = encode_spans(sample_spans())
    full = message.resource_spans[0].scope_spans[0].spans[0]
    parts = [full, full.events[0], full.links[0], full.status, message.resource_spans[0].scope_spans[0]]
    # The official encoder never sets these.
    unset = {"trace_state"} if not full.links[0].trace_state else set()
    for part in parts:
        missing = {field.name for field in part.DESCRIPTOR.fields} - {
            field.name for field, _ in part.ListFields()
        }
        assert missing <= unset, part.DESCRIPTOR.name
