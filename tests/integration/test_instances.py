"""Several instances of an application on one backend; one of them, or the backend, goes away."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.instance import Instance
from tests.chaos.load import Load, Promise, ask, promised
from tests.chaos.place import Place, new_place
from tests.chaos.report import Report, settle
from tests.chaos.verdict import Ledger
from tests.chaos.witness import deeds
from tests.postgres import Postgres
from tests.processes import eventually
from tests.redis_server import RedisServer, running_redis

PATIENT = 60.0
"""Seconds of a lease that does not run out by itself, however busy the machine is."""

SEED = 5

every_backend = pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])


class Site:
    """Some instances at one place, and what they have promised to the test."""

    def __init__(self, place: Place, size: int) -> None:
        self.place = place
        self.instances = [Instance(place) for _ in range(size)]
        self.promises: list[Promise] = []
        for instance in self.instances:
            instance.start()
        for instance in self.instances:
            instance.await_ready()

    def order(self, instance: Instance, *tasks: str, number: int = 1) -> list[str]:
        """Order tasks, which run one after the other; gives their ids once they are promised."""
        orders = [{"task": task, "number": number, "key": None} for task in tasks]
        status, answer = ask(instance, orders)
        assert status == 200
        promises = promised(answer, orders)
        self.promises += promises
        return [promise.task_id for promise in promises]

    def did(self, task_id: str, what: str) -> int:
        """How often the task says so, up to now."""
        return sum(deed.what == what for deed in deeds(self.place.witness).get(task_id, []))

    def await_deed(self, task_id: str, what: str = "begin", *, times: int = 1) -> None:
        """Return when the task has said so often enough."""
        eventually(lambda: self.did(task_id, what) >= times)

    def await_status(self, task_id: str, status: str) -> None:
        """Return when the task is stored as such."""
        eventually(lambda: self.place.history()[task_id].status == status)

    def report(self, *promises: Promise) -> Report:
        """What became of everything, once it has ended and all instances were stopped."""
        settle(self.place)
        for instance in self.instances:
            instance.stop()
        return Report.on(self.place, [*self.promises, *promises])


def statuses(report: Report) -> dict[str, str]:
    return {task_id: story.record.status.value for task_id, story in report.told.items()}


def begins(report: Report) -> dict[str, int]:
    return {task_id: story.did("begin") for task_id, story in report.told.items()}


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Callable[..., Site]]:
    """Start instances; those that still run in the end are killed."""
    sites: list[Site] = []

    def start(place: Place | str, size: int = 2, **options: Any) -> Site:
        place = new_place(place, request, **options) if isinstance(place, str) else place
        sites.append(Site(place, size))
        return sites[-1]

    yield start
    for site in sites:
        for instance in site.instances:
            instance.kill()


@every_backend
def test_what_a_killed_instance_leaves_is_taken_over_by_another_one(start, kind):
    site = start(kind)
    first, _ = site.instances
    again, behind = site.order(first, "gated-again", "quick")
    (once,) = site.order(first, "gated")
    site.await_deed(again)
    site.await_deed(once)
    first.kill()
    site.await_deed(again, times=2)
    site.place.gate(1).touch()
    first.start()
    first.await_ready()
    report = site.report()
    assert report.wrong == []
    assert statuses(report) == {again: "success", behind: "success", once: "interrupted"}
    assert report.told[once].record.reason == "rescued"
    assert begins(report) == {again: 2, behind: 1, once: 1}


@every_backend
def test_an_instance_that_leaves_gives_its_waiting_tasks_to_the_others_and_leaves_theirs_alone(start, kind):
    site = start(kind, lease=PATIENT, grace=0.2, slots=1)
    leaving, staying = site.instances
    running, behind = site.order(leaving, "gated", "quick")
    site.await_deed(running)
    (waiting,) = site.order(leaving, "slow")
    theirs, behind_theirs = site.order(staying, "gated-again", "quick", number=2)
    site.await_deed(theirs)
    (waiting_there,) = site.order(staying, "slow")
    leaving.stop()
    site.place.gate(2).touch()
    site.await_status(behind, "success")
    leaving.start()
    leaving.await_ready()
    report = site.report()
    assert report.wrong == []
    assert statuses(report) == {
        running: "interrupted",
        **dict.fromkeys((behind, waiting, theirs, behind_theirs, waiting_there), "success"),
    }
    assert set(begins(report).values()) == {1}


@every_backend
def test_a_rolling_restart_under_load_loses_nothing_and_runs_nothing_twice(start, kind):
    site = start(kind, lease=PATIENT)
    with Load(site.instances, SEED) as load:
        for instance in site.instances:
            promises = len(load.promises)
            eventually(lambda enough=promises + 20: len(load.promises) >= enough)
            instance.stop()
            instance.start()
            instance.await_ready()
    report = site.report(*load.promises)
    summary = report.summary(refused=load.refused)
    assert [*report.wrong, *load.surprises] == []
    assert (summary.again, summary.interrupted, summary.rescued, summary.refused) == (0, 0, 0, 0)
    assert summary.promised >= 40


@every_backend
def test_what_an_instance_that_slept_longer_than_its_lease_says_late_does_not_count(start, kind):
    site = start(kind)
    sleeping, _ = site.instances
    (again,) = site.order(sleeping, "gated-again")
    (once,) = site.order(sleeping, "gated")
    site.await_deed(again)
    site.await_deed(once)
    sleeping.send(signal.SIGSTOP)
    site.await_deed(again, times=2)
    site.place.gate(1).touch()
    site.await_status(again, "success")
    site.await_status(once, "interrupted")
    ledger = Ledger(site.place)
    ledger.look()
    sleeping.send(signal.SIGCONT)
    site.await_deed(again, "end", times=2)
    site.await_deed(once, "end")
    (another,) = site.order(sleeping, "quick")
    report = site.report()
    assert report.wrong == []
    assert list(ledger.faults(site.place.history())) == []
    assert statuses(report) == {again: "success", once: "interrupted", another: "success"}
    # It lives, and nobody can know whether it does.
    assert report.told[once].record.reason == "lease_expired"


def assert_that_a_crash_of_the_backend_costs_nothing(site: Site, server: Postgres | RedisServer) -> None:
    with Load(site.instances, SEED) as load:
        eventually(lambda: len(load.promises) >= 20)
        server.stop()
        eventually(lambda: load.refused >= 5)
        server.start()
        promises = len(load.promises)
        eventually(lambda: len(load.promises) >= promises + 20)
    report = site.report(*load.promises)
    summary = report.summary()
    assert [*report.wrong, *load.surprises] == []
    assert (summary.again, summary.interrupted, summary.rescued) == (0, 0, 0)


def test_a_crash_of_postgresql_under_load_costs_nothing_but_refused_requests(start, postgres):
    try:
        assert_that_a_crash_of_the_backend_costs_nothing(start("postgres", 1), postgres)
    finally:
        postgres.start()


def test_a_crash_of_redis_under_load_costs_nothing_but_refused_requests(start, executable, tmp_path: Path):
    # With `appendfsync everysec` Redis may answer up to two seconds before it writes, if the disk is busy.
    options = ("--appendonly", "yes", "--appendfsync", "always")
    (folder := tmp_path / "redis").mkdir()
    with running_redis(executable("redis-server"), folder, *options) as server:
        place = Place("redis", tmp_path, server.url)
        assert_that_a_crash_of_the_backend_costs_nothing(start(place, 1), server)
