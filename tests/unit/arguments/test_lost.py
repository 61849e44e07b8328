"""Arguments that were stored for an earlier version of a function's classes."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model, field_validator, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from taskflow.arguments.codec import ArgumentCodec
from taskflow.core.exceptions import TaskArgumentError


def taking(annotation: Any) -> ArgumentCodec:
    def task(value: Any) -> None: ...

    task.__annotations__["value"] = annotation
    return ArgumentCodec(task, "task")


def revived(before: Any, value: Any, after: Any) -> Any:
    """What a function that takes ``after`` gets of what was stored for one that took ``before``."""
    (it,), _ = taking(after).decode(taking(before).encode((value,), {}))
    return it


class Mail(BaseModel):
    to: int
    note: str = "none"


class Short(BaseModel):
    to: int


class Renamed(BaseModel):
    to: int
    remark: str = "none"


@dataclass(frozen=True)
class Parcel:
    to: int
    note: str = "none"


ShortParcel = make_dataclass("ShortParcel", [("to", int)], frozen=True)


@pydantic_dataclass
class Checked:
    to: int


class Form(TypedDict):
    to: int
    note: str


class ShortForm(TypedDict):
    to: int


class Box(BaseModel):
    inside: Mail


class ShortBox(BaseModel):
    inside: Short


MAIL, PARCEL, FORM = Mail(to=1, note="urgent"), Parcel(1, "urgent"), Form(to=1, note="urgent")


@pytest.mark.parametrize(
    ("before", "value", "after", "named"),
    [
        (Mail, MAIL, Short, "Short"),
        (Mail, MAIL, Renamed, "Renamed"),
        (Mail, MAIL, ShortForm, "dict"),
        (Mail, MAIL, Checked, "Checked"),
        (Parcel, PARCEL, ShortParcel, "ShortParcel"),
        (Form, FORM, ShortForm, "dict"),
        (Box, Box(inside=MAIL), ShortBox, "Short"),
        (list[Mail], [Mail(to=1), MAIL], list[Short], "Short"),
        (dict[int, Mail], {5: MAIL}, dict[int, Short], "Short"),
        (tuple[int, Mail], (1, MAIL), tuple[int, Short], "Short"),
        (set[Parcel], {PARCEL}, set[ShortParcel], "ShortParcel"),
        (RootModel[list[Mail]], RootModel[list[Mail]]([MAIL]), RootModel[list[Short]], "Short"),
        (Mail | None, MAIL, Short | None, "Short"),
    ],
)
def test_a_stored_field_that_its_class_has_no_more_is_refused(
    before: Any, value: Any, after: Any, named: str
):
    with pytest.raises(TaskArgumentError) as refused:
        revived(before, value, after)

    assert "value" == refused.value.parameter
    assert (
        f"{named} has no 'note' any more, and what is stored there would be lost: give it back, "
        f'or take it over in a model_validator(mode="before")'
    ) == refused.value.reason


def test_the_value_of_a_lost_field_is_not_shown():
    with pytest.raises(TaskArgumentError) as refused:
        revived(Mail, MAIL, Short)

    assert "urgent" not in str(refused.value)


def test_a_field_that_was_left_to_its_default_may_go():
    assert Short(to=1) == revived(Mail, Mail(to=1), Short)
    assert [Short(to=1)] == revived(list[Mail], [Mail(to=1)], list[Short])
    assert ShortBox(inside=Short(to=1)) == revived(Box, Box(inside=Mail(to=1)), ShortBox)
    root = revived(RootModel[list[Mail]], RootModel[list[Mail]]([Mail(to=1)]), RootModel[list[Short]])
    assert [Short(to=1)] == root.root


def test_a_validator_of_the_whole_class_takes_a_former_field_over():
    class Moved(BaseModel):
        to: int
        remark: str = "none"

        @model_validator(mode="before")
        @classmethod
        def move(cls, data: Any) -> Any:
            return data | {"remark": data["note"]} if "note" in data else data

    assert Moved(to=1, remark="urgent") == revived(Mail, MAIL, Moved)


def test_a_validator_that_sees_only_the_new_fields_takes_nothing_over():
    class Doubled(BaseModel):
        to: int

        @model_validator(mode="after")
        def look(self) -> Doubled:
            return self

        @field_validator("to", mode="before")
        @classmethod
        def double(cls, value: int) -> int:
            return value

    with pytest.raises(TaskArgumentError, match="Doubled has no 'note' any more"):
        revived(Mail, MAIL, Doubled)


def test_what_is_there_and_not_stored_any_more_is_not_lost():
    class Excluded(BaseModel):
        to: int
        note: str = Field("none", exclude=True)

    assert Excluded(to=1, note="urgent") == revived(Mail, MAIL, Excluded)


def test_a_class_that_takes_any_field_keeps_it():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        to: int

    assert Open(to=1, note="urgent") == revived(Mail, MAIL, Open)  # type: ignore[call-arg]  # extra="allow"


def test_new_fields_and_other_types_are_taken_as_pydantic_takes_them():
    longer = create_model("Longer", __base__=Mail, more=(int, 5), to=(float, ...))

    assert longer(to=1.0, note="urgent", more=5) == revived(Mail, MAIL, longer)


def test_members_of_a_set_may_come_in_any_order():
    other = make_dataclass("Other", [("name", str)], frozen=True)
    kind: Any = set[Parcel | other]
    value = {Parcel(number) for number in range(20)} | {other(str(number)) for number in range(20)}

    assert value == revived(kind, value, kind)
