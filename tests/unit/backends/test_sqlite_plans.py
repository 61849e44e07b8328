"""`SqliteBackend` asks an index, however long the history: what SQLite says of its plans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskflow import TaskStatus
from taskflow.backends.sqlite_file import SqliteFile
from taskflow.backends.sqlite_rows import listing
from taskflow.backends.statements import statement
from taskflow.core.query import Cursor, TaskQuery
from taskflow.persistence.rows import LEFT_OUT
from tests.backends import at

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


HISTORY_QUESTIONS = [
    TaskQuery(),
    TaskQuery(after=Cursor(1, "a")),
    TaskQuery(since=at(0), until=at(1)),
    TaskQuery(since=at(0), until=at(9), after=Cursor(1, "a")),
    TaskQuery(status=[FAILED]),
    TaskQuery(status=[SUCCESS, FAILED], after=Cursor(1, "a")),
    TaskQuery(status=[INTERRUPTED], until=at(1)),
    TaskQuery(func_name="work", status=[SUCCESS], since=at(0)),
    TaskQuery(func_name="work", status=[SUCCESS, FAILED, CANCELLED, INTERRUPTED], after=Cursor(1, "a")),
]


@pytest.fixture
def plan(path: Path) -> Iterator[Callable[[str, Any], list[str]]]:
    """What SQLite is going to do for a statement."""
    with closing(SqliteFile(path, 5.0).connect()) as connection:

        def explain(text: str, parameters: Any) -> list[str]:
            return [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {text}", parameters)]

        yield explain


@pytest.mark.parametrize("query", HISTORY_QUESTIONS, ids=str)
def test_a_page_of_history_is_walked_in_the_order_of_an_index(
    plan: Callable[[str, Any], list[str]], query: TaskQuery
):
    steps = plan(*listing(query, "default"))
    assert [] == [step for step in steps if "TEMP B-TREE" in step or step == "SCAN tasks"]
    bounds = [step for step in steps if "SEARCH" in step or "SCAN" in step]
    if query.after is not None:
        assert all("(created,task_id)<(?,?)" in step for step in bounds)
    elif query.until is not None:
        assert all("created<?" in step for step in bounds)


@pytest.mark.parametrize(
    "query", [TaskQuery(status=[PENDING]), TaskQuery(func_name="work", status=[RUNNING, RETRYING])], ids=str
)
def test_what_is_open_is_found_without_the_history(plan: Callable[[str, Any], list[str]], query: TaskQuery):
    steps = [step for step in plan(*listing(query, "default")) if "tasks" in step]
    assert ["SEARCH tasks USING INDEX tasks_owned (namespace=? AND owner>?)"] == steps


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ownerless", {"namespace": "default", "now": 0}),
        ("unclaimable", {"namespace": "default", "owners": "[]", "names": "[]"}),
    ],
)
def test_rows_without_an_owner_are_found_without_the_history(
    plan: Callable[[str, Any], list[str]], name: str, parameters: dict[str, Any]
):
    steps = [step for step in plan(statement("sqlite", name), parameters) if " tasks " in step]
    assert steps
    assert all(step.startswith("SEARCH tasks") and "INDEX tasks_owned" in step for step in steps)


def test_the_history_is_counted_without_reading_its_rows(plan: Callable[[str, Any], list[str]]):
    steps = plan(statement("sqlite", "count"), {"namespace": "default"})
    assert "SEARCH tasks USING COVERING INDEX tasks_of_status (namespace=?)" in steps


def test_what_a_list_does_not_show_comes_after_all_that_it_shows(path: Path):
    # SQLite reads a row from its beginning: what is large and comes first is read as well.
    with closing(SqliteFile(path, 5.0).connect()) as connection:
        names = [name for _, name, *_ in connection.execute("PRAGMA table_info(tasks)")]
    assert set(LEFT_OUT) == set(names[-len(LEFT_OUT) :])
