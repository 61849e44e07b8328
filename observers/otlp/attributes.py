"""The attributes of spans, events and links as protobuf: plain values, of which nearly all are.

Source: https://github.com/open-telemetry/opentelemetry-proto, ``common/v1/common.proto``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from struct import Struct

from taskflow.observers.otlp.wire import SINGLE, field, varint

_KEY, _VALUE = b"\x0a", b"\x12"
_STRING, _INT, _ARRAY, _BYTES = b"\x0a", b"\x18", b"\x2a", b"\x3a"
_TRUE, _FALSE = b"\x10\x01", b"\x10\x00"
_DOUBLE = Struct("<cd").pack

INT64 = 2**63


class UnusualError(Exception):
    """A value that only the official encoder knows how to write, or to refuse."""


def add_attributes(tag: bytes, attributes: Mapping[str, object], parts: list[bytes]) -> None:
    """Append each attribute as a field ``tag``.

    Raises:
        UnusualError: one of them is not plain.
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    # A copy, because a loop over the SDK's own mapping calls Python code for each of its items.
    for key, value in attributes.copy().items():  # type: ignore[attr-defined] # every mapping of the SDK has it
        if type(value) is str:
            content = value.encode()
            parts += (_before_text(tag, key, len(content)), content)
        else:
            content = _any_value(value)
            parts += (_before(tag, key, len(content)), content)


# What comes before a value: few keys and sizes are seen again and again, and the values need not be kept.


@lru_cache(maxsize=4096)
def _before_text(tag: bytes, key: str, size: int) -> bytes:
    inner = _STRING + varint(size)
    return _before(tag, key, len(inner) + size) + inner


@lru_cache(maxsize=4096)
def _before(tag: bytes, key: str, size: int) -> bytes:
    if type(key) is not str or not key:
        raise UnusualError
    inner = field(_KEY, key.encode()) + _VALUE + varint(size)
    return tag + varint(len(inner) + size) + inner


def _any_value(value: object) -> bytes:
    encode = _ENCODERS.get(type(value))
    if encode is None:
        raise UnusualError
    return encode(value)


def _string(value: str) -> bytes:
    return field(_STRING, value.encode())


def _integer(value: int) -> bytes:
    if 0 <= value < 128:
        return _INT + SINGLE[value]
    if not -INT64 <= value < INT64:
        raise UnusualError
    return _INT + varint(value if value >= 0 else value + 2 * INT64)


def _array(values: tuple[object, ...]) -> bytes:
    if any(type(value) is tuple for value in values):
        raise UnusualError  # how deep it may go is the official encoder's business
    return field(_ARRAY, b"".join([field(b"\x0a", _any_value(value)) for value in values]))


_ENCODERS: Mapping[type, Callable[..., bytes]] = {
    str: _string,
    bool: lambda value: _TRUE if value else _FALSE,
    int: _integer,
    float: lambda value: _DOUBLE(b"\x21", value),
    bytes: lambda value: field(_BYTES, value),
    tuple: _array,
    type(None): lambda _: b"",
}
