from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel

from taskflow import TaskRecord
from taskflow.core.clock import utcnow
from taskflow.core.models import FailedAttempt
from taskflow.execution.lines import KeptLines
from taskflow.execution.weight import weight_of, weight_of_value

MIB = 1024 * 1024


class Plain:
    def __init__(self, data: Any) -> None:
        self.data = data


@dataclass(slots=True)
class Slotted:
    data: Any
    unset: Any = field(init=False)


@dataclass
class Child(Slotted): ...


class Model(BaseModel):
    data: Any


HOLDERS = [
    lambda data: data,
    lambda data: [data],
    lambda data: (1, {"a": {"b": data}}),
    lambda data: {data: 1},
    lambda data: {data},
    lambda data: deque([data]),
    lambda data: OrderedDict(a=data),
    lambda data: defaultdict(list, a=[data]),
    Plain,
    Slotted,
    Child,
    lambda data: Model(data=data),
]


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_large_argument_is_found_whatever_holds_it(holder: Any):
    data = bytes(MIB)

    assert MIB <= weight_of_value(holder(data)) < MIB + 3_000


def test_of_many_members_some_tell_about_the_others():
    assert 9 * MIB < weight_of_value([bytes(10_000) for _ in range(1_000)]) < 11 * MIB


def test_a_circle_has_an_end():
    circle: list[Any] = []
    circle.append(circle)

    assert weight_of_value(circle) < 1_000


@pytest.mark.parametrize("value", [threading, threading.Thread, weight_of])
def test_what_is_not_the_tasks_own_does_not_count(value: Any):
    assert weight_of_value(value) < 3_000


def test_no_code_of_an_arguments_class_is_run():
    class Hostile:
        def _refuse(self, *_: Any) -> Any:
            raise SystemExit

        __sizeof__ = __len__ = __iter__ = __getattr__ = __getattribute__ = _refuse  # type: ignore[assignment]

    class HostileList(list[Any]):
        def _refuse(self, *_: Any) -> Any:
            raise SystemExit

        __sizeof__ = __len__ = __iter__ = __getattribute__ = _refuse  # type: ignore[assignment]

    assert weight_of_value([Hostile(), HostileList([bytes(MIB)])]) > MIB


@pytest.mark.parametrize(
    "fields",
    [
        {"args": (bytes(MIB),)},
        {"kwargs": {"image": bytes(MIB)}},
        {"payload": bytes(MIB)},
        {"encrypted_payload": bytes(MIB)},
        {"logs": ["x" * (MIB // 2)] * 2},
        {"kept_lines": KeptLines(["x" * 30_000] * 70), "logs": []},
        {"error": "x" * MIB},
        {"stacktrace": "x" * MIB},
        {"tags": {"a": "x" * MIB}},
        {"failed_attempts": [FailedAttempt(utcnow(), utcnow(), "x" * 10_500, "E", 1)] * 100},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_everything_that_can_be_large_counts(fields: dict[str, Any]):
    light, heavy = TaskRecord("1", "f"), TaskRecord("1", "f", **fields)
    if "kept_lines" in fields:
        assert 60_000 < weight_of(heavy) < 80_000
    else:
        assert MIB <= weight_of(heavy) < MIB + 50_000
    assert 0 == weight_of(light)
