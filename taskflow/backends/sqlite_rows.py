"""The table of tasks in SQLite: how rows are written, read and queried."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final

from taskflow.backends.sqlite_file import KIND
from taskflow.backends.statements import COLUMNS, LISTED, statement
from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.core.query import TaskQuery, microseconds
from taskflow.persistence.backend import FIXED
from taskflow.persistence.rows import TaskRow

__all__ = ["INSERT", "NAMED", "SAVE", "insert_values", "listing", "row_of", "save_values", "update"]

NAMED: Final = ", ".join(COLUMNS)

SAVED = [name for name in COLUMNS if name != "held_key"]
CHANGED = [name for name in SAVED if name not in ("task_id", *FIXED)]
ADVANCED = [name for name in CHANGED if name != "owner"]


# Written: statements and their parameters


def _places(names: Sequence[str]) -> dict[str, str]:
    return {"columns": ", ".join(names), "values": ", ".join("?" for _ in names)}


INSERT: Final = statement(KIND, "insert", **_places((*COLUMNS, "namespace")))
"""Takes `insert_values`, and the namespace."""

SAVE: Final = statement(
    KIND,
    "save",
    updates=", ".join(f"{name} = excluded.{name}" for name in SAVED if name != "task_id"),
    **_places((*SAVED, "namespace")),
)
"""Takes `save_values`, and the namespace."""


def _getter(names: Sequence[str]) -> Callable[[TaskRow], tuple[Any, ...]]:
    # sqlite3 is faster with a plain str than with the str subclass of an enum.
    return attrgetter(*("status.value" if name == "status" else name for name in names))


def _with_labels(names: Sequence[str]) -> Callable[[TaskRow], tuple[Any, ...]]:
    plain, place = _getter(names), names.index("labels")

    def values(row: TaskRow) -> tuple[Any, ...]:
        found = plain(row)
        return (*found[:place], _labels_text(row.labels), *found[place + 1 :])

    return values


insert_values = _with_labels(COLUMNS)
save_values = _with_labels(SAVED)


class _Update:
    """Writes some columns of a row, if it has the expected owner and status."""

    def __init__(self, names: Sequence[str]) -> None:
        self.text = statement(KIND, "change", updates=", ".join(f"{name} = ?" for name in names))
        self.values = _getter([*names, "held_key", "task_id"])


_change, _advance = _Update(CHANGED), _Update(ADVANCED)


def update(row: TaskRow, owner: str, status: TaskStatus, namespace: str) -> tuple[str, tuple[Any, ...]]:
    """The statement that writes ``row`` over the one with this owner and status, and its parameters."""
    # Assigning a column also writes its indexes, even if the value is the same.
    kind = _advance if row.owner == owner else _change
    return kind.text, (*kind.values(row), owner, status.value, namespace)


def _labels_text(labels: tuple[str, ...]) -> str:
    """Each label as a JSON string after a line feed. JSON strings have none, so that a label can be found."""
    return "".join("\n" + json.dumps(label) for label in labels)


# Read


def row_of(values: tuple[Any, ...]) -> TaskRow:
    """The row whose columns were read.

    Raises:
        ValueError: they are not what was written.
    """
    row = dict(zip(COLUMNS, values, strict=True))
    try:
        row["status"] = TaskStatus(row["status"])
        row["labels"] = tuple(json.loads(line) for line in row["labels"].split("\n")[1:])
    except (TypeError, ValueError) as error:
        raise ValueError(f"the row of task {row['task_id']} is damaged: {error}") from error
    return TaskRow(**row | {"durable": bool(row["durable"]), "encrypted": bool(row["encrypted"])})


# Queried


def listing(
    query: TaskQuery, namespace: str, among: tuple[str, dict[str, Any]] | None = None
) -> tuple[str, dict[str, Any]]:
    """The statement that answers a query in a namespace, and its parameters.

    Each branch reads an index from the newest row on; SQLite merges them, and stops at the limit.

    Args:
        query: which rows.
        namespace: whose rows.
        among: a condition that few rows fulfil, with its parameters: then only those are read.
    """
    conditions = dict(_conditions(query))
    parts = _branches(query)
    if among is not None:
        conditions[among[0]] = among[1]
        parts = iter([("tasks NOT INDEXED", list(_of_status(query)))])
    branches = [_branch(table, [*own, *conditions]) for table, own in parts]
    parameters: dict[str, Any] = {"limit": query.limit, "namespace": namespace}
    for values in conditions.values():
        parameters |= values
    return f"{' UNION ALL '.join(branches)} ORDER BY created DESC, task_id DESC LIMIT :limit", parameters


def _branch(table: str, conditions: list[str]) -> str:
    where = " AND ".join(["namespace = :namespace", *conditions])
    return statement(KIND, "select", columns=LISTED, table=table, conditions=where)


def _branches(query: TaskQuery) -> Iterator[tuple[str, list[str]]]:
    """The branches of a query, as table and conditions: one for each final state, one for unfinished rows."""
    if not query.status and query.func_name is None:
        yield "tasks", []
        return
    wanted = [status for status in TaskStatus if status in (query.status or TaskStatus)]
    for status in TERMINAL.intersection(wanted):
        yield "tasks", ["owner IS NULL", f"status = '{status}'"]
    unfinished = ", ".join(f"'{status}'" for status in wanted if status not in TERMINAL)
    if unfinished:
        yield "tasks INDEXED BY tasks_owned", ["owner IS NOT NULL", f"status IN ({unfinished})"]


def _of_status(query: TaskQuery) -> Iterator[str]:
    if query.status:
        wanted = ", ".join(f"'{status}'" for status in sorted(query.status))
        yield f"status IN ({wanted})"


def _conditions(query: TaskQuery) -> Iterator[tuple[str, dict[str, Any]]]:
    if query.func_name is not None:
        yield "func_name = :func_name", {"func_name": query.func_name}
    if query.since is not None:
        yield "created >= :since", {"since": microseconds(query.since)}
    yield from _upper_bound(query)
    if query.tag is not None:
        item = _labels_text((query.tag,))
        yield "(instr(labels, :item) OR instr(labels, :key))", {"item": item, "key": item[:-1] + "="}
    if query.q is not None:
        yield "instr(search, :q)", {"q": query.q.lower()}


def _upper_bound(query: TaskQuery) -> Iterator[tuple[str, dict[str, Any]]]:
    """The lower of the two upper bounds: given both, SQLite may start at the higher one and skip rows."""
    until = None if query.until is None else microseconds(query.until)
    after = query.after
    if after is not None and (until is None or after.created < until):
        place = {"created": after.created, "task_id": after.task_id}
        yield "(created, task_id) < (:created, :task_id)", place
    elif until is not None:
        yield "created < :until", {"until": until}
