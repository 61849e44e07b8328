"""The observer: what each event counts, which labels it gets, and who may share a registry."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Summary,
    generate_latest,
)
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from taskflow import (
    ConfigurationError,
    LifecycleEvent,
    LogEvent,
    PrometheusObserver,
    TaskManager,
    TaskStatus,
    task_log,
)
from taskflow.metrics import families
from taskflow.metrics.catalogue import TASK_DURATION, TASK_QUEUE, TASK_RETRIES
from taskflow.metrics.exposition import encode
from taskflow.metrics.families import FOLDED_AT
from taskflow.metrics.instruments import MemoryInstruments

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def event(status: str, func_name: str = "send", **fields: Any) -> LifecycleEvent:
    fields.setdefault("registered", True)
    return LifecycleEvent(
        task_id="0", func_name=func_name, status=TaskStatus(status), timestamp=datetime.now(UTC), **fields
    )


def line(level: Any, func_name: str = "send") -> LogEvent:
    return LogEvent(task_id="0", func_name=func_name, message="", level=level, timestamp=datetime.now(UTC))


def observed(*events: LifecycleEvent | LogEvent) -> CollectorRegistry:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    for each in events:
        if isinstance(each, LogEvent):
            observer.on_log(each)
        else:
            observer.on_lifecycle(each)
    return registry


def series_of(registry: CollectorRegistry, metric: str) -> list[dict[str, str]]:
    return [
        sample.labels for family in registry.collect() for sample in family.samples if sample.name == metric
    ]


def test_a_task_that_was_added_counts_as_enqueued():
    registry = observed(event("pending"), event("pending"))
    assert registry.get_sample_value("taskflow_tasks_enqueued_total", {"task": "send"}) == 2


@pytest.mark.parametrize("reason", ["requeued", "rescued", "lease_expired"])
def test_a_task_that_came_back_counts_as_recovered_and_not_as_enqueued(reason):
    registry = observed(event("pending", reason=reason))
    recovered = {"task": "send", "reason": reason}
    assert registry.get_sample_value("taskflow_tasks_recovered_total", recovered) == 1
    assert registry.get_sample_value("taskflow_tasks_enqueued_total", {"task": "send"}) == 0


def test_a_poisoned_task_counts_as_recovered_and_as_failed_but_not_as_an_error_of_an_attempt():
    registry = observed(event("failed", reason="poison"))
    recovered = {"task": "send", "reason": "poison"}
    finished = {"task": "send", "status": "failed"}
    assert registry.get_sample_value("taskflow_tasks_recovered_total", recovered) == 1
    assert registry.get_sample_value("taskflow_tasks_finished_total", finished) == 1
    assert series_of(registry, "taskflow_task_errors_total") == []


@pytest.mark.parametrize("status", ["success", "failed", "interrupted", "cancelled"])
def test_every_end_counts_once_and_is_timed_under_its_status(status):
    registry = observed(event(status, duration=3.0))
    labels = {"task": "send", "status": status}
    assert registry.get_sample_value("taskflow_tasks_finished_total", labels) == 1
    assert registry.get_sample_value("taskflow_task_duration_seconds_sum", labels) == 3.0


def test_a_task_that_never_started_has_no_duration():
    registry = observed(event("cancelled", reason="not_dispatched"))
    assert series_of(registry, "taskflow_task_duration_seconds_count") == []
    assert series_of(registry, "taskflow_task_attempt_duration_seconds_count") == []


def test_ends_and_recoveries_are_exported_as_zero_before_the_first_one():
    registry = observed(event("pending"))
    statuses = [series["status"] for series in series_of(registry, "taskflow_tasks_finished_total")]
    assert statuses == ["success", "failed", "interrupted", "cancelled"]
    reasons = [series["reason"] for series in series_of(registry, "taskflow_tasks_recovered_total")]
    assert reasons == ["lease_expired", "poison", "requeued", "rescued"]


async def test_a_registered_function_is_exported_from_zero_on_before_its_first_task():
    registry = CollectorRegistry()
    manager = TaskManager(loggers=[PrometheusObserver(registry)], handle_signals=False)

    @manager.task(name="send")
    async def send(): ...

    async with manager:
        assert registry.get_sample_value("taskflow_tasks_enqueued_total", {"task": "send"}) == 0
        labels = {"task": "send", "reason": "rescued"}
        assert registry.get_sample_value("taskflow_tasks_recovered_total", labels) == 0


def test_a_task_that_a_shutdown_gives_back_is_not_another_one():
    registry = observed(event("pending"), event("running"), event("pending", reason="shutdown"))
    assert registry.get_sample_value("taskflow_tasks_enqueued_total", {"task": "send"}) == 1


def test_every_failed_attempt_counts_as_an_error_the_retried_ones_too():
    registry = observed(
        event("retrying", attempt_duration=1.0, error_type="httpx.ReadTimeout"),
        event("failed", attempt_duration=2.0, error_type="httpx.ReadTimeout"),
    )
    errors = {"task": "send", "error_type": "httpx.ReadTimeout"}
    attempts = {"task": "send", "outcome": "failed"}
    assert registry.get_sample_value("taskflow_task_errors_total", errors) == 2
    assert registry.get_sample_value("taskflow_task_retries_total", {"task": "send"}) == 1
    assert registry.get_sample_value("taskflow_task_attempt_duration_seconds_sum", attempts) == 3.0


@pytest.mark.parametrize("status", ["success", "interrupted", "cancelled"])
def test_an_attempt_that_did_not_fail_is_timed_under_its_own_outcome(status):
    registry = observed(event(status, attempt_duration=2.0))
    labels = {"task": "send", "outcome": status}
    assert registry.get_sample_value("taskflow_task_attempt_duration_seconds_sum", labels) == 2.0
    assert series_of(registry, "taskflow_task_errors_total") == []


def test_the_first_start_tells_how_long_the_task_and_the_attempt_waited():
    registry = observed(event("running", queue_duration=20.0, slot_wait=15.0, pool="async"))
    assert registry.get_sample_value("taskflow_task_queue_seconds_sum", {"task": "send"}) == 20.0
    assert registry.get_sample_value("taskflow_pool_wait_seconds_sum", {"pool": "async"}) == 15.0


def test_a_later_start_tells_only_how_long_the_attempt_waited():
    registry = observed(event("running", slot_wait=15.0, pool="thread"))
    assert registry.get_sample_value("taskflow_task_queue_seconds_count", {"task": "send"}) == 0
    assert registry.get_sample_value("taskflow_pool_wait_seconds_count", {"pool": "thread"}) == 1


def test_lines_count_by_level():
    registry = observed(line("debug"), line("error"), line("error"))
    values = [
        registry.get_sample_value("taskflow_task_logs_total", {"task": "send", "level": level})
        for level in ("debug", "error")
    ]
    assert values == [1, 2]


async def test_lines_of_every_level_reach_the_observer():
    registry = CollectorRegistry()
    manager = TaskManager(loggers=[PrometheusObserver(registry)])

    @manager.task()
    async def chat() -> None:
        task_log("psst", level="debug")

    async with manager:
        manager.enqueue(chat)
        await manager.drain()
    labels = {"task": "chat", "level": "debug"}
    assert registry.get_sample_value("taskflow_task_logs_total", labels) == 1


# Buckets


def test_a_value_on_a_bound_belongs_to_the_bucket_of_that_bound():
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry, buckets=(1, 2))
    for seconds in (1.0, 1.5, 99.0):
        observer.on_lifecycle(event("success", duration=seconds))
    labels = {"task": "send", "status": "success"}
    counts = [
        registry.get_sample_value("taskflow_task_duration_seconds_bucket", {**labels, "le": bound})
        for bound in ("1.0", "2.0", "+Inf")
    ]
    assert counts == [1, 2, 3]


@pytest.mark.parametrize(
    "buckets", [(), (0, 1), (2, 1), (1, 1), (1, float("inf")), (float("nan"),), ("a",), None, 5]
)
def test_buckets_that_cannot_be_are_refused(buckets):
    with pytest.raises(ConfigurationError, match="buckets="):
        PrometheusObserver(CollectorRegistry(), buckets=buckets)


def test_what_is_no_registry_is_refused():
    with pytest.raises(ConfigurationError, match="registry='metrics'"):
        PrometheusObserver("metrics")  # type: ignore[arg-type]


# Bounded labels


def test_ten_thousand_unregistered_names_make_a_hundred_series_and_one_for_the_others():
    events = (event("pending", f"job_{n}", registered=False) for n in range(10_000))
    registry = observed(*events)
    assert len(series_of(registry, "taskflow_tasks_enqueued_total")) == 101
    assert registry.get_sample_value("taskflow_tasks_enqueued_total", {"task": "other"}) == 9_900


def test_ten_thousand_exception_classes_make_a_hundred_series_and_one_for_the_others():
    events = (
        event("failed", f"job_{n % 7}", attempt_duration=0.1, error_type=f"Error{n}") for n in range(10_000)
    )
    registry = observed(*events)
    kinds = {series["error_type"] for series in series_of(registry, "taskflow_task_errors_total")}
    assert len(kinds) == 101
    assert len(series_of(registry, "taskflow_task_errors_total")) == 107  # 100, and "other" of 7 tasks


def test_registered_names_are_never_folded_into_other():
    events = [event("pending", f"job_{n}", registered=False) for n in range(200)]
    events += [event("pending", f"task_{n}") for n in range(200)]
    registry = observed(*events)
    registered = [
        series
        for series in series_of(registry, "taskflow_tasks_enqueued_total")
        if series["task"].startswith("task_")
    ]
    assert len(registered) == 200


def test_the_limit_holds_for_both_observers_of_a_registry_together():
    registry = CollectorRegistry()
    for observer, prefix in ((PrometheusObserver(registry), "a"), (PrometheusObserver(registry), "b")):
        for n in range(80):
            observer.on_lifecycle(event("pending", f"{prefix}{n}", registered=False))
    assert len(series_of(registry, "taskflow_tasks_enqueued_total")) == 101


# Threads


def test_nothing_is_lost_or_counted_twice_while_threads_observe_and_a_scrape_collects(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(families, "FOLDED_AT", 5)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        observe_from_threads()
    finally:
        sys.setswitchinterval(before)


def observe_from_threads() -> None:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    events, threads = 3_000, 4
    labels = {"task": "send", "status": "success"}

    def observe() -> None:
        for number in range(events):
            observer.on_lifecycle(event("pending"))
            observer.on_lifecycle(event("success", duration=number % 3, attempt_duration=0.5))

    def value(metric: str, labels: dict[str, str]) -> float:
        return registry.get_sample_value(metric, labels) or 0.0

    def scrape() -> tuple[float, ...]:
        return (
            value("taskflow_tasks_enqueued_total", {"task": "send"}),
            value("taskflow_tasks_finished_total", labels),
            value("taskflow_task_duration_seconds_count", labels),
            value("taskflow_task_duration_seconds_bucket", {**labels, "le": "1.0"}),
            value("taskflow_task_duration_seconds_sum", labels),
        )

    with ThreadPoolExecutor(threads + 1) as pool:
        running = [pool.submit(observe) for _ in range(threads)]
        scrapes = [scrape()]
        while not all(future.done() for future in running):
            scrapes.append(scrape())
    for future in running:
        future.result()

    total = events * threads
    assert (total, total, total, 2 * total / 3, float(total)) == scrape()
    assert all(low <= high for one, other in pairwise(scrapes) for low, high in zip(one, other, strict=True))


def test_what_is_observed_between_two_scrapes_is_not_kept_one_by_one():
    registry = CollectorRegistry()
    instruments = MemoryInstruments(registry)
    counter, histogram = instruments.counter(TASK_RETRIES, "send"), instruments.histogram(TASK_QUEUE, "send")
    for _ in range(5 * FOLDED_AT + 1):
        counter.inc()
        histogram.observe(0.5)

    assert [1, 1] == [len(series._fresh) for series in (counter, histogram)]  # type: ignore[attr-defined]  # in memory
    assert registry.get_sample_value("taskflow_task_retries_total", {"task": "send"}) == 5 * FOLDED_AT + 1
    assert (
        registry.get_sample_value("taskflow_task_queue_seconds_count", {"task": "send"}) == 5 * FOLDED_AT + 1
    )


@given(st.lists(st.floats(0, 1e5), max_size=700), st.lists(st.floats(1e-3, 1e4), min_size=1, unique=True))
def test_a_histogram_has_what_prometheus_client_has(amounts: list[float], bounds: list[float]):
    registry, reference = CollectorRegistry(), CollectorRegistry()
    ours = MemoryInstruments(registry, sorted(bounds)).histogram(TASK_DURATION, "send", "success")
    theirs = Histogram(
        TASK_DURATION.name, "-", TASK_DURATION.labels, registry=reference, buckets=sorted(bounds)
    ).labels("send", "success")
    for amount in amounts:
        ours.observe(amount)
        theirs.observe(amount)
    for sample in (s for family in reference.collect() for s in family.samples):
        if not sample.name.endswith("_created"):
            assert registry.get_sample_value(sample.name, sample.labels) == pytest.approx(sample.value)


# Exemplars


def test_a_bucket_has_the_latest_of_its_exemplars():
    registry = CollectorRegistry()
    queue = MemoryInstruments(registry).histogram(TASK_QUEUE, "send")
    for amount, trace_id in ((0.02, "a"), (3.0, "b"), (0.021, "c"), (4.0, "d"), (0.02, "e")):
        queue.observe(amount, {"trace_id": trace_id})

    assert {0.02: "e", 4.0: "d"} == {
        sample.exemplar.value: sample.exemplar.labels["trace_id"]
        for family in registry.collect()
        for sample in family.samples
        if sample.exemplar
    }


@pytest.fixture
def sampled_span() -> Iterator[str]:
    tracer = TracerProvider(sampler=ALWAYS_ON).get_tracer("test")
    with tracer.start_as_current_span("work") as span:
        yield trace.format_trace_id(span.get_span_context().trace_id)


def exemplars_of(registry: CollectorRegistry) -> set[tuple[str, str]]:
    return {
        (family.name, sample.exemplar.labels["trace_id"])
        for family in registry.collect()
        for sample in family.samples
        if sample.exemplar
    }


def test_histograms_carry_the_trace_id_of_a_sampled_span(sampled_span):
    registry = observed(
        event("running", queue_duration=1.0, slot_wait=1.0, pool="async"),
        event("success", duration=1.0, attempt_duration=1.0),
    )
    assert exemplars_of(registry) == {
        ("taskflow_task_queue_seconds", sampled_span),
        ("taskflow_pool_wait_seconds", sampled_span),
        ("taskflow_task_duration_seconds", sampled_span),
        ("taskflow_task_attempt_duration_seconds", sampled_span),
    }


def test_a_span_that_is_not_sampled_leaves_no_exemplar():
    tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer("test")
    with tracer.start_as_current_span("work"):
        registry = observed(event("success", duration=1.0, attempt_duration=1.0))
    assert exemplars_of(registry) == set()


def test_without_a_span_there_is_no_exemplar():
    assert exemplars_of(observed(event("success", duration=1.0, attempt_duration=1.0))) == set()


# Who may share a registry


async def count_one_task(manager: TaskManager) -> None:
    @manager.task()
    async def ping() -> None: ...

    async with manager:
        manager.enqueue(ping)
        await manager.drain()


def succeeded(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("taskflow_tasks_finished_total", {"task": "ping", "status": "success"})


async def test_two_managers_with_a_registry_each_count_apart():
    first, second = CollectorRegistry(), CollectorRegistry()
    await count_one_task(TaskManager(loggers=[PrometheusObserver(first)]))
    other = TaskManager(loggers=[PrometheusObserver(second)])
    await count_one_task(other)
    await count_one_task_again(other)
    assert (succeeded(first), succeeded(second)) == (1, 2)


async def count_one_task_again(manager: TaskManager) -> None:
    func, _ = manager.registry.get_by_name("ping") or pytest.fail("not registered")
    async with manager:
        manager.enqueue(func)
        await manager.drain()


async def test_two_managers_on_one_registry_add_up_without_counting_twice():
    registry = CollectorRegistry()
    await count_one_task(TaskManager(loggers=[PrometheusObserver(registry)]))
    await count_one_task(TaskManager(loggers=[PrometheusObserver(registry)]))
    assert succeeded(registry) == 2


async def test_one_observer_may_serve_two_managers():
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    await count_one_task(TaskManager(loggers=[observer]))
    await count_one_task(TaskManager(loggers=[observer]))
    assert succeeded(registry) == 2


def test_two_observers_of_one_manager_on_one_registry_are_an_error():
    registry = CollectorRegistry()
    with pytest.raises(ConfigurationError, match="would count every task twice"):
        TaskManager(loggers=[PrometheusObserver(registry), PrometheusObserver(registry)])


def test_different_buckets_on_one_registry_are_an_error():
    registry = CollectorRegistry()
    kept = PrometheusObserver(registry, buckets=(1, 2))
    with pytest.raises(ConfigurationError, match="the registry already has"):
        PrometheusObserver(registry, buckets=(1, 3))
    assert kept.registry is registry


def test_the_default_is_the_global_registry():
    assert PrometheusObserver().registry is REGISTRY


def test_a_registry_and_a_manager_that_are_dropped_leave_nothing_behind():
    def build() -> tuple[weakref.ref[Any], ...]:
        registry = CollectorRegistry()
        return weakref.ref(registry), weakref.ref(TaskManager(loggers=[PrometheusObserver(registry)]))

    references = build()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


# The text formats


class Odd(Collector):
    """Families that are out of the ordinary."""

    def collect(self):
        timed = GaugeMetricFamily("odd_timed", "with a timestamp", labels=["a"])
        timed.add_metric(["x"], 1, timestamp=1234.5)
        utf8 = GaugeMetricFamily("odd.dotted", "a name with a dot", labels=["also.dotted"])
        utf8.add_metric(["y"], 2)
        spread = GaugeHistogramMetricFamily("odd_spread", "a gauge histogram")
        spread.add_metric([], buckets=[("1.0", 1), ("+Inf", 3)], gsum_value=4)
        return [timed, utf8, spread]


def full_registry() -> CollectorRegistry:
    registry = observed(
        event("pending"),
        event("running", queue_duration=1.0, slot_wait=1.0, pool="async"),
        event("retrying", attempt_duration=1e7, error_type="ValueError"),
        event("success", duration=1.0, attempt_duration=1.0),
        line("info"),
    )
    Counter("jobs", 'help with "quotes", a \\ and a\nnew line', ["kind"], registry=registry).labels("a").inc()
    Gauge("heat", "negative, huge and endless", ["where"], registry=registry).labels("x").set(-1.5e9)
    Gauge("limit", "endless", registry=registry).set(float("inf"))
    Gauge("nothing", "not a number", registry=registry).set(float("nan"))
    Histogram("sizes", "a histogram", registry=registry).observe(3, {"trace_id": "abc"})
    Summary("waits", "a summary", registry=registry).observe(3)
    Info("build", "an info", registry=registry).info({"v": "1"})
    registry.register(Odd())
    return registry


REFERENCE_ACCEPTS = [
    ("", generate_latest),
    ("text/plain;version=0.0.4", generate_latest),
    (OPENMETRICS, generate_openmetrics),
    (
        f"{OPENMETRICS}; escaping=allow-utf-8",
        lambda registry: generate_openmetrics(registry, escaping="allow-utf-8"),
    ),
    (f"{OPENMETRICS}; escaping=dots", lambda registry: generate_openmetrics(registry, escaping="dots")),
    ("text/plain;version=1.0.0;escaping=values", lambda registry: generate_latest(registry, "values")),
    ("text/plain;version=x", generate_latest),
]


@pytest.mark.parametrize(("accept", "reference"), REFERENCE_ACCEPTS, ids=[a for a, _ in REFERENCE_ACCEPTS])
def test_the_text_is_byte_for_byte_the_one_of_prometheus_client(accept, reference, sampled_span):
    registry = full_registry()
    assert encode(registry, accept)[0] == reference(registry)


@given(value=st.floats() | st.integers(-(10**9), 10**9), label=st.text(), text=st.text())
def test_any_value_label_and_help_is_written_as_prometheus_client_writes_it(value, label, text):
    class One(Collector):
        def collect(self):
            family = GaugeMetricFamily("one", text, labels=["label"])
            family.add_metric([label], value)
            return [family]

    registry = CollectorRegistry()
    registry.register(One())
    try:
        expected = generate_latest(registry), generate_openmetrics(registry)
    except UnicodeEncodeError:  # a lone surrogate: neither can write it
        return
    assert (encode(registry)[0], encode(registry, OPENMETRICS)[0]) == expected
