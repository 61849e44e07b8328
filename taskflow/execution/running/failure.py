"""Why an attempt failed, told in text; and logged.

An exception is an object of somebody else's: its ``__str__`` may raise, its class may lie about its name,
its attributes may be anything. Nothing here raises because of that: a failure that cannot be described is a
failure all the same, with its type, and a text that says what was wrong with it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, TypeVar

from taskflow.core.models import Failure
from taskflow.core.names import class_name, qualified_name

__all__ = ["describe", "log_failure"]

T = TypeVar("T")

STACKTRACE_BYTES: Final = 64 * 1024
"""Bytes that are kept of a traceback, and of an exception's text."""

LEAVES: Final = 10
"""Exceptions of a group that its text tells of."""

LEAF_TEXT: Final = 500
"""Characters that it tells of each: what comes first can be searched."""

LEAF_TYPES: Final = 3
"""Types of them that the type of the failure tells of: it is a label of metrics."""

# As `BaseException` itself knows them: a class of somebody else's may say anything.
_TRACEBACK = vars(BaseException)["__traceback__"]
_MEMBERS = vars(BaseExceptionGroup)["exceptions"]


def describe(exc: BaseException) -> Failure:
    """An exception in text. Never raises, but for a `KeyboardInterrupt` that comes meanwhile."""
    return _fenced(
        lambda: Failure(_capped(_error(exc)), _error_type(exc), _capped(_stacktrace(exc))),
        lambda broken: Failure(f"<{_named(broken)} when it was described>", qualified_name(type(exc)), ""),
    )


def log_failure(logger: logging.Logger, level: int, exc: BaseException, message: str, *args: object) -> None:
    """Log a message with an exception. Never raises, but for a `KeyboardInterrupt`.

    A filter of the application's that raises loses its line, as a handler does, and must not change what
    becomes of a task. It is told as a handler's failure is: on ``sys.stderr``, unless
    ``logging.raiseExceptions`` is false.
    """
    try:
        if not logger.isEnabledFor(level):
            return
        own = _own_traceback(exc)
        if _fenced(lambda: bool(_formatted(exc, own)), lambda _: False):
            logger.log(level, message, *args, exc_info=(type(exc), exc, own), stacklevel=2)
        else:  # the handlers would fail, and the line be lost
            with_text = f"{message}\n%s"
            logger.log(level, with_text, *args, _stacktrace(exc), stacklevel=2)
    except KeyboardInterrupt:
        raise
    except BaseException:
        record = logging.LogRecord(logger.name, level, __file__, 0, message, args, None)
        _fenced(lambda: logging.NullHandler().handleError(record), lambda _: None)


def _fenced(work: Callable[[], T], otherwise: Callable[[BaseException], T]) -> T:
    """Do what may run code of the exception's class; or, if that raises, what to do then."""
    try:
        return work()
    except KeyboardInterrupt:
        raise
    except BaseException as broken:
        return otherwise(broken)


# ---- text and type ----


def _error(exc: BaseException) -> str:
    text = _text(exc)
    if not _is_group(exc):
        return text
    leaves = list(_leaves(exc))
    told = [f"{_named(leaf)}: {_text(leaf)[:LEAF_TEXT]}" for leaf in leaves[:LEAVES]]
    if len(leaves) > LEAVES:
        told.append(f"and {len(leaves) - LEAVES} more")
    return f"{text}: {'; '.join(told)}"


def _text(exc: BaseException) -> str:
    return _fenced(
        # The class's own text may be a str with methods of its own.
        lambda: str.__str__(str(exc)),
        lambda broken: f"<{class_name(type(exc))}.__str__ raised {class_name(type(broken))}>",
    )


def _error_type(exc: BaseException) -> str:
    if not _is_group(exc):
        return _named(exc)
    kinds = sorted({_named(leaf) for leaf in _leaves(exc)})
    if len(kinds) == 1:
        return kinds[0]
    if len(kinds) > LEAF_TYPES:
        kinds = [*kinds[:LEAF_TYPES], "…"]
    return f"{_named(exc)}[{', '.join(kinds)}]"


def _named(exc: BaseException) -> str:
    return qualified_name(type(exc))


def _is_group(exc: BaseException) -> bool:
    return issubclass(type(exc), BaseExceptionGroup)


def _leaves(group: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group and the groups in it, in order; without recursion, which has an end."""
    waiting = [group]
    while waiting:
        exc = waiting.pop()
        if _is_group(exc):
            waiting.extend(reversed(_MEMBERS.__get__(exc)))
        else:
            yield exc


# ---- traceback ----


def _own_traceback(exc: BaseException) -> TracebackType | None:
    """The traceback from the task function on, or from its outermost middleware: what is before is ours."""
    frame: TracebackType | None = _TRACEBACK.__get__(exc)
    while frame is not None and frame.tb_frame.f_globals.get("__package__") == __package__:
        frame = frame.tb_next
    return frame


def _stacktrace(exc: BaseException) -> str:
    own = _own_traceback(exc)
    return _fenced(lambda: _formatted(exc, own), lambda broken: _frames_alone(exc, own, broken))


def _formatted(exc: BaseException, own: TracebackType | None) -> str:
    return "".join(traceback.format_exception(type(exc), exc, own))


def _frames_alone(exc: BaseException, own: TracebackType | None, broken: BaseException) -> str:
    """The traceback of an exception that Python's own printer fails on: without causes, notes and members."""
    frames = "".join(_fenced(lambda: traceback.format_tb(own), lambda _: []))
    return f"{frames}{_named(exc)}: {_text(exc)}\n(and no more: {_named(broken)} when it was formatted)\n"


def _capped(text: str) -> str:
    """The text within its limit; of a long traceback the end says most, so the middle is cut."""
    octets = text.encode(errors="replace")
    if len(octets) <= STACKTRACE_BYTES:
        return text
    half = STACKTRACE_BYTES // 2
    head, tail = (part.decode(errors="ignore") for part in (octets[:half], octets[-half:]))
    return f"{head}\n… cut …\n{tail}"
