"""Spans that are the SDK's own class, filled without its constructor.

The SDK spends most of a small span's time on protecting it against what callers may pass: it copies and
checks attributes, one by one, makes a bounded list for events and one for links, a lock for each of the
three, and copies all of that at the end. What Taskflow passes is clean already, and few. So a `LeanSpan`
begins with plain collections; at the first touch by anybody else it takes the SDK's own (`_settle`), and
from there on the SDK's code does the rest.

The fields that are filled here are private: `taskflow.observers.otel.rehearsal` compares them at start.
"""

# ruff: noqa: SLF001  # the SDK's private fields are what this module is about

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from threading import Lock
from time import time_ns
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    Event,
    EventBase,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    Tracer,
    _Span,
)
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import DEFAULT_TRACE_STATE
from opentelemetry.util.types import AnyValue
from opentelemetry.util.types import Attributes as AnyAttributes

from taskflow.observers.otel.attributes import Attributes, CleanAttributes
from taskflow.observers.otel.spans import Spans, within

__all__ = ["LeanSpan", "LeanSpans"]

MULTI_PROCESSORS = (SynchronousMultiSpanProcessor, ConcurrentMultiSpanProcessor)
EXPORTING = (BatchSpanProcessor, SimpleSpanProcessor)
"""Processors that do nothing with a span but to hand the finished one to an exporter."""
MEETING = ("on_start", "_on_ending", "on_end")
"""The methods by which a processor meets spans."""

Processors = tuple[SpanProcessor, ...]

TRACER_FIELDS = {
    "sampler",
    "resource",
    "span_processor",
    "id_generator",
    "instrumentation_info",
    "_span_limits",
    "_instrumentation_scope",
    "_tracer_config",
    "_tracer_metrics",
}
"""What the SDK's tracer has. One more would be something that lean spans do not do."""

new = object.__new__
FLAGS = tuple(TraceFlags(bits) for bits in range(4))
SAMPLED, RANDOM = TraceFlags.SAMPLED, TraceFlags.RANDOM_TRACE_ID
MOST_TRACE_ID, MOST_SPAN_ID = 2**128 - 1, 2**64 - 1


class LeanSpan(_Span):
    """A span of the SDK with plain collections in place of the SDK's, until somebody else touches it."""

    __slots__ = ("_made_for",)  # not in its `__dict__`, which has fields of the SDK and no others

    _made_for: Processors | None
    """The processors that may have it as it is; ``None`` as soon as it is like any span of the SDK."""

    # Most spans have these values all the time, or when they begin.
    _context: SpanContext
    _span_processor: Any
    _attributes: Any
    _events: Any = ()
    _links: Any = ()
    _status = Status(StatusCode.UNSET)
    _end_time = None
    _record_exception = _set_status_on_exception = True
    _record_end_metrics = None
    _trace_config = None

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        if type(attributes) is CleanAttributes:
            most = self._limits.max_span_attributes
            with self._lock:
                own = self._attributes
                if self._made_for is not None and (most is None or len(own) + len(attributes) <= most):
                    own.update(attributes)
                    return
        self._settle()
        super().set_attributes(attributes)

    def add_event(self, name: str, attributes: AnyAttributes = None, timestamp: int | None = None) -> None:
        if type(attributes) is CleanAttributes:
            limits = self._limits
            most, widest = limits.max_events, limits.max_event_attributes
            with self._lock:
                if (
                    self._made_for is not None
                    and (most is None or len(self._events) < most)
                    and (widest is None or len(attributes) <= widest)
                    and limits.max_attribute_length is None
                ):
                    event = new(Event)
                    event._name, event._attributes = name, attributes
                    event._timestamp = time_ns() if timestamp is None else timestamp
                    self._events = (*self._events, event)
                    return
        super().add_event(name, attributes, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """As in the SDK, which copies the span for the exporters: nothing changes one that has ended."""
        with self._lock:
            lean = self._made_for is self._span_processor._span_processors
            if lean:
                self._made_for = None
                self._end_time = time_ns() if end_time is None else end_time
        if lean:
            self._span_processor.on_end(self)
        else:
            self._settle()
            super().end(end_time)

    def _settle(self) -> None:
        """Take the SDK's own collections, for good."""
        with self._lock:
            if self._made_for is not None:
                self._made_for = None
                limits = self._limits
                events = [_settled(event, limits) for event in self._events]
                self._events = BoundedList.from_seq(limits.max_events, events)
                self._links = self._links or BoundedList(limits.max_links)
                self._attributes = BoundedAttributes(
                    limits.max_span_attributes, self._attributes, immutable=False
                )

    def get_span_context(self) -> SpanContext:
        return self._context

    # What others may do, and what the SDK does for them.

    def set_attribute(self, key: str, value: AnyValue) -> None:
        self._settle()
        super().set_attribute(key, value)

    def _add_event(self, event: EventBase) -> None:
        self._settle()
        super()._add_event(event)

    def _add_link(self, link: Link) -> None:
        self._settle()
        super()._add_link(link)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy as of the SDK's finished spans, which have no lock."""
        return copy.deepcopy(self._readable_span(), memo)


class LeanSpans(Spans):
    """Makes lean spans where that shows nowhere, and asks `Tracer.start_span` for all others.

    Those are: spans for which a sampler has to be asked (in a sampled trace the SDK's `ParentBased` need
    not be), spans that are not recorded, and spans of a provider that cuts texts, counts its spans, or has
    a processor of its own making for all others.

    Args:
        tracer: the SDK's own.
    """

    def __init__(self, tracer: Tracer) -> None:
        super().__init__(tracer)
        self._sdk = tracer
        self._multi: Any = tracer.span_processor
        self._exporting: Processors | None = None
        self._most_attributes: int | None = tracer._span_limits.max_span_attributes
        self._root, self._local, self._remote = _records_all(tracer.sampler)
        if not _is_plain(tracer):
            self._root = self._local = self._remote = False

    def start(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        parent: SpanContext,
        context: Context,
        links: Sequence[Link] = (),
    ) -> Span:
        most = self._most_attributes
        if (
            not self._records(parent)
            or (most is not None and len(attributes) > most)
            or not self._sdk._is_enabled()
        ):
            return super().start(name, kind, attributes, parent, context, links)
        span = _filled(self._sdk, name, kind, attributes, parent, links)
        span._made_for = processors = self._multi._span_processors
        if processors is not self._exporting and not self._only_export(processors):
            span._settle()
            self._multi.on_start(span, parent_context=within(parent, context))
        return span

    def _only_export(self, processors: Processors) -> bool:
        """Whether nobody sees spans while they are made, or finished ones before they are exported."""
        if not all(_hands_over(type(each)) for each in processors):
            return False
        self._exporting = processors  # need not be looked at again
        return True

    def _records(self, parent: SpanContext) -> bool:
        """Whether the sampler need not be asked: it records and samples all spans of this parent."""
        if type(parent) is not SpanContext:  # spans of others may answer otherwise
            return False
        _, _, remote, flags, _, valid = parent
        if not valid:
            return self._root
        return bool(flags & SAMPLED) and (self._remote if remote else self._local)


def _hands_over(kind: type) -> bool:
    """Whether a class of processors meets spans with the code of one of `EXPORTING`: whatever else a subclass
    does, such as to flush in another way, the spans do not see.
    """
    return any(
        issubclass(kind, known)
        and all(getattr(kind, name, None) is getattr(known, name, None) for name in MEETING)
        for known in EXPORTING
    )


def _is_plain(tracer: Tracer) -> bool:
    """Whether all that the SDK does for this tracer's spans is what `_filled` does."""
    return (
        type(tracer.span_processor) in MULTI_PROCESSORS
        and type(tracer._tracer_metrics) is NoOpTracerMetrics
        and tracer._span_limits.max_span_attribute_length is None
    )


def _records_all(sampler: Sampler) -> tuple[bool, bool, bool]:
    """Whether a sampler records every span without a parent, below a local one that is sampled, and below
    such a remote one.

    That is known of the SDK's constant sampler, alone or below its `ParentBased`.
    """
    samplers = (sampler, sampler, sampler)
    if isinstance(sampler, ParentBased) and type(sampler).should_sample is ParentBased.should_sample:
        samplers = (sampler._root, sampler._local_parent_sampled, sampler._remote_parent_sampled)
    root, local, remote = (each is ALWAYS_ON for each in samplers)
    return root, local, remote


def _filled(
    tracer: Tracer,
    name: str,
    kind: SpanKind,
    attributes: Attributes,
    parent: SpanContext,
    links: Sequence[Link],
) -> LeanSpan:
    """What `Tracer.start_span` and the constructors of `Span` and `ReadableSpan` do, for a sampled span."""
    ids = tracer.id_generator
    trace_id, _, _, flags, state, child = parent
    if not child:
        trace_id, state = ids.generate_trace_id(), DEFAULT_TRACE_STATE
    random = flags & RANDOM if child else ids.is_trace_id_random()
    flags = FLAGS[SAMPLED | RANDOM if random else SAMPLED]
    span_id = ids.generate_span_id()
    valid = 0 < span_id <= MOST_SPAN_ID and 0 < trace_id <= MOST_TRACE_ID
    span = new(LeanSpan)
    span._name = name
    span._context = tuple.__new__(SpanContext, (trace_id, span_id, False, flags, state, valid))
    span._kind = kind
    span._instrumentation_info = tracer.instrumentation_info
    span._instrumentation_scope = tracer._instrumentation_scope
    span._parent = parent if child else None
    span._start_time = time_ns()
    span._attributes = attributes
    span._resource = tracer.resource
    span._sampler = tracer.sampler
    span._span_processor = tracer.span_processor
    span._limits = tracer._span_limits
    span._lock = Lock()
    if links:
        span._links = span._new_links(links)
    return span


def _settled(event: Event, limits: SpanLimits) -> Event:
    """The event, with attributes as the SDK keeps them."""
    event._attributes = BoundedAttributes(
        limits.max_event_attributes, event.attributes, max_value_len=limits.max_attribute_length
    )
    return event
