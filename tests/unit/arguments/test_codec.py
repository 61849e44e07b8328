"""What comes back from storage exactly as it was given, and what is refused."""

import enum
import functools
import math
import re
import threading
import traceback
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar, Unpack
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AfterValidator,
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    PrivateAttr,
    RootModel,
    SecretStr,
    TypeAdapter,
    computed_field,
    field_serializer,
    field_validator,
)
from typing_extensions import TypedDict

from taskflow.arguments.codec import ArgumentCodec
from taskflow.core.exceptions import TaskArgumentError

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.StrEnum):
    SMALL = "s"


class Level(enum.IntEnum):
    LOW = 1


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: int
    y: float = 0.0
    label: bytes = b""


@dataclass(frozen=True, slots=True)
class Pixel:
    at: tuple[int, int]
    colour: Colour = Colour.RED


@dataclass
class Basket:
    times: list[datetime] = field(default_factory=list)


@dataclass
class Tally:
    unit: str = field(init=False, default="one")
    count: list[int] = field(init=False, default_factory=list)


class Pair(NamedTuple):
    left: int
    right: datetime


class Options(TypedDict, total=False):
    when: datetime
    retries: int


class Item(BaseModel):
    name: str
    price: Decimal = Decimal(0)
    tags: set[str] = set()


class Order(BaseModel):
    id: UUID = Field(default_factory=uuid.uuid4)
    items: list[Item] = []
    placed: datetime | None = None


class Aliased(BaseModel):
    first: int = Field(alias="First")
    second: int = Field(validation_alias="in", serialization_alias="out")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Page(BaseModel, Generic[T]):
    entries: list[T]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


class Pet(BaseModel):
    animal: Annotated[Cat | Dog, Field(discriminator="kind")]


class Payload(BaseModel):
    data: Json[list[int]]


class Area(BaseModel):
    side: int

    @computed_field
    @property
    def area(self) -> int:
        return self.side**2

    @functools.cached_property
    def volume(self) -> int:
        return self.side**3


def revived(func, *args, **kwargs):
    codec = ArgumentCodec(func, "task")
    return codec.decode(codec.encode(args, kwargs))


def refusal(func, *args, **kwargs):
    with pytest.raises(TaskArgumentError) as caught:
        ArgumentCodec(func, "task").encode(args, kwargs)
    return caught.value


def taking(annotation):
    def task(value): ...

    task.__annotations__["value"] = annotation
    return task


NOW = datetime(2026, 3, 1, 12, 30, 0, 123456, tzinfo=UTC)
ID = UUID("6f1f1e0e-4b1c-4f0e-9f43-0d5a3c7f3f0a")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "text"),
        (str, "é\x00\u2028🙂"),
        (int, 5),
        (int, 10**30),
        (bool, True),
        (float, 0.1),
        (float, 1e300),
        (float, math.inf),
        (None, None),
        (complex, 1 + 2j),
        (bytes, b"\x00\xff"),
        (datetime, NOW),
        (datetime, NOW.replace(tzinfo=None)),
        (datetime, NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))),
        (datetime, TypeAdapter(datetime).validate_json('"2026-03-01T12:00:00+02:00"')),
        (date, date(2026, 3, 1)),
        (time, time(1, 2, 3, 4)),
        (timedelta, timedelta(days=-1, microseconds=1)),
        (UUID, ID),
        (Decimal, Decimal("1.00")),
        (Decimal, Decimal("1E+3")),
        (Colour, Colour.BLUE),
        (Size, Size.SMALL),
        (Level, Level.LOW),
        (Access, Access.READ | Access.WRITE),
        (Path, Path("a/b")),
        (PurePosixPath, PurePosixPath("/etc")),
        (IPv4Address, IPv4Address("127.0.0.1")),
        (IPv4Network, ip_network("10.0.0.0/8")),
        (ZoneInfo, ZoneInfo("Europe/Berlin")),
        (re.Pattern, re.compile("a+")),
        (AnyUrl, AnyUrl("https://example.com/a?b=c")),
        (Literal["a", 1], 1),
        (datetime | None, NOW),
        (int | UUID, ID),
        (list[datetime], [NOW, NOW]),
        (dict[UUID, list[bytes]], {ID: [b"\xff"]}),
        (dict[int, str], {2: "b", 1: "a"}),
        (dict[date, Decimal], {date(2026, 1, 1): Decimal("0.10")}),
        (tuple[int, str], (1, "a")),
        (tuple[UUID, ...], (ID, ID)),
        (set[UUID], {ID}),
        (frozenset[tuple[int, date]], frozenset({(1, date(2026, 1, 1))})),
        (deque[int], deque([1, 2])),
        (OrderedDict[str, int], OrderedDict(b=1, a=2)),
        (defaultdict[str, int], defaultdict(int, a=1)),
        (Counter[str], Counter("aab")),
        (Sequence[int], [1, 2]),
        (Point, Point(1, math.inf, b"\xff")),
        (Pixel, Pixel((1, 2), Colour.BLUE)),
        (set[Pixel], {Pixel((1, 2)), Pixel((3, 4))}),
        (Pair, Pair(1, NOW)),
        (Options, {"when": NOW}),
        (Item, Item(name="tea", price=Decimal("1.50"), tags={"a", "b"})),
        (Order, Order(items=[Item(name="tea")], placed=NOW)),
        (dict[str, list[Order]], {"a": [Order(), Order()]}),
        (Page[datetime], Page[datetime](entries=[NOW])),
        (Pet, Pet(animal=Dog())),
        (Annotated[Cat | Dog, Field(discriminator="kind")], Dog()),
        (RootModel[list[int]], RootModel[list[int]]([1])),
        (Open, Open(name="a", more=1)),
        (Area, Area(side=2)),
        (Json[list[int]], [1, 2]),
        (Payload, Payload(data="[1, 2]")),
    ],
)
def test_a_value_comes_back_with_its_value_and_type(annotation, value):
    (actual,), _ = revived(taking(annotation), value)
    assert value == actual
    assert type(value) is type(actual)


def test_not_a_number_comes_back():
    (actual,), _ = revived(taking(float), math.nan)
    assert math.isnan(actual)


def test_minus_zero_keeps_its_sign():
    (actual,), _ = revived(taking(float), -0.0)
    assert math.copysign(1, actual) == -1


def test_a_decimal_keeps_its_exponent():
    (actual,), _ = revived(taking(Decimal), Decimal("1.00"))
    assert str(actual) == "1.00"


def test_an_aware_datetime_keeps_its_offset():
    (actual,), _ = revived(taking(datetime), NOW.astimezone(timezone(timedelta(hours=2))))
    assert timedelta(hours=2) == actual.utcoffset()


def test_a_dict_keeps_its_order():
    (actual,), _ = revived(taking(dict[int, int]), {3: 0, 1: 0, 2: 0})
    assert [3, 1, 2] == list(actual)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (float, 5),
        (int, True),
        (int, 1.0),
        (int, "1"),
        (bool, 1),
        (str, 5),
        (list[float], [1, 2.5]),
        (datetime | str, "2026-03-01T12:00:00Z"),
        (datetime, "2026-03-01T12:00:00Z"),
        (Size, "s"),
        (Item, {"name": "tea"}),
        (tuple[int, int], [1, 2]),
        (set[int], [2, 1]),
        (Callable[[], None], None),
        (threading.Lock, "not a lock"),
        (Any, {"a": [1, 2.5, None, True, "x", {}]}),
    ],
)
def test_plain_json_values_come_back_even_if_the_annotation_would_change_them(annotation, value):
    (actual,), _ = revived(taking(annotation), value)
    assert repr(value) == repr(actual)


def test_a_parameter_without_annotation_takes_plain_json_values():
    def task(value): ...

    value = {"a": [1, 2.5, None, True, "x", {}]}
    assert ((value,), {}) == revived(task, value)


def test_positional_and_keyword_arguments_come_back_in_the_callers_form():
    def task(a: int, b: int = 2, *, c: int = 3): ...

    assert ((1,), {}) == revived(task, 1)
    assert ((1, 5), {}) == revived(task, 1, 5)
    assert ((1,), {"b": 5, "c": 6}) == revived(task, 1, c=6, b=5)
    assert ((), {"a": 1}) == revived(task, a=1)


def test_every_kind_of_parameter_uses_its_annotation():
    def task(a: UUID, /, b: date, *rest: bytes, c: Decimal, **more: set[int]): ...

    day, ten = date(2026, 1, 1), Decimal(10)
    expected = (ID, day, b"\xff", b"a"), {"c": ten, "x": {1}, "a": {2}}
    assert expected == revived(task, ID, day, b"\xff", b"a", c=ten, x={1}, a={2})


def test_keyword_arguments_may_be_annotated_with_a_typed_dict():
    def task(**options: Unpack[Options]): ...

    assert ((), {"when": NOW}) == revived(task, when=NOW)


@pytest.mark.parametrize(
    ("args", "kwargs", "parameter"),
    [
        ((), {}, "a"),
        ((1,), {"wrong": 1}, "wrong"),
        ((1,), {"a": 1}, "a"),
        ((1, 2, 3), {}, "(all)"),
    ],
)
def test_a_call_that_the_function_does_not_take_is_refused(args, kwargs, parameter):
    def task(a: int, b: int = 0): ...

    assert parameter == refusal(task, *args, **kwargs).parameter


def test_a_call_without_arguments_is_encoded_once():
    def task(a: int = 0): ...

    codec = ArgumentCodec(task, "task")
    first = codec.encode((), {})
    assert codec.encode((1,), {}) != first
    assert first is codec.encode((), {})
    assert ((), {}) == codec.decode(first)


def test_a_call_without_arguments_is_refused_each_time_if_the_function_needs_some():
    def task(a: int): ...

    codec = ArgumentCodec(task, "task")
    codec.encode((1,), {})
    for _ in range(2):
        with pytest.raises(TaskArgumentError):
            codec.encode((), {})


class Mailer:
    def send(self, when: datetime): ...

    def __call__(self, when: datetime): ...


def logged(func):
    @functools.wraps(func)
    def wrapper(*args, **kwargs):
        return func(*args, **kwargs)

    return wrapper


@logged
def decorated(when: datetime): ...


def remind(name: str, when: datetime): ...


@pytest.mark.parametrize(
    "func",
    [Mailer().send, Mailer(), decorated, functools.partial(remind, "ann"), functools.partial(decorated)],
)
def test_any_callable_with_a_signature_will_do(func):
    assert ((), {"when": NOW}) == revived(func, when=NOW)
    assert ((NOW,), {}) == revived(func, NOW)


def test_a_callable_without_a_signature_is_refused():
    with pytest.raises(TaskArgumentError, match="signature"):
        ArgumentCodec(type, "task")


def test_text_annotations_are_resolved():
    assert ((ID,), {}) == revived(taking("UUID"), ID)


def test_an_annotation_that_cannot_be_resolved_leaves_plain_values_and_is_named_in_the_refusal():
    def task(value: "Missing", other: UUID): ...  # noqa: F821

    assert ((["a"], ID), {}) == revived(task, ["a"], ID)
    assert "Missing" in refusal(task, NOW, ID).reason


def test_an_annotation_with_a_default_of_its_own_adds_no_argument():
    def task(a: Annotated[int, Field(default=3)] = 4, b: int = 0): ...

    assert ((), {"b": 1}) == revived(task, b=1)


def test_fields_left_to_their_defaults_stay_unset():
    given = [Item(name="tea"), Item(name="milk", price=Decimal(1))]
    (actual,), _ = revived(taking(list[Item]), given)
    assert [{"name": "tea"}, {"name": "milk", "price": 1}] == [
        one.model_dump(exclude_unset=True) for one in actual
    ]


def test_a_default_that_was_computed_is_kept_and_not_computed_again():
    order = Order()
    (actual,), _ = revived(taking(Order), order)
    assert order.id == actual.id
    assert set() == actual.model_fields_set


def test_a_remembered_cached_property_does_not_matter():
    area = Area(side=2)
    assert area.volume == 8
    assert ((area,), {}) == revived(taking(Area), area)


def test_aliases_do_not_matter():
    aliased = Aliased.model_validate({"First": 1, "in": 2})
    assert ((aliased,), {}) == revived(taking(Aliased), aliased)


class Stripped(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def strip(cls, value: str) -> str:
        return value.strip()


class Counting(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def count(cls, value: int) -> int:
        return value + 1


class Forbidding(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def fail(cls, value: str) -> str:
        raise RuntimeError("no")


class Unwritable(BaseModel):
    name: str

    @field_serializer("name")
    def fail(self, value: str) -> str:
        raise RuntimeError("no")


class Hiding(BaseModel):
    name: str = Field("x", exclude=True)


class Private(BaseModel):
    name: str = "x"
    _seen: int = PrivateAttr(0)


class BigItem(Item):
    pass


class Text(str):
    __slots__ = ()


class Liar:
    def __init__(self, n: int) -> None:
        self.n = n

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            lambda n: cls(n + 1),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda liar: liar.n),
        )


class Fighter(Liar):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    __hash__ = None


def private(seen):
    model = Private()
    model._seen = seen
    return model


def counted():
    tally = Tally()
    tally.count.append(1)
    return tally


def marked():
    point = Point(1)
    point.mark = True
    return point


def selfish():
    own: list[Any] = []
    own.append(own)
    return own


@pytest.mark.parametrize(
    ("annotation", "value", "reason"),
    [
        (Any, lambda: 1, "a lambda cannot be stored"),
        (Callable[..., Any], revived, "a function cannot be stored"),
        (Any, object(), "cannot be stored"),
        (Any, selfish(), "it holds itself"),
        (Any, NOW, "would come back as str instead of datetime; annotate the parameter as datetime"),
        (Any, (1, 2), "would come back as list instead of tuple; annotate the parameter as tuple"),
        (
            Any,
            {"a": [ID]},
            "['a'][0] would come back as str instead of UUID; annotate the parameter with its type",
        ),
        (Any, {1: "a"}, "{key} would come back as str instead of int"),
        (dict[int, Any], {4111: NOW}, "[...] would come back as str instead of datetime"),
        (dict[str, Any], {"ann@example.com": NOW}, "[...] would come back as str instead of datetime"),
        (Any, math.nan, "would come back as NoneType instead of float"),
        (Any, b"text", "would come back as str instead of bytes"),
        (Any, "\ud800", "cannot be stored"),
        (str, Size.SMALL, "would come back as str instead of Size; annotate the parameter as Size"),
        (str, Text("a"), "would come back as str instead of Text"),
        (int, Level.LOW, "would come back as int instead of Level"),
        (list[int], [1, NOW], "would not come back: 1: Input should be a valid integer"),
        (list[Any], [1, (2,)], "[1] would come back as list instead of tuple"),
        (set[int], {True}, "would come back as int instead of bool"),
        (Sequence[int], deque([1]), "instead of deque"),
        (deque, deque([1], maxlen=3), "would come back with another value"),
        (dict, OrderedDict(a=1), "would come back as dict instead of OrderedDict"),
        (dict, defaultdict(list), "would come back as dict instead of defaultdict"),
        (defaultdict[str, int], defaultdict(lambda: 0), "would come back with another value"),
        (datetime, datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin")), "convert it to UTC"),
        (datetime, NOW.replace(tzinfo=None, fold=1), "would come back with another value"),
        (
            datetime,
            datetime(2026, 3, 1, tzinfo=timezone(timedelta(0), "Z")),
            "would come back with another value",
        ),
        (
            datetime,
            date(2026, 3, 1),
            "would come back as datetime instead of date; annotate the parameter as date",
        ),
        (date, NOW, "would"),
        (
            Item,
            BigItem(name="a"),
            "would come back as Item instead of BigItem; annotate the parameter as BigItem",
        ),
        (
            SecretStr,
            SecretStr("hunter2"),
            "masked: pass the plain value, and encrypt it with encrypt_args_key",
        ),
        (Stripped, Stripped.model_construct(name=" a "), ".name would come back with another value"),
        (Counting, Counting(n=1), ".n would come back with another value"),
        (Forbidding, Forbidding.model_construct(name="a"), "RuntimeError: no"),
        (Unwritable, Unwritable(name="a"), "RuntimeError: no"),
        (Hiding, Hiding(name="a"), "would come back with another value"),
        (Private, private(1), "would come back with another value"),
        (Liar, Liar(1), ".n would come back with another value"),
        (Fighter, Fighter(1), ".n would come back with another value"),
        (Annotated[str, AfterValidator(str.upper)], Text("a"), "would come back as str instead of Text"),
        (Tally, counted(), ".count would come back with another value"),
        (Point, marked(), "would come back with another value"),
        (
            Annotated[Decimal, AfterValidator(Decimal.normalize)],
            Decimal("1.00"),
            "would come back with another value",
        ),
        (Annotated[re.Pattern, AfterValidator(lambda _: re.compile("b"))], re.compile("a"), "another value"),
        (threading.Lock, threading.Lock(), "its annotation cannot be used"),
        (
            list[int],
            iter([1]),
            "cannot be stored: an iterator (list_iterator) can be read only once: pass a list",
        ),
        (Any, functools.reduce(lambda inner, _: [inner], range(5000), []), "cannot be stored"),
    ],
)
def test_what_would_not_come_back_unchanged_is_refused_with_a_reason(annotation, value, reason):
    error = refusal(taking(annotation), value)
    assert ("task", "value") == (error.func_name, error.parameter)
    assert any(part in error.reason for part in reason.split("|")), error.reason


def test_fields_that_are_not_init_come_back_at_their_defaults():
    assert ((Tally(),), {}) == revived(taking(Tally), Tally())


def test_a_private_attribute_at_its_default_comes_back():
    (actual,), _ = revived(taking(Private), private(0))
    assert 0 == actual._seen


def test_the_refusal_names_the_one_parameter_at_fault():
    def task(a: int, b: Any, c: float): ...

    assert "b" == refusal(task, 1, NOW, 5).parameter


def test_a_refusal_never_shows_the_value_nor_a_key_that_may_be_data():
    def task(card: list[int], other: Any): ...

    error = refusal(task, [1, {"4111-1111"}], None)
    keyed = refusal(taking(dict[str, int]), {"ann@example.com": NOW})
    shown = "".join(traceback.format_exception(error) + traceback.format_exception(keyed))
    assert "4111" not in shown
    assert "ann@" not in shown


def test_a_model_that_validation_changed_at_first_comes_back_if_that_is_stable():
    (actual,), _ = revived(taking(Stripped), Stripped(name=" a "))
    assert "a" == actual.name


def test_a_mutable_default_of_a_dataclass_comes_back():
    (actual,), _ = revived(taking(Basket), Basket([NOW]))
    assert Basket([NOW]) == actual


def stored(func, *args, **kwargs):
    return ArgumentCodec(func, "task").encode(args, kwargs)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\x00", "not JSON"),
        (b'{"version":1,', "not JSON"),
        (b"[]", "not arguments"),
        (b'{"args":[]}', "not arguments"),
        (b'{"version":2,"args":[1]}', "version 2"),
        (b'{"version":1}', "Field required"),
        (b'{"version":1,"positional":-1,"typed":{},"plain":{},"unset":{}}', "greater than or equal to 0"),
        (b'{"version":1,"positional":0,"typed":{"value":"x"},"plain":{},"unset":{}}', "valid integer"),
        (b'{"version":1,"positional":0,"typed":{},"plain":{},"unset":{}}', "missing"),
        (b'{"version":1,"positional":0,"typed":[],"plain":{},"unset":{}}', "typed: Input should be"),
    ],
)
def test_damaged_bytes_are_refused(data, reason):
    with pytest.raises(TaskArgumentError) as caught:
        ArgumentCodec(taking(int), "task").decode(data)
    assert reason in caught.value.reason


def test_a_parameter_that_was_removed_since_is_refused_by_name():
    def before(a: int, b: int): ...

    def after(a: int): ...

    with pytest.raises(TaskArgumentError, match="no such parameter any more") as caught:
        ArgumentCodec(after, "task").decode(stored(before, 1, 2))
    assert "b" == caught.value.parameter


def test_a_parameter_that_is_required_since_is_refused_by_name():
    def before(a: int): ...

    def after(a: int, b: int): ...

    with pytest.raises(TaskArgumentError) as caught:
        ArgumentCodec(after, "task").decode(stored(before, 1))
    assert "b" == caught.value.parameter


def test_a_type_that_has_changed_since_is_refused_by_name():
    def before(a: str): ...

    def after(a: UUID): ...

    with pytest.raises(TaskArgumentError, match="valid UUID") as caught:
        ArgumentCodec(after, "task").decode(stored(before, "x"))
    assert "a" == caught.value.parameter


def test_parameters_that_were_reordered_since_keep_their_arguments():
    def before(a: int, b: int): ...

    def after(b: int, a: int): ...

    args, kwargs = ArgumentCodec(after, "task").decode(stored(before, 1, 2))
    assert ((2, 1), {}) == (args, kwargs)


def test_a_parameter_that_was_added_in_front_since_takes_nobody_elses_argument():
    def before(a: int, b: int): ...

    def after(new: int = 0, a: int = 0, b: int = 0): ...

    assert ((), {"a": 1, "b": 2}) == ArgumentCodec(after, "task").decode(stored(before, 1, 2))


def test_rest_arguments_that_a_new_parameter_would_swallow_are_refused():
    def before(*rest: int): ...

    def after(new: int = 0, *rest: int): ...

    with pytest.raises(TaskArgumentError, match="signature has changed"):
        ArgumentCodec(after, "task").decode(stored(before, 1, 2))


def test_a_validator_that_fails_at_decoding_is_a_task_argument_error():
    with pytest.raises(TaskArgumentError, match="RuntimeError: no"):
        ArgumentCodec(taking(Forbidding), "task").decode(
            stored(taking(Item), Item(name="a")).replace(b',"price":"0","tags":[]', b"")
        )


def test_the_encoded_form_is_the_documented_one():
    def task(when: datetime, delay: float = 0): ...

    assert (
        b'{"version":1,"positional":1,"typed":{"when":"2026-03-01T12:30:00.123456Z"},'
        b'"plain":{"delay":5},"unset":{}}'
    ) == stored(task, NOW, delay=5)


class FrozenMeta(type):
    """As the classes that a frozen clock of tests puts in the place of ``datetime`` and ``date``."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, cls.__base__)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, cls.__base__)


class FrozenDatetime(datetime, metaclass=FrozenMeta): ...


class FrozenDate(date, metaclass=FrozenMeta): ...


class MyDatetime(datetime): ...


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (datetime, FrozenDatetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC)),
        (list[date], [FrozenDate(2026, 3, 29)], [date(2026, 3, 29)]),
        # Read while the clock was frozen.
        (FrozenDatetime, datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC)),
        (FrozenDate | None, FrozenDate(2026, 3, 29), date(2026, 3, 29)),
        (dict[str, list[FrozenDate]], {"a": [date(2026, 3, 29)]}, {"a": [date(2026, 3, 29)]}),
        (Annotated[FrozenDate, Field(description="day")], date(2026, 3, 29), date(2026, 3, 29)),
    ],
)
def test_a_class_that_only_stands_in_for_a_scalars_is_taken_as_that(annotation, given, expected):
    codec = ArgumentCodec(taking(annotation), "task")
    (revived,), _ = codec.decode(codec.encode((given,), {}))

    assert (expected, type(expected)) == (revived, type(revived))


def test_what_a_stand_in_holds_must_come_back_as_well():
    refusal(taking(datetime), FrozenDatetime(2026, 3, 29, tzinfo=ZoneInfo("Europe/Berlin")))


def test_an_ordinary_subclass_of_a_scalars_class_is_refused():
    assert "as datetime instead of MyDatetime" in refusal(taking(datetime), MyDatetime(2026, 3, 29)).reason
