"""What must hold of every task in the end, whatever was killed when."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from taskflow import TaskRecord, TaskStatus
from tests.chaos.load import Promise
from tests.chaos.place import Place
from tests.chaos.tempers import TEMPERS, Temper
from tests.chaos.witness import Deed, deeds

MAX_RESCUES = 3

REASONS = {("rescued", True), ("lease_expired", True), ("shutdown", False)}
"""Why a task may be interrupted, and whether another process says so."""


@dataclass(frozen=True)
class Story:
    """All that is known of a task.

    Attributes:
        task_id: the task.
        record: as it is stored in the end; ``None`` if it is not.
        deeds: what the task itself says.
        promises: how often it was acknowledged, and for which order.
    """

    task_id: str
    record: TaskRecord | None
    deeds: Sequence[Deed]
    promises: Sequence[Promise]

    def did(self, what: str) -> int:
        """How often the task says so."""
        return sum(deed.what == what for deed in self.deeds)


class Ledger:
    """How tasks had ended when it was looked: they must not end otherwise later.

    Args:
        place: where to look.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._ends: dict[str, tuple[object, ...]] = {}

    def look(self) -> None:
        """Take down what has ended lately."""
        for record in self._place.latest():
            self._ends.setdefault(record.task_id, _end(record))

    def faults(self, history: Mapping[str, TaskRecord]) -> Iterator[tuple[str, str]]:
        """Ids of tasks that ended otherwise, and how they had ended before."""
        for task_id, end in self._ends.items():
            record = history.get(task_id)
            if record is None or _end(record) != end:
                yield task_id, f"it ended before, as {end}"


def _end(record: TaskRecord) -> tuple[object, ...]:
    return record.status.value, record.end_time, record.reason, record.error


def stories(place: Place, promises: Iterable[Promise]) -> dict[str, Story]:
    """Everything that was stored, done or promised, by the id of the task."""
    history, done = place.history(), deeds(place.witness)
    promised: dict[str, list[Promise]] = defaultdict(list)
    for promise in promises:
        promised[promise.task_id].append(promise)
    return {
        task_id: Story(task_id, history.get(task_id), done.get(task_id, ()), promised.get(task_id, ()))
        for task_id in {**history, **done, **promised}
    }


def faults(told: Mapping[str, Story]) -> Iterator[tuple[str, str]]:
    """Ids of the tasks of which something does not hold, and what that is."""
    for story in told.values():
        for fault in _faults(story, told):
            yield story.task_id, fault
    yield from _keys_that_ran_twice(told)


def _faults(story: Story, told: Mapping[str, Story]) -> Iterator[str]:
    record = story.record
    if record is None:
        yield "it was promised or has run, and is not stored"
        return
    temper = TEMPERS[record.func_name]
    if not record.finished:
        yield "it has not ended"
    if any(promise.task != record.func_name for promise in story.promises):
        yield "another one was ordered"
    if len({deed.number for deed in story.deeds} | {promise.number for promise in story.promises}) > 1:
        yield "its argument is not what was sent"
    yield from _runs(story, record, temper)
    yield from CHECKS[record.status](story, record, temper, told) if record.status in CHECKS else ()


def _runs(story: Story, record: TaskRecord, temper: Temper) -> Iterator[str]:
    begun = Counter(deed.attempt for deed in story.deeds if deed.what == "begin")
    if not temper.again and any(times > 1 for times in begun.values()):
        yield "an attempt began twice, and it may not run again"
    if begun.total() > 1 + record.retries_used + record.rescues:
        yield f"{begun.total()} begins, {record.retries_used} retries and {record.rescues} rescues"


def _success(story: Story, record: TaskRecord, temper: Temper, told: Mapping[str, Story]) -> Iterator[str]:
    if not story.did("end"):
        yield "it did not do its work"
    if temper.doomed:
        yield "it fails, as it says itself"


def _failed(story: Story, record: TaskRecord, temper: Temper, told: Mapping[str, Story]) -> Iterator[str]:
    if record.reason == "poison":
        if record.rescues < MAX_RESCUES:
            yield f"it is poison after {record.rescues} rescues"
        if not story.did("begin"):
            yield "it is poison and had not begun"
        if not temper.again:
            yield "it may not run again, and should be interrupted"
    elif not temper.doomed:
        yield "it failed, and does not by itself"
    elif story.did("fail") == 0:
        yield "it did not run"


def _interrupted(
    story: Story, record: TaskRecord, temper: Temper, told: Mapping[str, Story]
) -> Iterator[str]:
    if temper.again:
        yield "it may run again, and did not"
    if (record.reason, record.rescues > 0) not in REASONS:
        yield f"it was {record.reason} after {record.rescues} rescues"
    if record.attempt_started is None:
        yield "it was interrupted before it began"


def _cancelled(story: Story, record: TaskRecord, temper: Temper, told: Mapping[str, Story]) -> Iterator[str]:
    if story.deeds:
        yield "it ran"
    if record.duplicate_of is not None:
        winner = told.get(record.duplicate_of)
        if winner is None or winner.record is None:
            yield "there is no task that was there first"
    elif story.promises:
        yield "it was promised"


CHECKS = {
    TaskStatus.SUCCESS: _success,
    TaskStatus.FAILED: _failed,
    TaskStatus.INTERRUPTED: _interrupted,
    TaskStatus.CANCELLED: _cancelled,
}


def _keys_that_ran_twice(told: Mapping[str, Story]) -> Iterator[tuple[str, str]]:
    done: dict[str, str] = {}
    for story in told.values():
        record = story.record
        if record is not None and record.status is TaskStatus.SUCCESS and record.idempotency_key is not None:
            first = done.setdefault(record.idempotency_key, story.task_id)
            if first != story.task_id:
                yield story.task_id, f"task {first} has succeeded with the same key"
