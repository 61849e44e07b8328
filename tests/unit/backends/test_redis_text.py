"""The text that Redis stores: each field of a row has its place, and comes back."""

from __future__ import annotations

import json

from taskflow.backends.redis_text import OTHERS, PLACE, as_insert, as_json, as_update, read_rows
from taskflow.core.models import TaskStatus
from taskflow.persistence.backend import FIXED
from tests.backends import at, row

FULL = row(
    "a",
    TaskStatus.FAILED,
    tags={"customer": "17"},
    payload=b"\xff[1]",
    idempotency_key="k",
    error="No",
    logs=["line"],
    end_time=at(2),
    elapsed=1.5,
)
BARE = row("b", durable=False)


def test_a_row_comes_back_as_it_was():
    for each in (FULL, BARE):
        task_id, place, others = json.loads(as_json(as_insert(each)).decode(errors="surrogateescape"))
        text = json.dumps([[place, [task_id, *(others[name] for name in OTHERS)]]], ensure_ascii=False)
        assert [each] == read_rows(text.encode(errors="surrogateescape"))


def test_every_field_is_told_when_a_row_is_inserted():
    _, place, others = as_insert(FULL)
    assert len(PLACE) == len(place)
    assert set(OTHERS) == others.keys()


def test_a_change_tells_every_field_but_those_that_never_change():
    _, place, others, expected = as_update(FULL, "here", TaskStatus.RUNNING)
    assert as_insert(FULL)[1] == place
    assert set(OTHERS) - set(FIXED) == others.keys()
    assert ("here", "running") == expected
