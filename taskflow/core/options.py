"""What can be said about how a task is executed, on the decorator or for one call; and how tasks are kept.

Each option is one field of `TaskOptions`: its name, its type, its default, its check, and where it may
be said. Whoever takes options takes one `TaskOptions`; nobody lists them again.

What was said for the call counts before what the decorator says, and that before the default.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from enum import Enum, Flag, auto
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, cast

from taskflow.core.checks import (
    check_bool,
    check_days,
    check_factor,
    check_int,
    check_seconds,
    check_storable,
    check_text,
)
from taskflow.core.exceptions import ConfigurationError

__all__ = [
    "DEFAULTS",
    "NOTHING",
    "PersistenceOptions",
    "TaskConfig",
    "TaskOptions",
    "Where",
    "accepting",
]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

MAX_DELAY: Final = 10 * 365 * 86400.0
"""Ten years in seconds: an exponential backoff that overflows must still be a number to wait for."""


class Unsaid(Enum):
    """Stands for an option of which nothing was said: ``None`` is a value like others."""

    UNSAID = "unsaid"


UNSAID: Final = Unsaid.UNSAID


class Where(Flag):
    """Where an option may be said."""

    DECORATOR = auto()
    CALL = auto()
    ANYWHERE = DECORATOR | CALL


@dataclass(frozen=True, slots=True)
class Option:
    """What there is to know of one option.

    Attributes:
        default: its value where nothing was said.
        check: called with its name and a value; raises `ConfigurationError`.
        where: where it may be said.
        stored: whether a row keeps it as JSON, when it was said for the call.
    """

    default: Any
    check: Callable[[str, Any], object]
    where: Where
    stored: bool


def _option(
    default: Any,
    check: Callable[[str, Any], object],
    where: Where = Where.ANYWHERE,
    *,
    stored: bool | None = None,
) -> Any:
    if stored is None:  # what only the decorator says comes from the version of the code that runs
        stored = Where.CALL in where
    return field(default=UNSAID, metadata={"option": Option(default, check, where, stored)})


def _check_name(parameter: str, value: str | None) -> None:
    if value is not None:
        check_storable(parameter, check_text(parameter, value))


def _check_key(parameter: str, value: str | None) -> None:
    if value is None:
        return
    if not isinstance(value, str) or not value:
        raise ConfigurationError(parameter, value, "must be text that is not empty")
    check_storable(parameter, value)


def _check_tags(parameter: str, value: Mapping[str, str] | None) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise ConfigurationError(parameter, value, "must be a dict of text to text")
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            kinds = f"{type(key).__name__}: {type(text).__name__}"
            raise ConfigurationError(parameter, kinds, "keys and values must be text")


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What was said about how a task is executed; an option of which nothing was said is `UNSAID`.

    Attributes:
        retries: further attempts after the first failure.
        delay: seconds before the first retry.
        backoff: factor on ``delay`` for each further retry.
        persist: keep the task so that it survives a crash; needs a backend.
        name: registered name; the function's ``__name__`` if ``None``. On the decorator only.
        requeue_on_interrupt: run again from scratch if it was mid-execution when its process stopped.
            Only for functions that may run twice.
        idempotency_key: while a pending, running, retrying or successful task has this key, nothing is
            run, and that task's id is returned. For a call only.
        tags: labels that go to every observer. For a call only.

    Raises:
        ConfigurationError: a value is out of range or of the wrong type.
    """

    retries: int = _option(0, partial(check_int, minimum=0))
    delay: float = _option(0.0, partial(check_seconds, maximum=math.inf))  # `retry_delay` bounds it
    backoff: float = _option(1.0, check_factor)
    persist: bool = _option(False, check_bool)
    name: str | None = _option(None, _check_name, Where.DECORATOR)
    requeue_on_interrupt: bool = _option(False, check_bool)
    _: KW_ONLY
    # The record has a field for each of these two.
    idempotency_key: str | None = _option(None, _check_key, Where.CALL, stored=False)
    tags: Mapping[str, str] | None = _option(None, _check_tags, Where.CALL, stored=False)

    def __post_init__(self) -> None:
        for name, value in self.said():
            OPTIONS[name].check(name, value)

    def said(self) -> list[tuple[str, Any]]:
        """The options of which something was said, each with its value."""
        return [(name, value) for name in OPTIONS if (value := getattr(self, name)) is not UNSAID]

    def check_where(self, where: Where) -> Self:
        """Return the options, if all that was said may be said there.

        Raises:
            ConfigurationError: an option belongs elsewhere.
        """
        for name, value in self.said():
            if where not in OPTIONS[name].where:
                only = "for the function, on its decorator" if where is Where.CALL else "for a call"
                raise ConfigurationError(name, value, f"can only be said {only}")
        return self

    def over(self, others: TaskOptions) -> TaskOptions:
        """These options; what they leave unsaid is as ``others`` say."""
        return replace(others, **dict(self.said()))

    def to_json(self) -> dict[str, Any] | None:
        """What a row keeps of what was said for a call; ``None`` if that is nothing."""
        return {name: value for name, value in self.said() if OPTIONS[name].stored} or None

    @classmethod
    def from_json(cls, kept: Mapping[str, Any] | None) -> TaskOptions:
        """The options that `to_json` has kept.

        Raises:
            ConfigurationError: this version does not know one of them, or its value.
        """
        unknown = sorted(kept.keys() - STORED) if kept else None
        if unknown:
            raise ConfigurationError(unknown[0], (kept or {})[unknown[0]], "is no option of this version")
        return cls(**kept) if kept else NOTHING

    def retry_delay(self, retry: int) -> float:
        """Seconds to wait before retry number ``retry`` (0 for the first)."""
        return retry_delay(self.delay, self.backoff, retry)


OPTIONS: Final[Mapping[str, Option]] = {f.name: f.metadata["option"] for f in fields(TaskOptions)}
STORED: Final = frozenset(name for name, option in OPTIONS.items() if option.stored)

NOTHING: Final = TaskOptions()
"""Nothing was said."""

DEFAULTS: Final = TaskOptions(**{name: option.default for name, option in OPTIONS.items()})
"""What counts where nothing was said."""


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """How a registered function is executed: the part of `TaskOptions` that `TaskRegistry` takes.

    Attributes:
        retries: further attempts after the first failure.
        delay: seconds before the first retry.
        backoff: factor on ``delay`` for each further retry: retry n (from 0) waits
            ``delay * backoff**n`` seconds.
        persist: keep the task so that it survives a crash (needs a backend).
        name: registered name; the function's ``__name__`` if ``None``.
        requeue_on_interrupt: run again from scratch if it was mid-execution when the process
            stopped. Only for functions that may run twice.

    Raises:
        ConfigurationError: a value is out of range or of the wrong type.
    """

    retries: int = 0
    delay: float = 0.0
    backoff: float = 1.0
    persist: bool = False
    name: str | None = None
    requeue_on_interrupt: bool = False

    def __post_init__(self) -> None:
        self.options()

    def options(self) -> TaskOptions:
        """The same as `TaskOptions`."""
        return TaskOptions(**{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def of(cls, options: TaskOptions) -> TaskConfig:
        """What the contract's part of some options says; none of it may be unsaid."""
        return cls(**{f.name: getattr(options, f.name) for f in fields(cls)})

    def retry_delay(self, retry: int) -> float:
        """Seconds to wait before retry number ``retry`` (0 for the first): ``delay * backoff**retry``."""
        return retry_delay(self.delay, self.backoff, retry)


def retry_delay(delay: float, backoff: float, retry: int) -> float:
    """Seconds to wait before retry number ``retry``, from 0: ``delay * backoff**retry``."""
    if not delay:
        return 0.0
    try:
        return min(float(delay * backoff**retry), MAX_DELAY)
    except OverflowError:
        return MAX_DELAY


def accepting(
    options: Callable[P, TaskOptions],
) -> Callable[[Callable[[S, TaskOptions], R]], Callable[Concatenate[S, P], R]]:
    """Let a method that takes a `TaskOptions` be called with the options themselves, typed as they are."""

    def decorate(method: Callable[[S, TaskOptions], R]) -> Callable[Concatenate[S, P], R]:
        @functools.wraps(method)
        def take(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
            return method(self, options(*args, **kwargs))

        taken = inspect.signature(TaskOptions).parameters.values()
        own = next(iter(inspect.signature(method).parameters.values()))
        vars(take)["__signature__"] = inspect.Signature([own, *taken])
        return cast("Callable[Concatenate[S, P], R]", take)

    return decorate


SECONDS: Final = (
    "snapshot_interval",
    "heartbeat_interval",
    "lease_timeout",
    "max_loop_stall",
    "rescue_interval",
)
"""The options that are seconds, above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistenceOptions:
    """Intervals, timeouts and limits of persistence; see the parameters of `TaskManager`.

    Raises:
        ConfigurationError: a value is out of range.
    """

    snapshot_interval: float = 60.0
    retention_days: float | None = None
    heartbeat_interval: float = 10.0
    lease_timeout: float = 30.0
    max_loop_stall: float = 600.0
    rescue_interval: float = 5.0
    max_rescues: int = 3

    def __post_init__(self) -> None:
        for name in SECONDS:
            check_seconds(name, getattr(self, name), above=True)
        if self.retention_days is not None:
            check_days("retention_days", self.retention_days)
        check_int("max_rescues", self.max_rescues, minimum=1)
        if self.lease_timeout < 2 * self.heartbeat_interval:
            allowed = f"must be at least twice the heartbeat_interval of {self.heartbeat_interval:g} seconds"
            raise ConfigurationError("lease_timeout", self.lease_timeout, allowed)
