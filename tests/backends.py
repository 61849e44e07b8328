"""Stores for rows of every kind, and rows to put into them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest

from taskflow.backends import MemoryBackend, PostgresBackend, RedisBackend, SqliteBackend
from taskflow.core.models import TERMINAL, TaskRecord, TaskStatus
from taskflow.persistence.backend import Change, SnapshotBackend
from taskflow.persistence.rows import TaskRow, to_row

REAL = ("sqlite", "postgres", "redis")
KINDS = ("memory", *REAL)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)

Store: TypeAlias = Callable[..., SnapshotBackend]
"""Makes backends that share one place for rows, as the instances of an application do; takes a namespace."""


def new_store(kind: str, request: pytest.FixtureRequest) -> Store:
    """A store of which nobody else knows. Skips the test if its server is missing."""
    name = uuid4().hex
    if kind == "memory":
        shared: dict[str, SnapshotBackend] = {}
        return lambda namespace="default": shared.setdefault(namespace, MemoryBackend(namespace=namespace))
    if kind == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path")
        return lambda **options: SqliteBackend(folder / f"{name}.db", **options)
    if kind == "postgres":
        postgres = request.getfixturevalue("postgres")
        return lambda **options: PostgresBackend(postgres.dsn, schema=f"test_{name}", **options)
    redis = request.getfixturevalue("redis_server")
    return lambda **options: RedisBackend(redis.url, prefix=f"{{{name}}}:", **options)


def at(seconds: float) -> datetime:
    """A moment, counted from `START`."""
    return START + timedelta(seconds=seconds)


def record(task_id: str, status: TaskStatus = TaskStatus.PENDING, **fields: Any) -> TaskRecord:
    """A durable task, created at `START` and ended a second later if it has ended."""
    values = {"func_name": "work", "durable": True, "created_at": START}
    if status in TERMINAL:
        values |= {"start_time": START, "end_time": at(1)}
    return TaskRecord(task_id, status=status, **values | fields)


def row(task_id: str, status: TaskStatus = TaskStatus.PENDING, owner: str = "here", **fields: Any) -> TaskRow:
    """The row of such a task; its owner counts until it has ended."""
    return to_row(record(task_id, status, **fields), owner)


def history(task_id: str, status: TaskStatus = TaskStatus.SUCCESS, **fields: Any) -> TaskRow:
    """The row of a task that was not written ahead."""
    return row(task_id, status, **{"durable": False} | fields)


def inserts(*rows: TaskRow) -> list[Change]:
    """Changes that insert rows."""
    return [Change(each) for each in rows]


def ids(rows: list[TaskRow]) -> list[str]:
    """Which rows these are, in order."""
    return [each.task_id for each in rows]


def to(new: TaskRow, expected: TaskRow) -> Change:
    """The change into a new row of one that is as expected."""
    assert expected.owner is not None
    return Change(new, (expected.owner, expected.status))


async def written(path: Path, *rows: TaskRow) -> None:
    """Make an SQLite file with these rows, and close it."""
    backend = SqliteBackend(path)
    await backend.save(rows)
    await backend.close()
