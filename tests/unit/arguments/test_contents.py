"""Iterators in arguments: refused without being read."""

from __future__ import annotations

import io
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic_core import core_schema

from taskflow.arguments.codec import ArgumentCodec
from taskflow.core.exceptions import TaskArgumentError


def work(rows: Any = None, *more: Any, **named: Any) -> None: ...


def typed(rows: list[str]) -> None: ...


def lazily(rows: Iterator[str]) -> None: ...


def serialized(rows: Annotated[Any, PlainSerializer(list)]) -> None: ...


@dataclass
class Mail:
    lines: Any


class Letter(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    lines: Any


def counted(read: list[int]):
    for number in range(3):
        read.append(number)
        yield number


@pytest.mark.parametrize("func", [work, typed, lazily, serialized])
@pytest.mark.parametrize(
    "within",
    [
        lambda rows: rows,
        lambda rows: [1, rows],
        lambda rows: ({"a": [rows]},),
        lambda rows: {1, ("b", rows)},
        lambda rows: deque([rows]),
        Mail,
        lambda rows: Letter.model_construct(lines=[rows]),
    ],
    ids=["itself", "list", "deep", "set", "deque", "dataclass", "model"],
)
def test_an_iterator_is_refused_before_anything_of_it_is_read(
    func: Callable[..., Any], within: Callable[[Any], Any]
):
    read: list[int] = []
    rows = counted(read)
    with pytest.raises(TaskArgumentError) as refused:
        ArgumentCodec(func, "work").encode((within(rows),), {})

    assert (
        "cannot be stored: an iterator (generator) can be read only once: pass a list" == refused.value.reason
    )
    assert ("rows", []) == (refused.value.parameter, read)
    assert [0, 1, 2] == list(rows)


@pytest.mark.parametrize(
    ("args", "kwargs", "parameter"),
    [(("a", "b", itertools.count()), {}, "more"), ((), {"rest": itertools.repeat(1)}, "named")],
)
def test_an_endless_iterator_is_refused_with_the_parameter_that_took_it(
    args: Any, kwargs: Any, parameter: str
):
    with pytest.raises(TaskArgumentError, match="can be read only once") as refused:
        ArgumentCodec(work, "work").encode(args, kwargs)

    assert parameter == refused.value.parameter


def test_an_open_file_is_refused_where_it_stands():
    file = io.StringIO("a\nb\n")
    with pytest.raises(TaskArgumentError, match=r"an iterator \(StringIO\) can be read only once"):
        ArgumentCodec(work, "work").encode((file,), {})

    assert "a\nb\n" == file.read()


class Countdown:
    """An iterator that says how it is stored: it can be read as often as one likes."""

    def __init__(self, left: int) -> None:
        self.left = left

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        raise AssertionError("it was read")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            cls, serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.left)
        )


def count_down(it: Countdown) -> None: ...


def test_an_iterator_that_says_how_it_is_stored_is_stored():
    codec = ArgumentCodec(count_down, "count_down")
    (revived,), _ = codec.decode(codec.encode((Countdown(3),), {}))

    assert (Countdown, 3) == (type(revived), revived.left)
