from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from taskflow import ConfigurationError
from taskflow.core.checks import (
    CENTURY,
    check_bool,
    check_choice,
    check_days,
    check_factor,
    check_int,
    check_optional_int,
    check_seconds,
    check_text,
    check_token,
)


def test_right_values_are_returned_as_they_are():
    values = [
        check_choice("mode", "a", ("a", "b")),
        check_int("size", 3, minimum=3),
        check_optional_int("size", None, minimum=1),
        check_optional_int("size", 1, minimum=1),
        check_seconds("delay", 0.5),
        check_seconds("delay", 0),
        check_bool("flag", False),
        check_text("name", " a "),
    ]

    assert ["a", 3, None, 1, 0.5, 0, False, " a "] == values


def test_a_choice_may_be_anything_also_where_the_choices_are_the_keys_of_a_dict():
    with pytest.raises(ConfigurationError, match=r"^format=\[\]: must be one of 'text'$"):
        check_choice("format", [], {"text": 1})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["s3cret\n", " s3cret", "s3cret\t"])
def test_a_token_with_white_space_at_its_ends_is_refused_without_being_shown(value: str):
    with pytest.raises(
        ConfigurationError, match=r"^token=.*must not begin or end with white space$"
    ) as caught:
        check_token("token", value)
    assert "s3cret" not in str(caught.value)


def test_a_choice_names_what_there_is_to_choose_from():
    with pytest.raises(ConfigurationError, match=r"^mode='c': must be one of 'a', 'b'$"):
        check_choice("mode", "c", ("a", "b"))


@pytest.mark.parametrize("value", [2, 3.0, "3", None, True, math.inf])
def test_a_whole_number_is_none_of_these(value: object):
    with pytest.raises(ConfigurationError, match=r"must be a whole number, at least 3$"):
        check_int("size", value, minimum=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [-1, math.inf, -math.inf, math.nan, "1", None, True, 1j, pytest.param(10**400, id="too-large")]
)
def test_seconds_are_none_of_these(value: object):
    with pytest.raises(ConfigurationError, match=r"must be a finite number, at least 0$"):
        check_seconds("delay", value)  # type: ignore[arg-type]


def test_seconds_above_a_bound_exclude_it():
    with pytest.raises(ConfigurationError, match=r"^interval=1: must be a finite number, above 1$"):
        check_seconds("interval", 1, minimum=1, above=True)


@pytest.mark.parametrize(
    ("check", "longest", "unit"),
    [(check_seconds, CENTURY, "3,153,600,000"), (check_days, 36_500, "36,500")],
)
def test_a_duration_is_at_most_a_hundred_years(
    check: Callable[[str, float], float], longest: float, unit: str
):
    assert longest == check("interval", longest)
    for value in (longest * 1.001, 1e300):
        with pytest.raises(ConfigurationError, match=rf"must be at most {unit}, a hundred years$"):
            check("interval", value)


def test_a_factor_is_no_duration():
    assert 1e300 == check_factor("backoff", 1e300)
    with pytest.raises(ConfigurationError, match=r"^backoff=0: must be a finite number, above 0$"):
        check_factor("backoff", 0)


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_a_flag_is_none_of_these(value: object):
    with pytest.raises(ConfigurationError, match=r"must be True or False$"):
        check_bool("flag", value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", " \n", b"x", 1, None])
def test_text_is_none_of_these(value: object):
    with pytest.raises(ConfigurationError, match=r"must be text that is not empty$"):
        check_text("name", value)  # type: ignore[arg-type]
