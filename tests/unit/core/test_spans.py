"""The ids of the current span."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from taskflow.core.spans import SpanIds, current_span_ids


def test_without_a_span_there_are_no_ids() -> None:
    assert current_span_ids() is None


def test_the_ids_are_those_of_the_innermost_span_at_every_call() -> None:
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("outer") as outer:
        before = current_span_ids()
        with tracer.start_as_current_span("inner") as inner:
            within = current_span_ids()
        after = current_span_ids()

    expected = [
        SpanIds(f"{span.get_span_context().trace_id:032x}", f"{span.get_span_context().span_id:016x}", True)
        for span in (outer, inner, outer)
    ]
    assert [before, within, after] == expected
    assert current_span_ids() is None


def test_a_trace_that_nobody_keeps_says_so() -> None:
    tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    with tracer.start_as_current_span("dropped"):
        ids = current_span_ids()

    assert ids is not None
    assert not ids.sampled
