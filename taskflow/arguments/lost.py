"""What was stored of an argument and is not in what came back: a field that its class has no more.

Pydantic ignores what it does not know. So a function that was deployed without a field would get the
arguments of stored tasks without what their callers had put into it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import repeat
from typing import Any

from pydantic import BaseModel, RootModel

__all__ = ["holds_object", "lost_field"]


def holds_object(stored: object) -> bool:
    """Whether there is a JSON object in a value: without one, no field can be lost."""
    if isinstance(stored, dict):
        return True
    return isinstance(stored, list) and any(map(holds_object, stored))


def lost_field(
    stored: object, again: object, revived: object, unset: Mapping[str, list[str]], place: str = ""
) -> tuple[type, str] | None:
    """The first field that was lost, and the class that it was stored in; ``None`` if there is none.

    What was left to its default is not lost, nor is what a validator of the whole class has seen before
    (``mode="before"`` or ``"wrap"``): whoever writes one takes care of former fields.

    Args:
        stored: an argument as it was stored, in JSON's own values.
        again: what came back, stored again.
        revived: what came back.
        unset: names of fields that were left to their defaults, by the place of their model.
        place: where ``stored`` is in the arguments.
    """
    if isinstance(revived, RootModel):
        return lost_field(stored, again, revived.root, unset, f"{place}/root")
    if isinstance(stored, dict) and isinstance(again, dict):
        for name in stored.keys() - again.keys():
            if not (
                name in unset.get(place, ()) or name in _names(revived) or _sees_former_fields(type(revived))
            ):
                return type(revived), name
        inside = _parts(stored, revived)
        parts: Any = ((name, stored[name], again[name], inside.get(name)) for name in stored if name in again)
    elif isinstance(stored, list) and isinstance(again, list):
        if isinstance(revived, set | frozenset):  # in any order
            return _lost_in_set(stored, again, revived)
        members = revived if isinstance(revived, list | tuple | deque) else repeat(None)
        parts = zip(range(len(stored)), stored, again, members, strict=False)
    else:
        return None
    for name, value, value_again, part in parts:
        if found := lost_field(value, value_again, part, unset, f"{place}/{name}"):
            return found
    return None


def _lost_in_set(
    stored: list[Any], again: list[Any], revived: set[Any] | frozenset[Any]
) -> tuple[type, str] | None:
    kept = {name for each in again if isinstance(each, dict) for name in each}
    for name in (name for each in stored if isinstance(each, dict) for name in each):
        if name not in kept and not any(_sees_former_fields(type(each)) for each in revived):
            return type(next(iter(revived))), name
    return None


def _names(value: object) -> set[str]:
    if isinstance(value, BaseModel):
        return type(value).model_fields.keys() | (value.model_extra or {}).keys()
    if is_dataclass(value):
        return {each.name for each in fields(value)}
    return set()


def _parts(stored: dict[str, Any], value: object) -> dict[str, object]:
    """What is in a value, by the name under which it was stored."""
    if not isinstance(value, dict):
        return {name: getattr(value, name, None) for name in _names(value)}
    if len(value) == len(stored):  # keys are text in JSON, whatever they are here: the order tells
        return dict(zip(stored, value.values(), strict=True))
    return value


def _sees_former_fields(kind: type) -> bool:
    decorators = getattr(kind, "__pydantic_decorators__", None)
    if decorators is None:
        return False
    return any(each.info.mode != "after" for each in decorators.model_validators.values())
