"""The order of the listing: always that of all records, and never a look at all of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from taskflow import InvalidTransitionError, TaskRecord, TaskStatus, TaskStore
from taskflow.core.query import TaskQuery
from taskflow.execution.indexes import order
from taskflow.persistence.history import History

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(moment: int) -> datetime:
    return START + timedelta(microseconds=moment)


def record(task_id: str, moment: int, status: TaskStatus = PENDING) -> TaskRecord:
    return TaskRecord(task_id, "f", status, created_at=at(moment))


def listed(store: TaskStore, before: order.Place | None = None) -> list[TaskRecord]:
    return [each for part in store.newest_first(before) for each in part]


def sorted_records(store: TaskStore) -> list[TaskRecord]:
    return sorted(store.list(), key=lambda each: (each.created_at, each.task_id), reverse=True)


# Whatever happens, the order is that of all records


class OrderMachine(RuleBasedStateMachine):
    """Adds and removes records in any way, with few moments, so that many are of the same one."""

    moments = st.integers(0, 30)
    ids = st.integers(0, 60).map(str)

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(order, "BLOCK", 4)
        self.patch.setattr(order, "SPARE", 8)
        self.patch.setattr(order, "FRESH", 6)
        self.store = TaskStore(max_history=5)
        self.clock = 0

    def teardown(self) -> None:
        self.patch.undo()

    @rule(task_id=ids)
    def add_the_newest(self, task_id: str) -> None:
        self.clock += 1
        with contextlib.suppress(ValueError):
            self.store.add(record(task_id, self.clock))

    @rule(task_id=ids, moment=moments)
    def add(self, task_id: str, moment: int) -> None:
        with contextlib.suppress(ValueError):
            self.store.add(record(task_id, moment))

    @rule(task_id=ids, moment=moments)
    def adopt(self, task_id: str, moment: int) -> None:
        with contextlib.suppress(ValueError):
            self.store.adopt(record(task_id, moment, RUNNING), "rescued")

    @rule(task_id=ids)
    def end(self, task_id: str) -> None:
        with contextlib.suppress(InvalidTransitionError):
            self.store.transition(task_id, CANCELLED)

    @rule(task_id=ids)
    def forget(self, task_id: str) -> None:
        self.store.forget(task_id)

    @rule(task_id=ids, moment=moments)
    def move(self, task_id: str, moment: int) -> None:
        self.store.update(task_id, created_at=at(moment))

    @rule()
    def clear(self) -> None:
        self.store.clear()

    @invariant()
    def the_listing_has_every_record_once_in_its_place(self) -> None:
        assert sorted_records(self.store) == listed(self.store)

    @rule(moment=moments, task_id=ids)
    def the_listing_from_a_place_has_what_comes_after_it(self, moment: int, task_id: str) -> None:
        place = at(moment), task_id
        expected = [r for r in sorted_records(self.store) if (r.created_at, r.task_id) < place]
        assert expected == listed(self.store, place)


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


class UnreadOrderMachine(OrderMachine):
    """The same, read only at the end: what is gone is still in its place until then."""

    @invariant()
    def the_listing_has_every_record_once_in_its_place(self) -> None:
        """Not yet."""

    def teardown(self) -> None:
        assert sorted_records(self.store) == listed(self.store)
        super().teardown()


TestUnreadOrderMachine = UnreadOrderMachine.TestCase
TestUnreadOrderMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_any_number_of_records_of_one_moment_are_listed_by_id(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(order, "BLOCK", 4)
    store = TaskStore()
    ids = [f"{number * 37 % 101:03}" for number in range(101)]
    for task_id in ids:
        store.add(record(task_id, 1))

    assert sorted(ids, reverse=True) == [r.task_id for r in listed(store)]


def test_a_block_that_begins_in_the_middle_of_a_moment_takes_only_what_comes_after(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(order, "BLOCK", 4)
    store = TaskStore()
    for number in range(10, 18):
        store.add(record(str(number), 1))
    for task_id in ("16", "17"):
        store.forget(task_id)
    store.add(record("05", 1))

    assert ["15", "14", "13", "12", "11", "10", "05"] == [r.task_id for r in listed(store)]


def test_an_id_that_is_used_again_is_listed_once():
    store = TaskStore(max_history=1)
    for task_id in ("1", "2"):
        store.add(record(task_id, 1))
        store.transition(task_id, CANCELLED)
    again = store.add(record("1", 1))

    assert [store.get("2"), again] == listed(store)


def test_records_that_come_and_go_beside_some_that_stay_leave_nothing_behind():
    store = TaskStore(max_history=10)
    for number in range(20_000):
        store.add(record(str(number), number))
        if number % 500:  # each 500th waits on
            store.transition(str(number), CANCELLED)
    kept = [str(n) for n in range(20_000) if n % 500 == 0]

    assert 50 == len(store)
    assert len(store._order) <= order.FRESH + 2 * len(store) + 2 * order.SPARE
    assert kept == [r.task_id for r in listed(store)[::-1] if not r.finished]


def test_records_are_listed_while_threads_add_and_end_others():
    store = TaskStore(max_history=100)
    for number in range(2_000):
        store.add(record(f"stays {number}", number))
    stop = threading.Event()

    def come_and_go(name: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.create(f"{name} {number}", "f")
            store.transition(f"{name} {number}", CANCELLED)

    threads = [threading.Thread(target=come_and_go, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            seen = listed(store)
            assert 2_000 == sum(each.task_id.startswith("stays") for each in seen)
            assert len(seen) == len({each.task_id for each in seen})
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# Only so many records are looked at


class CountingRecords(dict[str, TaskRecord]):
    """Counts the records that are looked at, and how many while the lock is held once."""

    def __init__(self) -> None:
        super().__init__()
        self.touched = self.in_one_hold = self.most = 0

    def _touch(self, count: int) -> None:
        self.touched += count
        self.in_one_hold += count
        self.most = max(self.most, self.in_one_hold)

    def get(self, *args: Any) -> Any:
        self._touch(1)
        return super().get(*args)

    def __iter__(self) -> Iterator[str]:
        self._touch(len(self))
        return super().__iter__()

    def values(self) -> Any:
        self._touch(len(self))
        return super().values()

    def items(self) -> Any:
        self._touch(len(self))
        return super().items()


class CountingLock:
    """A lock that tells the records when it is taken."""

    def __init__(self, records: CountingRecords) -> None:
        self._lock = threading.Lock()
        self._records = records

    def __enter__(self) -> None:
        self._lock.acquire()
        self._records.in_one_hold = 0

    def __exit__(self, *exc_info: object) -> None:
        self._records.in_one_hold = 0
        self._lock.release()


def counting_store(count: int) -> tuple[TaskStore, CountingRecords]:
    store, records = TaskStore(), CountingRecords()
    store._records, store._order = records, order.Order(records)
    store._lock = CountingLock(records)  # type: ignore[assignment]  # as much of a lock as is needed
    for number in range(count):
        store.add(record(str(number), number))
    records.touched = records.most = 0
    return store, records


@pytest.mark.parametrize(
    "query",
    [
        TaskQuery(limit=100),
        TaskQuery(limit=100, status=[PENDING]),
        TaskQuery(limit=100, func_name="f", until=at(900)),
        TaskQuery(limit=100, since=at(800)),
    ],
)
async def test_a_page_looks_at_no_more_records_of_many_than_of_few(query: TaskQuery):
    looks = []
    for count in (1_000, 20_000):
        store, records = counting_store(count)
        page = await History(store).page(query)
        assert 100 == len(page.records)
        assert records.touched <= order.FRESH + 3 * order.BLOCK  # those that are fresh, once
        assert records.most <= 2 * order.BLOCK
        records.touched = 0
        await History(store).page(query)
        looks.append(records.touched)

    assert max(looks) <= 3 * order.BLOCK


async def test_a_page_in_the_middle_looks_at_no_more_than_the_first():
    store, records = counting_store(20_000)
    first = await History(store).page(TaskQuery(limit=100, until=at(10_000)))
    assert [str(n) for n in range(9_999, 9_899, -1)] == [r.task_id for r in first.records]
    records.touched = 0
    second = await History(store).page(TaskQuery(limit=100, after=first.next))

    assert [str(n) for n in range(9_899, 9_799, -1)] == [r.task_id for r in second.records]
    assert records.touched <= 3 * order.BLOCK


@pytest.mark.parametrize(
    "query", [TaskQuery(tag="nobody"), TaskQuery(q="nothing"), TaskQuery(status=[FAILED])]
)
async def test_a_search_without_a_match_takes_the_lock_for_a_part_at_a_time(query: TaskQuery):
    store, records = counting_store(20_000)
    assert [] == (await History(store).page(query)).records

    assert 20_000 <= records.touched
    assert records.most <= 2 * order.BLOCK


def test_an_end_far_from_the_newest_is_not_looked_for_in_the_order():
    store, records = counting_store(20_000)
    store.transition("7", CANCELLED)
    store.forget("7")

    assert records.touched <= order.BLOCK
