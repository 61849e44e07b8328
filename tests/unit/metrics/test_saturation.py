"""What is read at scrape time: tasks, pools, observers, the loop, and what persistence records."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import platform
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import pytest
from prometheus_client import CollectorRegistry

from taskflow import LifecycleEvent, PrometheusObserver, TaskManager, TaskObserver, TaskRecord
from taskflow.execution.indexes.levels import Levels
from taskflow.execution.indexes.order import Order
from taskflow.metrics.loop import LAG_INTERVAL, LoopProbe
from taskflow.observers import ObserverStats
from taskflow.version import __version__

POOLS = ("taskflow_pool_slots", "taskflow_pool_slots_in_use", "taskflow_pool_waiting")


def tasks(registry: CollectorRegistry, task: str, state: str) -> float | None:
    return registry.get_sample_value("taskflow_tasks", {"task": task, "state": state})


def pool(registry: CollectorRegistry, name: str) -> tuple[float | None, ...]:
    """Slots, slots in use, waiting."""
    slots, in_use, waiting = (registry.get_sample_value(metric, {"pool": name}) for metric in POOLS)
    return slots, in_use, waiting


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - gauges announce nothing
            await asyncio.sleep(0.001)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


# Bursts


async def test_a_burst_of_a_thousand_tasks_into_ten_slots_can_be_watched(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)], max_concurrent_tasks=10)
    steps = asyncio.Semaphore(0)

    @manager.task()
    async def crawl() -> None:
        await steps.acquire()

    async with manager:
        for _ in range(1000):
            manager.enqueue(crawl)
        await until(lambda: pool(registry, "async") == (10, 10, 990))
        assert tasks(registry, "crawl", "running") == 10
        assert tasks(registry, "crawl", "pending") == 990

        for _ in range(300):
            steps.release()
        await until(lambda: pool(registry, "async") == (10, 10, 690))
        assert tasks(registry, "crawl", "pending") == 690

        for _ in range(700):
            steps.release()
        await manager.drain()
    assert pool(registry, "async") == (10, 0, 0)
    assert tasks(registry, "crawl", "pending") == tasks(registry, "crawl", "running") == 0


async def test_a_burst_tells_the_wait_of_every_task(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)], max_concurrent_tasks=10)
    opened = asyncio.Event()

    @manager.task()
    async def crawl() -> None:
        await opened.wait()

    async with manager:
        for _ in range(1000):
            manager.enqueue(crawl)
        await until(lambda: pool(registry, "async") == (10, 10, 990))
        held = time.monotonic()
        await asyncio.sleep(0.05)  # the least that 990 tasks wait
        held = time.monotonic() - held
        opened.set()
        await manager.drain()

    for metric, labels in (
        ("taskflow_pool_wait_seconds", {"pool": "async"}),
        ("taskflow_task_queue_seconds", {"task": "crawl"}),
    ):
        assert registry.get_sample_value(f"{metric}_count", labels) == 1000
        assert registry.get_sample_value(f"{metric}_sum", labels) >= 990 * held


async def test_sync_tasks_wait_for_their_own_threads(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)], max_sync_threads=2)
    opened = threading.Event()

    @manager.task()
    def resize() -> None:
        opened.wait(30)

    async with manager:
        for _ in range(5):
            manager.enqueue(resize)
        await until(lambda: pool(registry, "thread") == (2, 2, 3))
        opened.set()
        await manager.drain()
    assert pool(registry, "thread") == (2, 0, 0)
    assert registry.get_sample_value("taskflow_pool_wait_seconds_count", {"pool": "thread"}) == 5


async def test_a_pool_without_a_limit_has_no_number_of_slots(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)])
    async with manager:
        assert pool(registry, "async") == (None, 0, 0)
        assert pool(registry, "thread") == (manager.pools[1].size, 0, 0)


# Tasks and their ages


async def test_a_task_that_waits_for_its_retry_counts_as_retrying(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)], shutdown_timeout=0)

    @manager.task(retries=1, delay=3600)
    async def flaky() -> None:
        raise ValueError

    async with manager:
        manager.enqueue(flaky)
        await until(lambda: tasks(registry, "flaky", "retrying") == 1)
        assert tasks(registry, "flaky", "running") == 0


async def test_the_age_of_a_state_is_that_of_its_oldest_task(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)])
    opened = asyncio.Event()

    @manager.task()
    async def wait() -> None:
        await opened.wait()

    def oldest(state: str) -> float:
        labels = {"task": "wait", "state": state}
        return registry.get_sample_value("taskflow_oldest_task_seconds", labels) or 0.0

    async with manager:
        manager.enqueue(wait)
        await until(lambda: tasks(registry, "wait", "running") == 1)
        since = min(record.state_clock for record in manager.store.live())
        manager.enqueue(wait)
        await until(lambda: tasks(registry, "wait", "running") == 2)
        least = time.monotonic() - since
        assert least <= oldest("running") <= time.monotonic() - since
        assert oldest("pending") == 0.0
        opened.set()
        await manager.drain()
    assert oldest("running") == 0.0


async def test_unregistered_names_share_the_limit_with_the_counters(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)])
    opened = asyncio.Event()

    def job(number: int):
        async def run() -> None:
            await opened.wait()

        run.__name__ = f"job_{number}"
        return run

    async with manager:
        for number in range(150):
            manager.enqueue(job(number))
        await until(lambda: tasks(registry, "other", "running") == 50)
        series = {
            s.labels["task"] for f in registry.collect() for s in f.samples if s.name == "taskflow_tasks"
        }
        assert len(series) == 101
        opened.set()
        await manager.drain()


class CountingRecords(dict[str, TaskRecord]):
    """Counts the records that are looked at."""

    looked_at = 0

    def get(self, *args: Any) -> Any:
        self.looked_at += 1
        return super().get(*args)

    def values(self) -> Any:
        self.looked_at += len(self)
        return super().values()

    def __iter__(self) -> Iterator[str]:
        self.looked_at += len(self)
        return super().__iter__()


def test_a_scrape_looks_at_no_more_records_of_many_than_of_few(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)])
    manager.store._records = records = CountingRecords()
    manager.store._order = Order(records)
    looks = []
    for count in (1_000, 20_000):
        while len(records) < count:
            manager.store.create(str(len(records)), "send")
        tasks(registry, "send", "pending")  # what has come since is taken in
        records.looked_at = 0
        assert tasks(registry, "send", "pending") == count
        looks.append(records.looked_at)

    assert looks[0] == looks[1] <= 100


# Several managers on one registry


async def test_levels_of_managers_on_one_registry_add_up(registry):
    opened = asyncio.Event()

    async def wait() -> None:
        await opened.wait()

    managers = [TaskManager(loggers=[PrometheusObserver(registry)], max_concurrent_tasks=n) for n in (1, 2)]
    for manager in managers:
        await manager.startup()
        for _ in range(5):
            manager.enqueue(wait)
    await until(lambda: pool(registry, "async") == (3, 3, 7))
    assert tasks(registry, "wait", "pending") == 7
    opened.set()
    for manager in managers:
        await manager.drain()
        await manager.shutdown()


async def test_the_threads_of_anyio_are_one_pool_however_many_managers_read_it(registry):
    managers = [TaskManager(loggers=[PrometheusObserver(registry)]) for _ in range(2)]
    for manager in managers:
        await manager.startup()
    opened = threading.Event()
    async with asyncio.TaskGroup() as group:
        routes = [group.create_task(anyio.to_thread.run_sync(opened.wait, 30)) for _ in range(43)]
        await until(lambda: pool(registry, "anyio") == (40, 40, 3))
        opened.set()
    assert all(route.done() for route in routes)
    await managers[0].shutdown()
    assert pool(registry, "anyio") == (40, 0, 0)
    await managers[1].shutdown()
    assert pool(registry, "anyio") == (None, None, None)


async def test_a_limiter_without_a_limit_has_no_number_of_slots(registry):
    async with TaskManager(loggers=[PrometheusObserver(registry)]):
        anyio.to_thread.current_default_thread_limiter().total_tokens = math.inf
        assert pool(registry, "anyio") == (None, 0, 0)


async def test_all_of_it_can_be_read_from_another_thread(registry):
    async with TaskManager(loggers=[PrometheusObserver(registry)]):
        assert (await asyncio.to_thread(pool, registry, "anyio"))[1:] == (0, 0)


# Observers


class Broken(TaskObserver):
    def on_lifecycle(self, event: LifecycleEvent) -> None:
        raise ValueError


class Slow(TaskObserver):
    queue_limit = 2

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()

    async def on_lifecycle(self, event: LifecycleEvent) -> None:
        await self.opened.wait()


async def test_errors_drops_and_queues_of_observers_are_exported(registry):
    slow = Slow()
    manager = TaskManager(loggers=[PrometheusObserver(registry), Broken(), slow])

    @manager.task()
    async def ping() -> None: ...

    async with manager:
        for _ in range(5):
            manager.enqueue(ping)
        await manager.drain()
        stats = {each.observer: each for each in manager.logger.stats()}
        for metric, observer, expected in (
            ("taskflow_observer_errors_total", "Broken", 15),
            ("taskflow_observer_errors_total", "PrometheusObserver", 0),
            ("taskflow_observer_dropped_events_total", "Slow", stats["Slow"].dropped),
            ("taskflow_observer_queue_size", "Slow", stats["Slow"].queue_size),
        ):
            assert registry.get_sample_value(metric, {"observer": observer}) == expected
        assert (stats["Slow"].dropped > 0, stats["Slow"].queue_size) == (True, 2)
        slow.opened.set()


class Source:
    """As much of a manager as can be read."""

    pools = ()

    def __init__(self, errors: int) -> None:
        self.errors = errors
        self.store = self.logger = self

    def levels(self) -> Levels:
        return Levels({}.get)

    def stats(self) -> list[ObserverStats]:
        return [ObserverStats("Broken", self.errors, 0, 0)]


def test_the_counters_of_observers_do_not_fall_when_their_manager_is_gone(registry):
    observer = PrometheusObserver(registry)
    source, other = Source(errors=3), Source(errors=4)
    observer.watch(source)
    observer.watch(other)

    def errors() -> float | None:
        return registry.get_sample_value("taskflow_observer_errors_total", {"observer": "Broken"})

    assert errors() == 7
    gone = weakref.ref(source)
    del source
    gc.collect()
    assert gone() is None
    other.errors += 1
    assert errors() == 8


# The event loop


async def test_a_blocked_event_loop_shows_as_lag(registry):
    async with TaskManager(loggers=[PrometheusObserver(registry)]):
        blocked = 2 * LAG_INTERVAL
        await asyncio.sleep(0)  # the sampler sleeps now
        time.sleep(blocked)  # noqa: ASYNC251
        await until(lambda: registry.get_sample_value("taskflow_event_loop_lag_seconds_count") == 1)
        assert registry.get_sample_value("taskflow_event_loop_lag_seconds_sum") >= blocked - LAG_INTERVAL


async def test_nothing_is_sampled_after_the_shutdown(registry):
    before = asyncio.all_tasks()
    async with TaskManager(loggers=[PrometheusObserver(registry)]):
        pass
    assert asyncio.all_tasks() == before


async def test_the_sampler_keeps_nothing_of_the_context_that_started_it(monkeypatch):
    monkeypatch.setattr("taskflow.metrics.loop.LAG_INTERVAL", 0.0)
    request = contextvars.ContextVar("request", default="none")
    request.set("the one that called startup")
    sampled = asyncio.Queue()

    class Lag:
        def observe(self, amount: float, exemplar: object = None) -> None:
            sampled.put_nowait(request.get())

    probe = LoopProbe(Lag())
    assert await sampled.get() == "none"
    await probe.stop()


async def test_a_manager_can_start_again(registry):
    manager = TaskManager(loggers=[PrometheusObserver(registry)])
    for _ in range(2):
        async with manager:
            assert pool(registry, "anyio") == (40, 0, 0)


# Build and persistence


def test_the_versions_are_exported(registry):
    PrometheusObserver(registry)
    labels = {"version": __version__, "python": platform.python_version()}
    assert registry.get_sample_value("taskflow_build_info", labels) == 1


def test_metrics_of_persistence_are_absent_until_somebody_records(registry):
    observer = PrometheusObserver(registry)
    names = {family.name for family in registry.collect()}
    assert [name for name in names if "snapshot" in name or "backend" in name] == []
    observer.persistence.flush_failed()
    assert registry.get_sample_value("taskflow_snapshot_failures_total") == 1
    assert registry.get_sample_value("taskflow_snapshot_records_total") == 0
    assert registry.get_sample_value("taskflow_snapshot_last_success_timestamp_seconds") is None


def test_a_flush_counts_its_records_its_time_and_its_moment(registry):
    recorder = PrometheusObserver(registry).persistence
    before = time.time()
    recorder.flush_finished(records=70, seconds=0.5)
    recorder.flush_finished(records=30, seconds=0.25)
    assert registry.get_sample_value("taskflow_snapshot_records_total") == 100
    assert registry.get_sample_value("taskflow_snapshot_duration_seconds_sum") == 0.75
    moment = registry.get_sample_value("taskflow_snapshot_last_success_timestamp_seconds")
    assert before <= moment <= time.time()


def test_an_operation_on_a_backend_is_timed_by_outcome(registry):
    recorder = PrometheusObserver(registry).persistence
    recorder.operation("sqlite", "save", "success", 0.002)
    labels = {"backend": "sqlite", "operation": "save", "outcome": "success"}
    assert registry.get_sample_value("taskflow_backend_operation_seconds_sum", labels) == 0.002
