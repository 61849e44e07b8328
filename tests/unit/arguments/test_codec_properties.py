"""Whatever the annotation and whatever the value: it comes back as it is, or it is refused."""

import dataclasses
import enum
import inspect
import os
from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Generic, TypeVar, Union
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from taskflow.arguments.codec import ArgumentCodec
from taskflow.core.exceptions import TaskArgumentError

T = TypeVar("T")

# Each example builds the schema of a new function. TASKFLOW_EXAMPLES=2000 for a thorough run.
EXAMPLES = int(os.environ.get("TASKFLOW_EXAMPLES", "30"))
quick = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"


class Word(enum.StrEnum):
    YES = "yes"
    DAY = "2026-03-01"


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Crate(Generic[T]):
    content: T
    amount: float = 1.0


class Box(BaseModel, Generic[T]):
    model_config = ConfigDict(extra="allow")
    content: T
    amount: float | None = None


OFFSETS = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
ZONES = st.one_of(st.none(), st.just(UTC), OFFSETS, st.just(ZoneInfo("Europe/Berlin")))
TEXT = st.text(max_size=5) | st.sampled_from(["1", "true", "null", "2026-03-01", "NaN", "1.0", "yes"])

HASHABLE: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(),
    bytes: st.binary(max_size=5),
    None: st.none(),
    Decimal: st.decimals().filter(lambda number: not number.is_snan()),
    datetime: st.datetimes(timezones=ZONES),
    date: st.dates(),
    time: st.times(timezones=st.none() | OFFSETS),
    timedelta: st.timedeltas(),
    UUID: st.uuids(),
    complex: st.complex_numbers(),
    Colour: st.sampled_from(Colour),
    Word: st.sampled_from(Word),
    Number: st.sampled_from(Number),
    PurePosixPath: st.builds(PurePosixPath, st.text("ab/.", max_size=5)),
}

STRANGERS = st.one_of(
    st.builds(object),
    st.just(len),
    st.just(lambda: None),
    st.builds(Text, TEXT),
    st.builds(OrderedDict, st.dictionaries(TEXT, st.integers(), max_size=2)),
    st.builds(deque, st.lists(st.integers(), max_size=2), st.none() | st.just(3)),
    st.builds(iter, st.lists(st.integers(), max_size=2)),
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def hashable_types(draw):
    annotation = draw(st.sampled_from(list(HASHABLE)))
    return annotation, HASHABLE[annotation]


@st.composite
def types(draw, depth=2):
    """A type to annotate with, and a strategy of its values."""
    kinds = ["leaf", "any"] if depth == 0 else ["leaf", "list", "dict", "tuple", "set", "or", "crate", "box"]
    kind = draw(st.sampled_from(kinds))
    if kind == "leaf":
        return draw(hashable_types())
    if kind == "any":
        return Any, JSON_VALUES
    inner, values = draw(types(depth=depth - 1))
    return composed(kind, inner, values, *draw(hashable_types()))


def composed(kind, inner, values, other, others):
    """A type made of the type ``inner``, and of the hashable type ``other`` where it needs one."""
    composed_types = {
        "list": lambda: (list[inner], st.lists(values, max_size=3)),
        "tuple": lambda: (tuple[inner, ...], st.lists(values, max_size=3).map(tuple)),
        "set": lambda: (frozenset[other], st.frozensets(others, max_size=3)),
        "dict": lambda: (dict[other, inner], st.dictionaries(others, values, max_size=3)),
        "or": lambda: (Union[inner, other], values | others),  # noqa: UP007  # None | None is no type
        "crate": lambda: (Crate[inner], st.builds(Crate, values, st.floats() | st.integers())),
        "box": lambda: (Box[inner], boxes(Box[inner], values)),
    }
    return composed_types[kind]()


def boxes(box, values):
    partly_set = st.builds(box.model_construct, content=values)
    return partly_set | st.builds(box.model_construct, content=values, amount=st.floats(), more=values)


def anatomy(value: Any) -> Any:
    """All that a value is, types included, in a form whose ``==`` can be trusted."""
    if isinstance(value, enum.Enum):
        parts: Any = value.name
    elif isinstance(value, datetime | time):
        zone = value.tzinfo if isinstance(value.tzinfo, ZoneInfo) else value.utcoffset()
        parts = value.replace(tzinfo=None).isoformat(), value.fold, zone
    elif isinstance(value, BaseModel):
        parts = anatomy([vars(value), value.model_extra, value.__pydantic_private__, value.model_fields_set])
    elif dataclasses.is_dataclass(value):
        parts = anatomy(vars(value))
    elif isinstance(value, dict):
        parts = [(anatomy(key), anatomy(item)) for key, item in value.items()]
    elif isinstance(value, list | tuple | deque):
        parts = [anatomy(item) for item in value], getattr(value, "maxlen", None)
    elif isinstance(value, set | frozenset):
        parts = sorted(map(repr, map(anatomy, value)))
    else:
        parts = repr(value)
    return type(value), parts


def check_round_trip(func, args, kwargs):
    """Returns whether the arguments can be stored; fails if anything changes on the way."""
    codec, bind = ArgumentCodec(func, "task"), inspect.signature(func).bind
    before = anatomy(bind(*args, **kwargs).arguments)
    try:
        data = codec.encode(args, kwargs)
    except TaskArgumentError:
        return False
    revived_args, revived_kwargs = codec.decode(data)
    assert before == anatomy(bind(*args, **kwargs).arguments)
    assert before == anatomy(bind(*revived_args, **revived_kwargs).arguments)
    assert len(args) == len(revived_args)
    return True


def taking(annotation):
    def task(value): ...

    task.__annotations__["value"] = annotation
    return task


@quick
@given(types().flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])))
def test_a_value_of_the_annotated_type_comes_back_or_is_refused(pair):
    annotation, value = pair
    check_round_trip(taking(annotation), (value,), {})


@quick
@given(types(), types().flatmap(lambda pair: pair[1]) | STRANGERS)
def test_a_value_of_another_type_comes_back_or_is_refused(pair, value):
    check_round_trip(taking(pair[0]), (value,), {})


@quick
@given(types(), JSON_VALUES)
def test_plain_json_comes_back_under_any_annotation(pair, value):
    assert check_round_trip(taking(pair[0]), (value,), {})


SAFE = {
    str: TEXT,
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(),
    bytes: st.binary(max_size=20),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    datetime: st.datetimes(timezones=st.none() | st.just(UTC)).filter(lambda moment: not moment.fold),
    date: st.dates(),
    UUID: st.uuids(),
    Colour: st.sampled_from(Colour),
    Word: st.sampled_from(Word),
    Number: st.sampled_from(Number),
}


@quick
@given(st.sampled_from(list(SAFE)).flatmap(lambda kind: st.tuples(st.just(kind), SAFE[kind])))
def test_the_promised_types_are_never_refused(pair):
    annotation, value = pair
    for outer, given_value in [
        (annotation, value),
        (annotation | None, value),
        (list[annotation], [value, value]),
        (dict[str, annotation], {"key": value}),
        (tuple[annotation, ...], (value,)),
        (Crate[annotation], Crate(value)),
    ]:
        assert check_round_trip(taking(outer), (given_value,), {})


@quick
@given(st.data())
def test_any_call_of_a_function_with_every_kind_of_parameter_comes_back_or_is_refused(data):
    def task(a, /, b=None, *rest, c=None, **more): ...

    strategies = {}
    for name in "a", "b", "rest", "c", "more":
        task.__annotations__[name], strategies[name] = data.draw(types(depth=1))
    args = [data.draw(strategies["a"])]
    if data.draw(st.booleans()):
        args += [data.draw(strategies["b"]), *data.draw(st.lists(strategies["rest"], max_size=2))]
    kwargs = data.draw(
        st.fixed_dictionaries(
            {}, optional={"c": strategies["c"], "z": strategies["more"], "a": strategies["more"]}
        )
    )
    if len(args) == 1 and data.draw(st.booleans()):
        kwargs = {"b": data.draw(strategies["b"]), **kwargs}
    check_round_trip(task, tuple(args), kwargs)


DAMAGED = ArgumentCodec(taking(dict[str, list[datetime]]), "task")
SOUND = DAMAGED.encode(({"a": [datetime(2026, 3, 1, tzinfo=UTC)]},), {})


@settings(quick, max_examples=10 * EXAMPLES)
@given(
    st.binary()
    | JSON_VALUES.map(lambda value: str(value).replace("'", '"').encode())
    | st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)).map(
        lambda hit: SOUND[: hit[0]] + bytes([hit[1]]) + SOUND[hit[0] + 1 :]
    )
)
def test_damaged_bytes_give_a_call_or_a_task_argument_error(data):
    try:
        args, kwargs = DAMAGED.decode(data)
    except TaskArgumentError:
        return
    assert 1 == len(args) + len(kwargs)
