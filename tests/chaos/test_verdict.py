"""What the verdict on a task finds wrong, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from taskflow import TaskStatus
from tests.backends import record
from tests.chaos.load import Promise
from tests.chaos.outage import harm
from tests.chaos.verdict import Story, faults
from tests.chaos.witness import Deed

PENDING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = (
    TaskStatus.PENDING, TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.INTERRUPTED, TaskStatus.CANCELLED,
)  # fmt: skip

BEGAN = {"attempt_started": record("x").created_at}
RESCUED = {"reason": "rescued", "rescues": 1}
POISON = {"reason": "poison", "rescues": 3}


def story(func_name: str, status: TaskStatus, deeds: str = "", number: int = 1, **fields: Any) -> Story:
    """A task that was ordered with the number 1; its deeds are words."""
    stored = record("t", status, func_name=func_name, **fields)
    done = [Deed("t", 0, 1, what, number) for what in deeds.split()]
    return Story("t", stored, done, [Promise("t", func_name, 1, None)])


@pytest.mark.parametrize(
    "told",
    [
        story("quick", SUCCESS, "begin end"),
        story("slow-again", SUCCESS, "begin begin end", rescues=1),
        story("slow-again", SUCCESS, "begin end begin end", rescues=1),
        story("slow", INTERRUPTED, "begin", **RESCUED, **BEGAN),
        story("slow", INTERRUPTED, "begin end", **RESCUED, **BEGAN),
        story("slow", INTERRUPTED, "begin", reason="shutdown", **BEGAN),
        story("slow", INTERRUPTED, **RESCUED, **BEGAN),
        story("endless", FAILED, "begin begin begin", **POISON),
        story("doomed", FAILED, "begin fail"),
    ],
    ids=str,
)
def test_what_may_happen_is_not_a_fault(told):
    assert list(faults({"t": told})) == []


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (Story("t", None, [], [Promise("t", "quick", 1, None)]), "is not stored"),
        (Story("t", None, [Deed("t", 0, 1, "begin", 1)], []), "is not stored"),
        (story("quick", PENDING), "has not ended"),
        (story("quick", SUCCESS, "begin end", number=2), "not what was sent"),
        (story("quick", SUCCESS), "did not do its work"),
        (story("quick", SUCCESS, "begin begin end", rescues=1), "may not run again"),
        (story("slow-again", SUCCESS, "begin begin end"), "2 begins, 0 retries and 0 rescues"),
        (story("doomed", SUCCESS, "begin end"), "it fails"),
        (story("quick", FAILED, "begin fail"), "does not by itself"),
        (story("doomed", FAILED), "did not run"),
        (story("endless", FAILED, "begin begin", **(POISON | {"rescues": 2})), "after 2 rescues"),
        (story("endless", FAILED, **POISON), "had not begun"),
        (story("slow", FAILED, "begin", **POISON), "should be interrupted"),
        (story("slow-again", INTERRUPTED, "begin", **RESCUED, **BEGAN), "may run again"),
        (story("slow", INTERRUPTED, "begin", reason="rescued", **BEGAN), "it was rescued after 0 rescues"),
        (story("slow", INTERRUPTED, "begin", reason="lease_lost", **BEGAN), "it was lease_lost"),
        (story("slow", INTERRUPTED, **RESCUED), "before it began"),
        (story("quick", CANCELLED, "begin"), "it ran"),
        (story("quick", CANCELLED, reason="not_dispatched"), "it was promised"),
        (story("quick", CANCELLED, reason="duplicate", duplicate_of="gone"), "no task that was there first"),
    ],
)
def test_what_must_not_happen_is_found(told, fault):
    assert fault in " ".join(text for _, text in faults({"t": told}))


def test_two_tasks_that_succeed_with_one_key_are_found():
    told = {
        name: Story(name, record(name, SUCCESS, func_name="quick", idempotency_key="k"), done, [])
        for name, done in {"a": [Deed("a", 0, 1, "end", 1)], "b": [Deed("b", 0, 1, "end", 1)]}.items()
    }
    assert list(faults(told)) == [("b", "task a has succeeded with the same key")]


def run_by(func_name: str, status: TaskStatus, *pids: int, **fields: Any) -> Story:
    """A task whose first attempt began in these processes, one after the other."""
    stored = record("t", status, func_name=func_name, **fields)
    return Story("t", stored, [Deed("t", 0, pid, "begin", 1) for pid in pids], [])


KILLED, LIVES = 1, 2


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (run_by("gated", SUCCESS, LIVES), []),
        (run_by("gated-again", SUCCESS, KILLED, LIVES), []),
        (run_by("gated-again", SUCCESS, LIVES, LIVES), ["an attempt began twice in processes that live"]),
        (run_by("gated", INTERRUPTED, KILLED), []),
        (
            run_by("gated", INTERRUPTED, LIVES, reason="lease_expired"),
            ["it was interrupted (lease_expired) in a process that lives"],
        ),
        (run_by("endless", FAILED, KILLED, KILLED, **POISON), []),
        (
            run_by("endless", FAILED, KILLED, LIVES, **POISON),
            ["it is poison, and one of its processes lives"],
        ),
    ],
    ids=str,
)
def test_a_process_that_lives_must_not_lose_a_task_by_an_outage(told, expected):
    assert [what for _, what in harm([told], {KILLED})] == expected
