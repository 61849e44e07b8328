"""Encodes the arguments of a call as JSON, and decodes them by the annotations of the function.

An argument that would not be decoded to the same value of the same type is refused when it is encoded.
There is no pickle: whoever can write to the database cannot run code.

The encoded form is one JSON object::

    {"version": 1, "positional": 1, "typed": {"when": "2026-01-01T00:00:00Z"}, "plain": {"delay": 5},
     "unset": {}}

``positional`` is how many arguments the caller gave by position. ``typed`` arguments are decoded by
their annotation; ``plain`` ones are JSON values that the annotation would change (``5`` for a ``float``).
``unset`` names the fields of pydantic models that were not set, by the model's place in ``typed``, so that
``model_dump(exclude_unset=True)`` gives the same result.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from functools import partial
from types import FunctionType, SimpleNamespace, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NoReturn,
    TypeAlias,
    TypeVar,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, NonNegativeInt, TypeAdapter, ValidationError, with_config
from pydantic_core import PydanticSerializationError, from_json
from typing_extensions import TypedDict  # typing's own does not do for pydantic before Python 3.12

from taskflow.arguments.contents import ReadOnceError, models, refuse_iterators, unset_fields
from taskflow.arguments.difference import Difference, difference, stood_for
from taskflow.arguments.lost import holds_object, lost_field
from taskflow.core.exceptions import TaskArgumentError

__all__ = ["ArgumentCodec"]

VERSION: Final = 1

ALL_ARGUMENTS = "(all)"
"""Given as the parameter in errors about the whole call."""

OBJECTS: Final = ("self", "cls")
"""What methods call the parameter of their object or class."""

# So that bytes that are not UTF-8, nan and inf can be stored.
CONFIG = ConfigDict(
    ser_json_bytes="base64",
    val_json_bytes="base64",
    ser_json_inf_nan="strings",
)

Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]

TypedT = TypeVar("TypedT")
PlainT = TypeVar("PlainT")


# A dataclass, because pydantic does not apply the configuration of a TypedDict to its fields.
@with_config(CONFIG)
@dataclass(slots=True)
class Envelope(Generic[TypedT, PlainT]):
    """The encoded form, as described above; arguments by parameter name."""

    version: Literal[1]
    positional: NonNegativeInt
    typed: TypedT
    plain: PlainT
    unset: dict[str, list[str]]


Arguments: TypeAlias = dict[str, Any]


class ArgumentCodec:
    """Encodes and decodes the arguments of one function. It is slow to make and fast to use.

    Args:
        func: any callable that `inspect.signature` understands.
        func_name: registered name of the task, for the errors.

    Raises:
        TaskArgumentError: the callable has no signature.
    """

    def __init__(self, func: Callable[..., Any], func_name: str) -> None:
        self.func_name = func_name
        try:
            self._signature = _signature(func)
        except Exception as error:
            self._refuse(ALL_ARGUMENTS, f"the function's signature cannot be read: {error}", error)
        namespace = _namespace(func)
        parameters = [Parameter(each, namespace) for each in self._signature.parameters.values()]
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self._adapter = _envelope_adapter(parameters)
        self._empty: bytes | None = None

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The arguments of one call as JSON, after a check that they are decoded unchanged.

        Raises:
            TaskArgumentError: the function cannot be called with them, or an argument cannot be stored
                and decoded unchanged.
        """
        # A call without arguments is encoded, and checked, once.
        if self._empty is not None and not args and not kwargs:
            return self._empty
        values = self._bind(args, kwargs)
        data, defect = self._attempt(len(args), typed=values, plain={})
        if defect is None:
            if not args and not kwargs:
                self._empty = data
            return data
        plain = {name: value for name, value in values.items() if self._is_plain(name, value)}
        typed = {name: value for name, value in values.items() if name not in plain}
        data, defect = self._attempt(len(args), typed=typed, plain=plain)
        if defect is not None:
            self._refuse(ALL_ARGUMENTS, _reason(defect, args))
        return data

    def decode(self, data: bytes) -> Call:
        """The call that `encode` was given: ``(args, kwargs)``.

        Raises:
            TaskArgumentError: the bytes are damaged or of another version, or the function's signature
                or a type in it has changed since.
        """
        try:
            envelope = self._load(data)
        except Exception as error:
            self._refuse(*_decode_failure(data, error), error)
        values = envelope.typed | envelope.plain
        self._check_none_is_lost(data, envelope, values)
        args, kwargs = self._call(values, envelope.positional)
        if self._bind(args, kwargs).keys() != values.keys():
            self._refuse(ALL_ARGUMENTS, "the function's signature has changed since they were stored")
        return args, kwargs

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by parameter name, in the order of the signature; only what the caller gave."""
        try:
            return self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            self._refuse(_quoted_name(str(error)), str(error))

    def _call(self, values: Mapping[str, Any], positional: int) -> Call:
        """Undo `_bind`: the first ``positional`` arguments by position, the others by name."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        by_position = True
        for name, parameter in self._parameters.items():
            if name not in values:
                by_position = False  # after a gap, arguments can only be given by name
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                args.extend(values[name])
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
                kwargs.update(values[name])
            elif by_position and len(args) < positional:
                args.append(values[name])
            else:
                kwargs[name] = values[name]
        return tuple(args), kwargs

    def _attempt(
        self, positional: int, *, typed: Arguments, plain: Arguments
    ) -> tuple[bytes, Difference | Exception | None]:
        """Encode, decode and compare: the bytes, and what is wrong with them."""
        # Serializers, validators and __eq__ of the user may raise anything: that is the defect.
        try:
            refuse_iterators(plain)
            envelope = Envelope(VERSION, positional, typed, plain, unset_fields(typed))
            data = self._dump(envelope)
            revived = self._load(data)
            return data, difference((typed, plain), (revived.typed, revived.plain))
        except Exception as error:
            return b"", error

    def _dump(self, envelope: Envelope[Arguments, Arguments]) -> bytes:
        return self._adapter.dump_json(envelope, by_alias=False, round_trip=True, warnings=False)

    def _load(self, data: bytes) -> Envelope[Arguments, Arguments]:
        # Field names, not aliases: those for reading and for writing may differ.
        envelope = self._adapter.validate_json(data, by_alias=False, by_name=True)
        if envelope.unset:
            for place, model in models(envelope.typed):
                model.model_fields_set.difference_update(envelope.unset.get(place, ()))
        return envelope

    def _check_none_is_lost(
        self, data: bytes, envelope: Envelope[Arguments, Arguments], values: Arguments
    ) -> None:
        # Not with extra="forbid": dataclasses inside the arguments would inherit it.
        stored = from_json(data)
        for name in stored["typed"].keys() | stored["plain"].keys():
            if name not in values:
                self._refuse(name, "the function has no such parameter any more")
        if not any(map(holds_object, stored["typed"].values())):
            return
        try:
            again = from_json(self._dump(envelope))
        except Exception as error:  # a serializer of the user's
            self._refuse(ALL_ARGUMENTS, f"what came back cannot be stored again: {_first_line(error)}", error)
        for name, value in stored["typed"].items():
            lost = lost_field(value, again["typed"][name], envelope.typed[name], envelope.unset, f"/{name}")
            if lost is not None:
                self._refuse(name, _lost_reason(*lost))

    def _is_plain(self, name: str, value: Any) -> bool:
        """Whether an argument must be stored without its annotation; refused if that does not work either."""
        _, defect = self._attempt(0, typed={name: value}, plain={})
        if defect is None:
            return False
        _, plain_defect = self._attempt(0, typed={}, plain={name: value})
        if plain_defect is not None:
            reason = _reason(defect, value) + self._parameters[name].advice(value, defect)
            self._refuse(name, reason, defect if isinstance(defect, Exception) else None)
        return True

    def _refuse(self, parameter: str, reason: str, cause: Exception | None = None) -> NoReturn:
        if isinstance(cause, ValidationError):
            cause = None  # it quotes the value, which may be a secret
        raise TaskArgumentError(self.func_name, parameter, reason) from cause


class Parameter:
    """One parameter of the function, and the type that its argument is stored as.

    Attributes:
        name, kind: as in `inspect.Parameter`.
        type: its annotation, resolved; for ``*args`` a tuple and for ``**kwargs`` a dict of it. `Any` where
            there is none that pydantic can use.
        problem: why its annotation cannot be used; ``""`` if there is no problem.
    """

    def __init__(self, parameter: inspect.Parameter, namespace: dict[str, Any]) -> None:
        self.name, self.kind = parameter.name, parameter.kind
        self.type: Any = self.collected(Any)
        self.problem = ""
        if parameter.annotation is inspect.Parameter.empty:
            return
        try:
            annotation = self.collected(_resolved(parameter.annotation, namespace))
            if _adds_argument(_arguments_type({self.name: annotation})):
                self.problem = "its annotation sets a default, which belongs after the equals sign"
            else:
                self.type = annotation
        except Exception as error:  # forward references, unknown types, hooks of the user's classes
            self.problem = f"its annotation cannot be used: {_first_line(error)}"

    def collected(self, annotation: Any) -> Any:
        """The type of what the function receives in this parameter, if its annotation is ``annotation``."""
        if get_origin(annotation) is Unpack:
            return get_args(annotation)[0]
        if self.kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple[annotation, ...]
        if self.kind is inspect.Parameter.VAR_KEYWORD:
            return dict[str, annotation]
        return annotation

    def advice(self, value: object, defect: Difference | Exception) -> str:
        """What to change in the function's signature so that the argument can be stored; may be ``""``."""
        if isinstance(value, FunctionType) or isinstance(defect, ReadOnceError):
            return ""
        problem = f" ({self.problem})" if self.problem else ""
        if isinstance(defect, Difference) and len(defect.path) == 2 and _changes_type(defect):
            return f"; annotate the parameter as {type(value).__name__}{problem}"
        if self.type == self.collected(Any):
            if self.name in OBJECTS:
                return "; make it a static method or a function, or register the method of one lasting object"
            return f"; annotate the parameter with its type{problem}"
        return ""


def _signature(func: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # annotations are evaluated on access there
        from annotationlib import Format

        return inspect.signature(func, annotation_format=Format.FORWARDREF)
    return inspect.signature(func)


def _namespace(func: Any) -> dict[str, Any]:
    """The globals that the annotations of a callable refer to."""
    while isinstance(func, partial):
        func = func.func
    if inspect.isclass(func):
        func = func.__init__
    elif not inspect.isroutine(func):
        func = type(func).__call__
    namespace: dict[str, Any] = getattr(inspect.unwrap(func), "__globals__", {})
    return namespace


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    holder = SimpleNamespace(__annotations__={"it": annotation})
    return _without_stand_ins(get_type_hints(holder, namespace, include_extras=True)["it"])


def _without_stand_ins(annotation: Any) -> Any:
    """An annotation that was read while a clock was frozen, as it is otherwise."""
    if isinstance(annotation, type) and not get_args(annotation):
        return stood_for(annotation)
    parts = get_args(annotation)
    real = tuple(map(_without_stand_ins, parts))
    if all(new is old for new, old in zip(real, parts, strict=True)):
        return annotation
    origin: Any = get_origin(annotation)
    if origin is UnionType:
        origin = Union
    return Annotated[real] if hasattr(annotation, "__metadata__") else origin[real]


def _arguments_type(types: Mapping[str, Any]) -> Any:
    arguments = TypedDict("Arguments", types, total=False)  # type: ignore[misc]  # made at run time
    return with_config(CONFIG)(arguments)


def _adds_argument(arguments: Any) -> bool:
    """Whether decoding adds arguments that were not given, as ``Annotated[int, Field(default=3)]`` does."""
    return bool(TypeAdapter(arguments).validate_json(b"{}"))


def _envelope_adapter(parameters: list[Parameter]) -> TypeAdapter[Envelope[Any, Any]]:
    typed = _arguments_type({each.name: each.type for each in parameters})
    plain = _arguments_type({each.name: each.collected(Any) for each in parameters})
    generic: Any = Envelope
    return TypeAdapter(generic[typed, plain])


def _reason(defect: Difference | Exception, value: object) -> str:
    """What is wrong with an argument, in words; without the value, which may be a secret."""
    if isinstance(defect, Difference):
        return f"{_place(defect.path)}would come back {_change(defect)}"
    if isinstance(value, FunctionType):
        return f"a {'lambda' if value.__name__ == '<lambda>' else 'function'} cannot be stored"
    if isinstance(defect, ValidationError):
        return f"would not come back: {_first_error(defect)[1]}"
    if isinstance(defect, RecursionError):
        return "cannot be stored: it holds itself, or is nested too deeply"
    if isinstance(defect, PydanticSerializationError | ReadOnceError):
        return f"cannot be stored: {_first_line(defect)}"
    return f"cannot be stored: {type(defect).__name__}: {_first_line(defect)}"


def _lost_reason(kind: type, field: str) -> str:
    shown = field if field.isidentifier() else "..."
    return (
        f"{kind.__name__} has no {shown!r} any more, and what is stored there would be lost: give it back, "
        f'or take it over in a model_validator(mode="before")'
    )


def _change(defect: Difference) -> str:
    given, revived = defect.given, defect.revived
    if defect.path[-1:] == ("._secret_value",):
        return "masked: pass the plain value, and encrypt it with encrypt_args_key"
    if _changes_type(defect):
        return f"as {type(revived).__name__} instead of {type(given).__name__}"
    if isinstance(given, datetime | time) and isinstance(given.tzinfo, ZoneInfo):
        return f"with a fixed offset instead of {given.tzinfo!r}: convert it to UTC"
    return "with another value"


def _changes_type(defect: Difference) -> bool:
    return type(defect.given) is not type(defect.revived)


def _place(path: tuple[str, ...]) -> str:
    inner = "".join(path[2:])  # the first two lead to the parameter
    return f"{inner} " if inner else ""


def _decode_failure(data: bytes, error: Exception) -> tuple[str, str]:
    """Parameter and reason of bytes that could not be decoded."""
    try:
        envelope = from_json(data)
    except ValueError:
        return ALL_ARGUMENTS, "what is stored is not JSON: it is damaged or encrypted"
    if not isinstance(envelope, dict) or "version" not in envelope:
        return ALL_ARGUMENTS, "what is stored is JSON, but not arguments"
    if envelope["version"] != VERSION:
        return ALL_ARGUMENTS, f"stored in version {envelope['version']!r:.20}, this is version {VERSION}"
    if isinstance(error, ValidationError):
        return _first_error(error)
    return ALL_ARGUMENTS, f"cannot be revived: {type(error).__name__}: {_first_line(error)}"


def _first_error(error: ValidationError) -> tuple[str, str]:
    """Parameter and message of the first thing that validation found."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # Keys of a dict may be personal data: only identifiers and numbers are shown.
    location = [part if part.isidentifier() or part.isdecimal() else "..." for part in map(str, first["loc"])]
    if len(location) < 2 or location[0] not in ("typed", "plain"):
        return ALL_ARGUMENTS, f"{'.'.join(location)}: {first['msg']}"
    return location[1], ": ".join(filter(None, [".".join(location[2:]), first["msg"]]))


def _quoted_name(message: str) -> str:
    """The parameter that a ``TypeError`` of `inspect.Signature.bind` names."""
    found = re.search(r"'(\w+)'", message)
    return found[1] if found else ALL_ARGUMENTS


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
