from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from taskflow import ConfigurationError, TaskConfig, TaskOptions
from taskflow.core.options import DEFAULTS, NOTHING, OPTIONS, Where, accepting

PAGE = Path(__file__).parents[3] / "docs/how-to/options.md"


def test_nothing_is_said_until_it_is():
    assert ([], [("retries", 0)]) == (NOTHING.said(), TaskOptions(retries=0).said())


def test_what_is_said_counts_before_what_lies_below():
    options = TaskOptions(retries=2).over(TaskOptions(retries=1, delay=5.0)).over(DEFAULTS)

    assert (2, 5.0, 1.0, None) == (options.retries, options.delay, options.backoff, options.name)


def test_none_can_be_said():
    assert [("tags", None)] == TaskOptions(tags=None).said()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"retries": -1}, "^retries=-1: .*at least 0"),
        ({"delay": float("nan")}, "^delay=nan: "),
        ({"backoff": 0}, "^backoff=0: .*above 0"),
        ({"persist": "no"}, "^persist='no': .*True or False"),
        ({"name": ""}, "^name='': "),
        ({"requeue_on_interrupt": 1}, "^requeue_on_interrupt=1: "),
        ({"idempotency_key": ""}, "^idempotency_key='': .*not empty"),
        ({"idempotency_key": "a\0b"}, "^idempotency_key=.*NUL"),
        ({"tags": {"a": 1}}, "^tags='str: int': .*text"),
        ({"tags": "a"}, "^tags='a': .*dict"),
    ],
)
def test_a_wrong_value_is_refused_by_name(said: dict[str, Any], message: str):
    with pytest.raises(ConfigurationError, match=message):
        TaskOptions(**said)


def test_an_option_that_belongs_to_the_function_is_refused_for_a_call():
    with pytest.raises(ConfigurationError, match=r"^name='x': can only be said for the function"):
        TaskOptions(name="x").check_where(Where.CALL)


def test_an_option_that_belongs_to_a_call_is_refused_on_the_decorator():
    with pytest.raises(ConfigurationError, match=r"^tags=.*can only be said for a call"):
        TaskOptions(tags={}).check_where(Where.DECORATOR)


def test_what_was_said_comes_back_from_json():
    said = TaskOptions(retries=3, delay=1.5, persist=True)

    assert said == TaskOptions.from_json(json.loads(json.dumps(said.to_json())))


def test_key_and_tags_are_not_stored_twice():
    assert TaskOptions(idempotency_key="a", tags={"b": "c"}).to_json() is None


@pytest.mark.parametrize("kept", [{"colour": "red"}, {"name": "x"}])
def test_an_option_that_this_version_does_not_store_is_refused(kept: dict[str, Any]):
    with pytest.raises(ConfigurationError, match="is no option of this version"):
        TaskOptions.from_json(kept)


def test_the_contracts_configuration_says_the_same():
    config = TaskConfig(2, 1.0, 3.0, True, "mail", True)

    assert config == TaskConfig.of(config.options().over(DEFAULTS))


def test_a_method_that_accepts_options_shows_them_in_its_signature():
    class Thing:
        @accepting(TaskOptions)
        def with_options(self, options: TaskOptions) -> TaskOptions:
            """Give them back."""
            return options

    assert TaskOptions(retries=1) == Thing().with_options(retries=1)
    assert list(OPTIONS) == list(inspect.signature(Thing().with_options).parameters)


def test_the_page_names_every_option_and_where_it_may_be_said():
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| (yes|no) \| (yes|no) \|$", PAGE.read_text(), re.MULTILINE)
    told = {name: (decorator, call) for name, decorator, call in rows}

    assert told == {
        name: tuple("yes" if where in option.where else "no" for where in (Where.DECORATOR, Where.CALL))
        for name, option in OPTIONS.items()
    }
