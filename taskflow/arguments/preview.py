"""Arguments as short texts, for people who look at a task."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["PREVIEW_BYTES", "ArgumentTexts", "argument_preview", "argument_texts"]

TEXT_LENGTH: Final = 1_000
"""Characters of one argument."""

PREVIEW_BYTES: Final = 1_024
"""Bytes of all arguments of a task together that a preview keeps."""

MOST_COUNTED: Final = 64
"""Bytes of them for the remark about those that did not fit."""


@dataclass(frozen=True, slots=True)
class ArgumentTexts:
    """The arguments of a call, each as its `repr`, of a large one the beginning and the end.

    Attributes:
        args: the positional ones.
        kwargs: the named ones.
    """

    args: list[str] = field(default_factory=list)
    kwargs: dict[str, str] = field(default_factory=dict)


class ShortRepr(reprlib.Repr):
    """`repr` of arguments; of large ones only a part, so that answers stay small. Never raises."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 5
        self.maxlong = self.maxstring = self.maxother = TEXT_LENGTH
        self.maxtuple = self.maxlist = self.maxarray = self.maxdict = self.maxset = self.maxfrozenset = 50
        self.maxdeque = 50

    def of(self, value: object) -> str:
        """The `repr` of a value; if it raises, which exception."""
        try:
            text = self.repr(value)
        except KeyboardInterrupt:
            raise
        except BaseException as broken:
            return f"<{type(value).__name__}.__repr__ raised {type(broken).__name__}>"
        return text if len(text) <= TEXT_LENGTH else f"{text[:TEXT_LENGTH]}…"

    def repr_bytes(self, value: bytes | bytearray, _: int) -> str:
        """Without making a text of all bytes first, which can be millions."""
        text = repr(value[:TEXT_LENGTH])
        return text if len(value) <= TEXT_LENGTH else f"{text}… ({len(value):,} bytes)"

    repr_bytearray = repr_bytes


_repr = ShortRepr()


def argument_texts(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ArgumentTexts:
    """Each argument as a text of at most 1,000 characters."""
    named = {name: _repr.of(value) for name, value in kwargs.items()}
    return ArgumentTexts([_repr.of(value) for value in args], named)


def argument_preview(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ArgumentTexts:
    """The arguments as texts of at most 1 KiB together; what does not fit is cut or counted."""
    preview, room = ArgumentTexts(), PREVIEW_BYTES
    for name, value in [*((None, value) for value in args), *kwargs.items()]:
        left = len(args) + len(kwargs) - len(preview.args) - len(preview.kwargs)
        room -= 0 if name is None else len(name.encode(errors="replace"))
        if room <= MOST_COUNTED:
            _put(preview, "…" if name is not None else None, f"… and {left:,} more")
            break
        text = _cut(_repr.of(value), room - MOST_COUNTED)
        room -= len(text.encode(errors="replace"))
        _put(preview, name, text)
    return preview


def _put(preview: ArgumentTexts, name: str | None, text: str) -> None:
    if name is None:
        preview.args.append(text)
    else:
        preview.kwargs[name] = text


def _cut(text: str, octets: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= octets:
        return text
    return f"{encoded[: max(0, octets - 3)].decode(errors='ignore')}…"
