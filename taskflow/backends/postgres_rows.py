"""The table of tasks in PostgreSQL: how rows are written, read and queried."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

from taskflow.backends.statements import COLUMNS, LISTED, statement
from taskflow.core.exceptions import BackendFormatError
from taskflow.core.models import TaskStatus
from taskflow.core.query import Cursor, TaskQuery, microseconds
from taskflow.persistence.backend import FIXED, Change
from taskflow.persistence.rows import TaskRow

__all__ = ["KIND", "RARE", "Result", "change_arrays", "listing", "row_of", "save_arrays", "searches", "sql"]

KIND: Final = "postgres"

Result: TypeAlias = list[tuple[Any, ...]]
"""The rows that a statement returns."""

TYPES: Final = {
    "created": "bigint",
    "ended": "bigint",
    "duration": "double precision",
    "durable": "boolean",
    "labels": "text[]::jsonb",
    "encrypted": "boolean",
    "payload": "bytea",
}
"""Types of the columns that are not of type text."""

SAVED: Final = tuple(name for name in COLUMNS if name != "held_key")
"""The columns that a save writes."""

CHANGED: Final = tuple(name for name in SAVED if name != "task_id" and name not in FIXED)
"""The columns that a change writes; ``held_key``, which it can only clear, is written apart."""


def _arrays(names: Iterable[str]) -> str:
    # Binary ("b"), because arrays as text must be parsed for quotes. With one array for each column, one
    # statement writes any number of rows.
    return ", ".join(f"%({name})b::{TYPES.get(name, 'text')}[]" for name in names)


NAMED: Final = ", ".join(COLUMNS)

PARTS: Final = {
    "commit": {
        "arrays": _arrays(COLUMNS),
        "updates": ", ".join(f"{name} = locked.{name}" for name in CHANGED),
    },
    "save": {
        "columns": ", ".join(SAVED),
        "arrays": _arrays(SAVED),
        "updates": ", ".join(f"{name} = excluded.{name}" for name in SAVED if name != "task_id"),
    },
}

RARE: Final = 2_000
"""A text that fewer rows may have is looked up. One that many have is soon met from the newest row on."""

INDEXED: Final = re.compile("[0-9a-z]{3}")
"""What a text must have to be looked up: in other languages it depends on the database what a letter is."""

SPECIAL: Final = re.compile(r"[\\%_]")
"""What means something else in a pattern of LIKE."""

HAS_TAG: Final = """(
    labels ? %(tag)s
    OR EXISTS (SELECT FROM jsonb_array_elements_text(labels) AS label WHERE starts_with(label, %(key)s))
)"""


def sql(name: str, schema: str, **parts: str) -> str:
    """The statement ``name`` for the tables of a schema."""
    return statement(KIND, name, schema=schema, **{"columns": NAMED, **PARTS.get(name, {}), **parts})


# Written


def save_arrays(rows: Sequence[TaskRow]) -> dict[str, list[Any]]:
    """Rows as the parameters of ``save.sql``: a list for each column."""
    return _columns(rows, SAVED)


def change_arrays(changes: Sequence[Change]) -> dict[str, list[Any]]:
    """Changes as the parameters of ``commit.sql``."""
    expected = [change.expected or (None, None) for change in changes]
    columns = _columns([change.row for change in changes], COLUMNS) | {
        "expected_owner": [owner for owner, _ in expected],
        "expected_status": [status and status.value for _, status in expected],
    }
    for name in FIXED:  # a change never writes them, and they can be large
        pairs = zip(columns[name], changes, strict=True)
        columns[name] = [value if change.expected is None else None for value, change in pairs]
    # unnest() fills up what is too short with NULL.
    return {name: [] if values.count(None) == len(values) else values for name, values in columns.items()}


def _columns(rows: Sequence[TaskRow], names: tuple[str, ...]) -> dict[str, list[Any]]:
    values = map(attrgetter(*names), rows)
    columns = dict(zip(names, map(list, zip(*values, strict=True)), strict=True))
    columns["status"] = [status.value for status in columns["status"]]
    columns["labels"] = [json.dumps(labels) if labels else "[]" for labels in columns["labels"]]
    # All numbers of an array have one type.
    columns["duration"] = [None if seconds is None else float(seconds) for seconds in columns["duration"]]
    return columns


# Read


def row_of(values: tuple[Any, ...]) -> TaskRow:
    """The row whose columns were read.

    Raises:
        BackendFormatError: they are not what is written.
    """
    row = dict(zip(COLUMNS, values, strict=True))
    try:
        row["status"] = TaskStatus(row["status"])
    except ValueError as error:
        raise BackendFormatError(KIND, f"the row of task {row['task_id']} is damaged: {error}") from error
    return TaskRow(**row | {"labels": tuple(row["labels"])})


# Queried


def searches(query: TaskQuery) -> Iterator[tuple[str, str]]:
    """What the search index can be asked for a query, as the end of a function's name and its argument."""
    if query.tag is not None:
        yield "tag", query.tag
    if query.q is not None and INDEXED.search(query.q.lower()):
        yield "text", f"%{SPECIAL.sub(_escaped, query.q.lower())}%"


def _escaped(special: re.Match[str]) -> str:
    return f"\\{special[0]}"


def listing(query: TaskQuery, schema: str, among: Sequence[str] | None = None) -> tuple[str, dict[str, Any]]:
    """The statement that answers a query, and its parameters.

    Args:
        query: which rows.
        schema: of the tables.
        among: ids of all rows that can match, if they are known: then only those are read.
    """
    parameters: dict[str, Any] = {"limit": query.limit}
    conditions = []
    for condition, values in _conditions(query):
        conditions.append(condition)
        parameters |= values
    if among is not None:
        conditions += ["task_id = ANY(%(among)s)", "(%(any)s OR status = ANY(%(statuses)s))"]
        statuses = [status.value for status in query.status]
        more = {"among": list(among), "statuses": statuses, "any": not statuses}
        return _page(conditions, schema), parameters | more
    if not (statuses := _statuses(query)):
        return _page(conditions, schema), parameters
    page = _page(["status = wanted.status", *conditions], schema)
    return sql("merged", schema, page=page), parameters | {"statuses": statuses}


def _page(conditions: list[str], schema: str) -> str:
    return sql("page", schema, columns=LISTED, conditions=" AND ".join(conditions or ["true"]))


def _statuses(query: TaskQuery) -> list[str]:
    # The index of functions has the status as its second column.
    wanted = query.status or (TaskStatus if query.func_name is not None else ())
    return [status.value for status in set(wanted)]


def _conditions(query: TaskQuery) -> Iterator[tuple[str, dict[str, Any]]]:
    if query.func_name is not None:
        yield "func_name = %(func_name)s", {"func_name": query.func_name}
    if query.since is not None:
        yield "created >= %(since)s", {"since": microseconds(query.since)}
    if place := _upper_bound(query):
        bound = {"created": place.created, "task_id": place.task_id}
        yield "(created, task_id) < (%(created)s, %(task_id)s)", bound
    if query.tag is not None:
        yield HAS_TAG, {"tag": query.tag, "key": f"{query.tag}="}
    if query.q is not None:
        yield "strpos(search, %(q)s) > 0", {"q": query.q.lower()}


def _upper_bound(query: TaskQuery) -> Cursor | None:
    """The lower of the two upper bounds: given both, the index may be entered at the higher one."""
    until = None if query.until is None else Cursor(microseconds(query.until), "")
    return min((place for place in (query.after, until) if place is not None), default=None)
