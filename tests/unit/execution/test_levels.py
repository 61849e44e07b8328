"""The levels: as many tasks as there are, by name and state, and the one that has waited for longest."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from taskflow import InvalidTransitionError, TaskRecord, TaskStatus, TaskStore
from taskflow.core.names import NAME_LIMIT
from taskflow.execution.indexes import levels

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


def counted(store: TaskStore) -> dict[tuple[str, TaskStatus], int]:
    return {(level.func_name, level.status): level.count for level in store.levels().read() if level.count}


def oldest(store: TaskStore, status: TaskStatus = PENDING) -> float | None:
    return min(
        (each.since for each in store.levels().read() if each.status is status and each.since), default=None
    )


def live(store: TaskStore) -> dict[tuple[str, TaskStatus], int]:
    return dict(Counter((record.func_name, record.status) for record in store.live()))


class LevelsMachine(RuleBasedStateMachine):
    """Does anything to a store, and compares what was counted with its records."""

    ids = st.integers(0, 12).map(str)
    names = st.sampled_from(["f", "g"])

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(levels, "BATCH", 7)
        self.store = TaskStore(max_history=3)
        self.store.levels()

    def teardown(self) -> None:
        self.patch.undo()

    @rule(task_id=ids, name=names)
    def add(self, task_id: str, name: str) -> None:
        with contextlib.suppress(ValueError):
            self.store.create(task_id, name)

    @rule(task_id=ids, name=names, status=st.sampled_from([PENDING, RUNNING]))
    def adopt(self, task_id: str, name: str, status: TaskStatus) -> None:
        """As recovery does: one that is not pending becomes so at once."""
        with contextlib.suppress(ValueError):
            self.store.adopt(TaskRecord(task_id, name, status), "rescued")
            if status is not PENDING:
                self.store.transition(task_id, PENDING, reason="rescued")

    @rule(task_id=ids, status=st.sampled_from(TaskStatus), reason=st.sampled_from([None, "shutdown"]))
    def move(self, task_id: str, status: TaskStatus, reason: str | None) -> None:
        with contextlib.suppress(InvalidTransitionError):
            self.store.transition(task_id, status, reason=reason)

    @rule(task_id=ids)
    def forget(self, task_id: str) -> None:
        self.store.forget(task_id)

    @rule(task_id=ids, name=names)
    def rename(self, task_id: str, name: str) -> None:
        self.store.update(task_id, func_name=name)

    @rule()
    def clear(self) -> None:
        self.store.clear()

    @rule()
    def read(self) -> None:
        assert live(self.store) == counted(self.store)

    @rule()
    def the_oldest_is_known(self) -> None:
        for status in (PENDING, RUNNING, RETRYING):
            clocks = [record.state_clock for record in self.store.live() if record.status is status]
            assert min(clocks, default=None) == oldest(self.store, status)


TestLevelsMachine = LevelsMachine.TestCase
TestLevelsMachine.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)


def test_tasks_that_are_there_before_anybody_counts_are_counted():
    store = TaskStore()
    for task_id in "123":
        store.create(task_id, "f")
    store.transition("1", RUNNING)
    store.transition("2", CANCELLED)

    assert {("f", RUNNING): 1, ("f", PENDING): 1} == counted(store)


def test_a_recovered_task_has_waited_since_it_was_enqueued():
    store = TaskStore()
    store.levels()
    store.create("1", "f")
    old = TaskRecord("2", "f")
    store.adopt(old, "requeued")
    old.state_clock = time.monotonic() - 500.0  # as it is set by the age of its row
    store.create("3", "f")

    assert old.state_clock == oldest(store)
    store.transition("2", RUNNING)
    assert store.get("1").state_clock == oldest(store)  # type: ignore[union-attr]  # it is there


def test_what_has_ended_is_not_kept_and_a_burst_is_taken_in_parts():
    store = TaskStore(max_history=1)
    counts = store.levels()
    for number in range(3 * levels.BATCH):
        store.create(str(number), "f")
        store.transition(str(number), CANCELLED)

    assert len(counts._fresh) < levels.BATCH
    assert {} == counted(store)


def test_past_a_hundred_names_without_a_function_the_others_are_counted_together():
    store = TaskStore()
    store.levels()
    for number in range(NAME_LIMIT + 5):
        store.create(str(number), f"task {number}")

    assert (NAME_LIMIT + 1, 5) == (len(counted(store)), counted(store)["other", PENDING])


def test_counts_are_right_however_many_threads_add_and_end_tasks():
    store = TaskStore(max_history=10)
    store.levels()

    def come_and_go(name: int) -> None:
        for number in range(2_000):
            store.create(f"{name} {number}", "f")
            store.transition(f"{name} {number}", RUNNING)
            if number % 4:
                store.transition(f"{name} {number}", SUCCESS)

    threads = [threading.Thread(target=come_and_go, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert counted(store).get(("f", RUNNING), 0) <= 2_004
    for thread in threads:
        thread.join()

    assert {("f", RUNNING): 2_000} == counted(store) == live(store)
