"""Checks of public options. Every error names the parameter, the value and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TypeVar

from taskflow.core.exceptions import ConfigurationError

T = TypeVar("T")

DAY = 86_400.0
CENTURY = 36_500 * DAY
"""Seconds: longer than anybody waits for, and short enough for every clock and every database."""


def check_choice(parameter: str, value: T, choices: Collection[T]) -> T:
    """Return ``value`` if it is one of ``choices``."""
    if value not in tuple(choices):  # a tuple, because the value may not be hashable
        raise ConfigurationError(parameter, value, "must be one of " + ", ".join(map(repr, choices)))
    return value


def check_int(parameter: str, value: int, *, minimum: int) -> int:
    """Return ``value`` if it is a whole number of at least ``minimum`` (``True`` is not a number)."""
    if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
        raise ConfigurationError(parameter, value, f"must be a whole number, at least {minimum}")
    return value


def check_optional_int(parameter: str, value: int | None, *, minimum: int) -> int | None:
    """As `check_int`, with ``None`` allowed."""
    return None if value is None else check_int(parameter, value, minimum=minimum)


def check_seconds(
    parameter: str, value: float, *, minimum: float = 0.0, above: bool = False, maximum: float = CENTURY
) -> float:
    """Return ``value`` if it is a finite number ``>= minimum`` (``> minimum`` with ``above``) and at most
    ``maximum``: durations of more than a hundred years overflow, one here and another there.
    """
    if not _is_finite(value) or value < minimum or (above and value == minimum):
        bound = f"above {minimum:g}" if above else f"at least {minimum:g}"
        raise ConfigurationError(parameter, value, f"must be a finite number, {bound}")
    if value > maximum:
        raise ConfigurationError(parameter, value, f"must be at most {maximum:,.0f}, a hundred years")
    return value


def check_factor(parameter: str, value: float) -> float:
    """Return ``value`` if it is a finite number above 0."""
    return check_seconds(parameter, value, above=True, maximum=math.inf)


def check_days(parameter: str, value: float) -> float:
    """Return ``value`` if it is a number of days above 0 and of at most a hundred years."""
    return check_seconds(parameter, value, above=True, maximum=CENTURY / DAY)


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that is too large for a float
        return False


def check_bool(parameter: str, value: bool) -> bool:
    """Return ``value`` if it is ``True`` or ``False``: a string such as ``"no"`` would count as true."""
    if not isinstance(value, bool):
        raise ConfigurationError(parameter, value, "must be True or False")
    return value


def check_text(parameter: str, value: str) -> str:
    """Return ``value`` if it is text and not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(parameter, value, "must be text that is not empty")
    return value


def check_token(parameter: str, value: str) -> str:
    """Return ``value`` if it is text that an HTTP header can carry: without white space at its ends."""
    if check_text(parameter, value) != value.strip():
        # Not shown, because it is a secret. Most likely it was read from a file that ends in a line feed.
        raise ConfigurationError(parameter, "…", "must not begin or end with white space")
    return value


def check_storable(parameter: str, value: str) -> str:
    """Return ``value`` if every database can store it: no NUL, no lone surrogates."""
    if not is_storable(value):
        raise ConfigurationError(parameter, value, "must be text without NUL and lone surrogates")
    return value


def is_storable(text: str) -> bool:
    """Whether every database can store the text: no NUL, no lone surrogates."""
    return "\0" not in text and is_utf8(text)


def storable(text: str) -> str:
    """The text as every database takes it: without lone surrogates and NUL."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def is_utf8(text: str) -> bool:
    """Whether the text can be encoded as UTF-8: lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def not_installed(parameter: str, package: str, extra: str) -> ConfigurationError:
    """The error for an option that needs a package which is not installed. Never shows the option's value.

    The command installs that package by its own name. This distribution's name would be wrong in it: on the
    package index, another project has that name.

    Args:
        parameter: name of the option.
        package: what pip installs, such as ``"psycopg[binary]"``.
        extra: the extra of this distribution that brings the package.
    """
    wanted = f'pip install "{package}", or install Taskflow with its extra "{extra}"'
    return ConfigurationError(parameter, "<redacted>", f"needs a package that is not installed: {wanted}")
