"""Whatever interleaves, a task goes along the arrows of the state machine and ends exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from taskflow import (
    InMemoryLogger,
    InvalidTransitionError,
    LifecycleEvent,
    LoggerChain,
    ManagedBackgroundTasks,
    ManagerClosedError,
    TaskFinishedError,
    TaskManager,
    TaskNotCancellableError,
    TaskObserver,
    TaskStatus,
    TaskStore,
)
from taskflow.core.models import TERMINAL, TRANSITIONS
from taskflow.execution.store import Failure
from taskflow.execution.stream import EventStream

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


def paths(events: list[LifecycleEvent]) -> dict[str, list[TaskStatus]]:
    """The states of each task in the order in which an observer was told of them."""
    of_task: dict[str, list[TaskStatus]] = defaultdict(list)
    for event in events:
        of_task[event.task_id].append(event.status)
    return dict(of_task)


def assert_is_a_way(states: list[TaskStatus]) -> None:
    assert PENDING is states[0]
    for start, end in itertools.pairwise(states):
        assert end in TRANSITIONS[start], f"{start} → {end} in {states}"


# Any sequence of wishes, on the store itself


class StoreMachine(RuleBasedStateMachine):
    """Asks a store for anything, and keeps a model of what it must have done."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.seen = InMemoryLogger()
        self.store = TaskStore(max_history=3, stream=EventStream(LoggerChain([self.seen])))
        self.states: dict[str, list[TaskStatus]] = {}
        self.keys: dict[str, str | None] = {}
        self.finished: list[str] = []

    def holder(self, key: str) -> str | None:
        for task_id, states in self.states.items():
            kept = task_id not in self.finished[:-3]
            if kept and self.keys[task_id] == key and states[-1] not in {FAILED, INTERRUPTED, CANCELLED}:
                return task_id
        return None

    @rule(target=tasks, key=st.sampled_from([None, "a", "b"]))
    def create(self, key: str | None) -> str:
        task_id = f"task {len(self.states)}"
        expected = (self.holder(key) if key is not None else None) or task_id
        record = self.store.create(task_id, "f", idempotency_key=key, max_retries=5)
        assert expected == record.task_id
        if record.task_id == task_id:
            self.states[task_id], self.keys[task_id] = [PENDING], key
        return record.task_id

    @rule(task_id=tasks, status=st.sampled_from(TaskStatus))
    def move(self, task_id: str, status: TaskStatus) -> None:
        states = self.states[task_id]
        try:
            record = self.store.transition(task_id, status, failure=Failure("no", "ValueError", ""))
        except InvalidTransitionError:
            assert status not in TRANSITIONS[states[-1]]
            return
        if record is None:
            assert task_id in self.finished[:-3]
            return
        assert status in TRANSITIONS[states[-1]]
        states.append(status)
        if status in TERMINAL:
            self.finished.append(task_id)

    @invariant()
    def every_arrow_made_one_event(self) -> None:
        assert self.states == paths(self.seen.lifecycle_events)

    @invariant()
    def the_oldest_finished_tasks_are_forgotten(self) -> None:
        forgotten = self.finished[:-3]
        assert [task_id for task_id in self.states if task_id not in forgotten] == [
            record.task_id for record in self.store
        ]

    @invariant()
    def keys_lead_to_their_holders(self) -> None:
        for key in ("a", "b"):
            record = self.store.find_by_idempotency_key(key)
            assert self.holder(key) == (None if record is None else record.task_id)

    @invariant()
    def records_say_what_the_events_said(self) -> None:
        latest = {event.task_id: event for event in self.seen.lifecycle_events}
        for record in self.store:
            event = latest[record.task_id]
            assert (event.status, event.attempt, event.retries_used) == (
                record.status,
                record.attempt,
                record.retries_used,
            )
            assert record.finished == (record.end_time is not None)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


# Any interleaving of what happens to real tasks

KINDS = ("async", "sync", "stubborn", "self-cancelling", "enqueueing")
OUTCOMES = ("return", "raise", "exit", "own-cancel")


class Scene:
    """Tasks that do nothing by themselves: each attempt waits until it is told how to go on."""

    def __init__(self, options: dict[str, Any], slow: bool) -> None:
        self.seen, self.other = InMemoryLogger(), InMemoryLogger()
        observers: list[TaskObserver] = [self.seen, self.other]
        if slow:
            observers.insert(1, Dawdling())
        self.manager = TaskManager(loggers=observers, handle_signals=False, **options)
        self.outcomes: list[str] = []
        self.gates: list[Callable[[str], None]] = []
        self.running: dict[str, int] = {"async": 0, "sync": 0}
        self.most: dict[str, int] = {"async": 0, "sync": 0}
        self.ids: list[str] = []
        self.numbers = itertools.count()
        self.over = False
        self.lock = threading.Lock()
        self.hosts: list[asyncio.Task[None]] = []

    def count(self, kind: str, change: int) -> None:
        with self.lock:
            self.running[kind] += change
            self.most[kind] = max(self.most[kind], self.running[kind])

    def function(self, kind: str, retries: int, delay: float) -> Callable[..., Any]:
        work = self._sync if kind == "sync" else self._async(kind)
        return self.manager.task(retries=retries, delay=delay, name=f"task {next(self.numbers)}")(work)

    def _async(self, kind: str) -> Callable[..., Any]:
        async def work() -> None:
            self.count("async", 1)
            try:
                await self._go(kind)
            finally:
                self.count("async", -1)

        return work

    async def _go(self, kind: str) -> None:
        loop = asyncio.get_running_loop()
        gate: asyncio.Future[str] = loop.create_future()

        def open_gate(outcome: str) -> None:
            if not gate.done():
                gate.set_result(outcome)

        self.gates.append(open_gate)
        if kind == "enqueueing" and not self.over:
            self.add("enqueue", "async", 0, 0.0)
        if kind == "self-cancelling":
            for task_id in self.ids:
                cancel(self.manager, task_id)
        try:
            outcome = await gate
        except asyncio.CancelledError:
            if kind != "stubborn":
                raise
            outcome = "raise"
        await end_with(outcome)

    def _sync(self) -> None:
        self.count("sync", 1)
        answered, answer = threading.Event(), []

        def open_gate(outcome: str) -> None:
            answer.append(outcome)
            answered.set()

        self.gates.append(open_gate)
        if self.over:
            open_gate("return")
        try:
            answered.wait()
            if answer[0] == "exit":
                raise SystemExit
            if answer[0] != "return":
                raise ValueError
        finally:
            self.count("sync", -1)

    def add(self, way: str, kind: str, retries: int, delay: float) -> None:
        try:
            if way == "enqueue":
                self.ids.append(self.manager.enqueue(self.function(kind, retries, delay)))
                return
            tasks = ManagedBackgroundTasks(self.manager)
            self.ids.extend(tasks.add_task(self.function(kind, retries, delay)) for _ in range(2))
            if way == "request":
                self.hosts.append(asyncio.create_task(tasks()))
        except ManagerClosedError:
            assert self.over


class Dawdling(TaskObserver):
    """Gives other threads the time to interfere, in the middle of the telling."""

    def on_lifecycle(self, event: LifecycleEvent) -> None:
        for _ in range(20):
            threading.Event().wait(0)


async def end_with(outcome: str) -> None:
    if outcome == "raise":
        raise ValueError
    if outcome == "exit":
        raise SystemExit
    if outcome == "own-cancel":
        raise asyncio.CancelledError


def cancel(manager: TaskManager, task_id: str) -> None:
    with contextlib.suppress(TaskFinishedError, TaskNotCancellableError):
        manager.cancel(task_id)


ADD = st.tuples(
    st.just("add"),
    st.sampled_from(["enqueue", "request", "never run"]),
    st.sampled_from(KINDS),
    st.integers(0, 2),
    st.sampled_from([0.0, 3600.0]),
)
WHICH = st.integers(0, 10)
STEP = st.one_of(
    ADD,
    ADD,
    st.tuples(st.just("open"), WHICH, st.sampled_from(OUTCOMES)),
    st.tuples(st.just("cancel"), WHICH),
    st.tuples(st.just("cancel in a thread"), WHICH),
    st.tuples(st.just("cancel host"), WHICH),
)
TURNS = st.integers(0, 4)
"""How often the loop turns after a step."""


async def play(scene: Scene, steps: list[tuple[tuple[Any, ...], int]]) -> None:
    threads: list[asyncio.Task[None]] = []
    async with scene.manager:
        for step, turns in steps:
            take(scene, step, threads)
            for _ in range(turns):
                await asyncio.sleep(0)
        for thread in threads:
            await thread
        scene.over = True
    for gate in list(scene.gates):
        gate("return")
    if scene.hosts:
        await asyncio.wait(scene.hosts)


def take(scene: Scene, step: tuple[Any, ...], threads: list[asyncio.Task[None]]) -> None:
    what, *how = step
    if what == "add":
        scene.add(*how)
    elif what == "open" and scene.gates:
        scene.gates[how[0] % len(scene.gates)](how[1])
    elif what == "cancel" and scene.ids:
        cancel(scene.manager, scene.ids[how[0] % len(scene.ids)])
    elif what == "cancel in a thread" and scene.ids:
        task_id = scene.ids[how[0] % len(scene.ids)]
        threads.append(asyncio.create_task(asyncio.to_thread(cancel, scene.manager, task_id)))
    elif what == "cancel host" and scene.hosts:
        scene.hosts[how[0] % len(scene.hosts)].cancel()


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.tuples(STEP, TURNS), min_size=4, max_size=20),
    timeout=st.sampled_from([0.0, 0.01]),
    slots=st.sampled_from([None, 1, 2]),
    threads=st.sampled_from([1, 2]),
    slow=st.booleans(),
)
def test_whatever_happens_every_task_goes_along_the_arrows_and_ends_once(
    steps: list[tuple[tuple[Any, ...], int]], timeout: float, slots: int | None, threads: int, slow: bool
):
    scene = Scene(
        {"max_concurrent_tasks": slots, "max_sync_threads": threads, "shutdown_timeout": timeout}, slow
    )
    asyncio.run(play(scene, steps))
    told = paths(scene.seen.lifecycle_events)

    for states in told.values():
        assert_is_a_way(states)
        assert 1 == sum(status in TERMINAL for status in states)
    assert told == paths(scene.other.lifecycle_events)
    assert {record.task_id: record.status for record in scene.manager.store} == {
        task_id: states[-1] for task_id, states in told.items()
    }
    assert slots is None or scene.most["async"] <= slots
    assert scene.most["sync"] <= threads
    assert [0, 0] == [pool.waiting for pool in scene.manager.pools]
