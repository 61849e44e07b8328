"""What is in arguments, at any depth: the pydantic models, and the iterators that must not be touched."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel

from taskflow.arguments.difference import SCALARS

__all__ = ["ReadOnceError", "models", "refuse_iterators", "unset_fields"]


class ReadOnceError(TypeError):
    """An iterator is in an argument: storing it would read it, and whoever gave it would find it empty."""

    def __init__(self, kind: type) -> None:
        super().__init__(f"an iterator ({kind.__qualname__}) can be read only once: pass a list")


def models(value: object, place: str = "") -> Iterator[tuple[str, BaseModel]]:
    """Every pydantic model in a value whose place in it has a name: members of a set have none.

    Raises:
        ReadOnceError: an iterator is in it.
    """
    parts: Iterable[tuple[object, object]] = ()
    if isinstance(value, BaseModel):
        yield place, value
        parts = (vars(value) | (value.model_extra or {})).items()
    elif isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list | tuple | deque):
        parts = enumerate(value)
    elif isinstance(value, set | frozenset):
        for member in value:
            refuse_iterators(member)
    elif is_dataclass(value) and not isinstance(value, type):
        parts = ((each.name, getattr(value, each.name, None)) for each in fields(value))
    elif _is_iterator(type(value)):
        raise ReadOnceError(type(value))
    for name, part in parts:
        if type(part) not in SCALARS:
            yield from models(part, f"{place}/{name}")


def unset_fields(arguments: dict[str, Any]) -> dict[str, list[str]]:
    """The fields of the models in arguments that were left to their defaults, by the place of the model.

    Raises:
        ReadOnceError: an iterator is in them.
    """
    unset = {
        place: sorted(type(model).model_fields.keys() - model.model_fields_set)
        for place, model in models(arguments)
    }
    return {place: names for place, names in unset.items() if names}


def refuse_iterators(value: object) -> None:
    """Look for iterators, without reading them.

    Raises:
        ReadOnceError: there is one.
    """
    for _ in models(value):
        pass


def _is_iterator(kind: type) -> bool:
    # A class that tells pydantic how it is stored may be one all the same.
    return hasattr(kind, "__next__") and not hasattr(kind, "__get_pydantic_core_schema__")
