from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from taskflow import LifecycleEvent, LogEvent, TaskAdmin, TaskManager, TaskStatus
from taskflow.admin.stats.activity import BUCKET_SECONDS, BUCKETS, Activity
from taskflow.admin.stats.latencies import Latencies
from taskflow.admin.stats.overview import Overview
from taskflow.admin.stats.unfinished import count_unfinished
from taskflow.core.clock import utcnow
from taskflow.core.names import NAME_LIMIT


class Clock:
    now = 100_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def activity(clock: Clock) -> Activity:
    return Activity(clock)


def event(status: str = "success", name: str = "work", **fields: Any) -> LifecycleEvent:
    return LifecycleEvent(
        task_id="1", func_name=name, status=TaskStatus(status), timestamp=utcnow(), **fields
    )


def only(activity: Activity) -> dict[str, Any]:
    (report,) = activity.by_name({})
    return report


def test_what_ends_is_counted_in_the_present_bucket(activity: Activity):
    for status in ("pending", "running", "retrying", "success", "failed", "cancelled", "interrupted"):
        activity(event(status))
    activity(LogEvent(task_id="1", func_name="work", message="m", level="info", timestamp=utcnow()))
    report = only(activity)
    assert (report["throughput"], report["failures"]) == ([0] * 59 + [4], [0] * 59 + [1])
    assert {status: n for status, n in report["counts"].items() if n} == {
        "success": 1,
        "failed": 1,
        "cancelled": 1,
        "interrupted": 1,
    }


def test_buckets_move_to_the_left_and_are_forgotten_after_ten_minutes(activity: Activity, clock: Clock):
    activity(event(duration=1.0))
    clock.now += BUCKET_SECONDS
    activity(event("failed", duration=4.0))
    assert only(activity)["throughput"] == [0] * 58 + [1, 1]
    clock.now += (BUCKETS - 2) * BUCKET_SECONDS
    assert only(activity)["throughput"] == [1, 1] + [0] * 58
    clock.now += BUCKET_SECONDS
    report = only(activity)
    assert (report["throughput"], report["failures"]) == ([1] + [0] * 59, [1] + [0] * 59)
    assert report["p50"] == pytest.approx(4.0, rel=0.03)
    clock.now += BUCKET_SECONDS
    report = only(activity)
    assert (sum(report["throughput"]), report["p50"], report["latency_p95"]) == (0, None, [None] * 60)
    assert (report["counts"]["success"], report["counts"]["failed"]) == (1, 1)


def test_a_bucket_that_goes_on_filling_tells_its_latest_percentile(activity: Activity):
    activity(event(duration=1.0))
    assert only(activity)["latency_p95"][-1] == pytest.approx(1.0, rel=0.03)
    activity(event(duration=9.0))
    assert only(activity)["latency_p95"][-1] == pytest.approx(9.0, rel=0.03)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_right_to_a_few_percent(share: float, expected: float):
    latencies = Latencies()
    for seconds in range(1, 101):
        latencies.add(float(seconds))
    assert latencies.quantile(share) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e-4, 1.0, 1e6])
def test_any_duration_has_its_class(seconds: float):
    latencies = Latencies()
    latencies.add(seconds)
    assert latencies.percentiles() == dict.fromkeys(
        ("p50", "p95", "p99"), pytest.approx(max(seconds, 1e-5), rel=0.03)
    )


def test_without_durations_there_are_no_percentiles(activity: Activity):
    activity(event("cancelled"))
    assert activity.percentiles() == {"p50": None, "p95": None, "p99": None}


def test_percentiles_of_all_names_together(activity: Activity):
    activity(event(name="quick", duration=1.0))
    activity(event(name="slow", duration=100.0))
    assert activity.percentiles()["p50"] == pytest.approx(1.0, rel=0.03)
    assert activity.percentiles()["p99"] == pytest.approx(100.0, rel=0.03)


def test_past_a_hundred_unregistered_names_the_others_are_counted_together(activity: Activity):
    for n in range(NAME_LIMIT + 5):
        activity(event(name=f"task-{n:03}"))
    reports = activity.by_name({})
    assert len(reports) == NAME_LIMIT + 1
    assert [(r["func_name"], sum(r["throughput"]), r["registered"]) for r in reports[:2]] == [
        ("other", 5, False),
        ("task-000", 1, False),
    ]


def test_registered_functions_are_told_apart_however_many_there_are(activity: Activity):
    for n in range(NAME_LIMIT + 5):
        activity(event(name=f"unregistered-{n}"))
        activity(event(name=f"registered-{n}", registered=True))
    names = [report["func_name"] for report in activity.by_name({}) if report["registered"]]
    assert len(names) == NAME_LIMIT + 5


def test_registered_functions_that_have_not_run_are_listed_last(activity: Activity):
    activity(event(name="work", registered=True))
    reports = activity.by_name({}, ["idle", "work", "another"])
    assert [(r["func_name"], sum(r["counts"].values()), r["p99"]) for r in reports] == [
        ("work", 1, None),
        ("another", 0, None),
        ("idle", 0, None),
    ]
    assert (reports[1]["registered"], reports[1]["throughput"]) == (True, [0] * BUCKETS)


def test_the_busiest_name_comes_first(activity: Activity):
    for name in ("b", "a", "c", "c"):
        activity(event(name=name))
    assert [report["func_name"] for report in activity.by_name({})] == ["c", "a", "b"]


def test_totals_of_what_has_ended(activity: Activity):
    for status in ("success", "success", "failed"):
        activity(event(status, name=status))
    assert activity.ended() == {TaskStatus.SUCCESS: 2, TaskStatus.FAILED: 1}


def test_unfinished_tasks_are_counted_by_name_and_the_oldest_is_known():
    store = TaskManager().store
    for task_id, name in (("1", "a"), ("2", "a"), ("3", "b"), ("4", "b")):
        store.create(task_id, name)
    store.transition("3", TaskStatus.RUNNING)
    store.transition("4", TaskStatus.CANCELLED)
    store.get("2").state_clock = time.monotonic() - 100.0
    activity = Activity()
    unfinished = count_unfinished(store, activity)
    reports = {report["func_name"]: report["counts"] for report in activity.by_name(unfinished.counts)}
    assert (reports["a"]["pending"], reports["b"]["running"], reports["b"]["cancelled"]) == (2, 1, 0)
    assert unfinished.totals() == {TaskStatus.PENDING: 2, TaskStatus.RUNNING: 1}
    oldest = unfinished.oldest()
    assert oldest["pending"] == pytest.approx(100.0, abs=50.0)
    assert oldest["retrying"] is None


async def test_the_overview_of_many_tasks_looks_at_as_few_of_them_as_that_of_few(
    monkeypatch: pytest.MonkeyPatch,
):
    app = FastAPI()
    manager = TaskManager()
    overview = Overview(manager, Activity())
    TaskAdmin(app, manager)
    monkeypatch.setattr(manager.store, "list", None)  # what would look at all
    found: list[str] = []
    levels = manager.store.levels()
    find = levels._find
    monkeypatch.setattr(levels, "_find", lambda task_id: found.append(task_id) or find(task_id))
    looks = []
    for count in (1_000, 20_000):
        while len(manager.store) < count:
            manager.store.create(str(len(manager.store)), "work")
        await overview.current()
        found.clear()
        assert (await overview.current())["counts"]["pending"] == count
        looks.append(len(found))

    assert looks[0] == looks[1] <= 100


async def test_what_had_ended_before_the_dashboard_was_made_is_counted():
    manager = TaskManager()
    for task_id, status in (("1", TaskStatus.SUCCESS), ("2", TaskStatus.FAILED), ("3", TaskStatus.RUNNING)):
        manager.store.create(task_id, "work")
        manager.store.transition(task_id, TaskStatus.RUNNING)
        if status is not TaskStatus.RUNNING:
            manager.store.transition(task_id, status)
    app = FastAPI()
    manager.init_app(app)
    TaskAdmin(app, manager)
    manager.store.transition("3", TaskStatus.SUCCESS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
        counts = (await client.get("/tasks/overview")).json()["counts"]
        totals = (await client.get("/tasks/metrics")).json()
    assert (2, 1, 0) == (counts["success"], counts["failed"], counts["running"])
    assert (3, 2, 1) == (totals["total"], totals["success"], totals["failed"])
    assert 2 == totals["per_task"][0]["success"]
