"""The parts of protobuf's wire format that a span needs.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from functools import lru_cache

SINGLE = tuple(bytes([number]) for number in range(128))
"""Numbers below 128 are one byte; nearly all lengths are."""


def varint(number: int) -> bytes:
    """A number that is not negative, seven bits a byte, the lowest first."""
    if number < 128:
        return SINGLE[number]
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(tag: bytes, content: bytes) -> bytes:
    """A field of a length of its own: text, bytes or a message."""
    size = len(content)
    return tag + (SINGLE[size] if size < 128 else varint(size)) + content


def count(tag: bytes, number: int) -> bytes:
    """A number's field; nothing for 0, which is what a reader assumes."""
    return tag + varint(number) if number else b""


@lru_cache(maxsize=1024)
def text(tag: bytes, value: str) -> bytes:
    """The field of a text that comes again and again, such as a span's name; nothing for an empty one.

    Raises:
        UnicodeEncodeError: it holds a lone surrogate.
    """
    return field(tag, value.encode()) if value else b""
