"""Stores as the first version left them: read, and changed, by this one."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from taskflow.backends import PostgresBackend, RedisBackend, SqliteBackend
from taskflow.backends.redis_text import as_insert, as_json
from taskflow.backends.sqlite_file import APPLICATION_ID
from taskflow.backends.statements import migrations
from taskflow.core.models import TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import APPLIED, Change, Outcome, SnapshotBackend
from taskflow.persistence.rows import TaskRow, listed
from tests.backends import at, ids, inserts, row, to
from tests.postgres import Postgres
from tests.redis_server import RedisServer

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

OLD = [
    row("a", RUNNING, "gone", idempotency_key="k", payload=b"[1]", tags={"a": "b"}),
    row("b", SUCCESS, func_name="report", idempotency_key="done", elapsed=1.5, created_at=at(1)),
    row("c", FAILED, idempotency_key="free", created_at=at(2)),
    row("d", SUCCESS, durable=False, created_at=at(3)),
]


def values(each: TaskRow, labels: str) -> tuple[Any, ...]:
    """A row as the columns of the first version, with its labels as that wrote them."""
    assert each.details is None
    found = dict(zip(TaskRow.__dataclass_fields__, astuple(each), strict=True))
    found |= {"labels": labels, "status": each.status.value}
    return tuple(value for name, value in found.items() if name != "details")


def old_sqlite(path: Path) -> SnapshotBackend:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(migrations("sqlite")[0])
        connection.executescript(
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; PRAGMA journal_mode = WAL"
        )
        for each in OLD:
            written = values(each, "".join(f'\n"{label}"' for label in each.labels))
            connection.execute(f"INSERT INTO tasks VALUES ({', '.join('?' for _ in written)})", written)
        connection.commit()
    return SqliteBackend(path)


def old_postgres(server: Postgres, schema: str) -> SnapshotBackend:
    with psycopg.connect(server.dsn) as connection:
        connection.execute(migrations("postgres")[0].format(schema=schema))
        connection.execute(f"INSERT INTO {schema}.versions VALUES (1)")
        for each in OLD:
            written = values(each, "[" + ", ".join(f'"{label}"' for label in each.labels) + "]")
            places = ", ".join("%s" for _ in written)
            connection.execute(f"INSERT INTO {schema}.tasks VALUES ({places})", written)
    return PostgresBackend(server.dsn, schema=schema)


def old_redis(server: RedisServer, prefix: str) -> SnapshotBackend:
    with redis.Redis.from_url(server.url) as client:
        client.set(f"{prefix}version", "1")
        for each in OLD:
            task_id, place, others = as_insert(each)
            kept = {name: value for name, value in others.items() if value is not False}
            client.hset(f"{prefix}row:{task_id}", mapping={"place": as_json(place), **kept})
            for name in ("all", f"name:{each.func_name}", each.status if each.ended else "unfinished"):
                client.zadd(f"{prefix}{name}", {task_id: each.created})
            if each.owner is not None:
                client.zadd(f"{prefix}open:{each.owner}\0{each.func_name}", {task_id: each.created})
                client.sadd(f"{prefix}lanes:{each.owner}", each.func_name)
                client.zadd(f"{prefix}leases", {each.owner: 0})
            if each.ended is not None:
                client.zadd(f"{prefix}ended", {task_id: each.ended})
            if each.held_key is not None:
                client.hset(f"{prefix}held", each.held_key, task_id)
            client.hincrby(f"{prefix}totals", f"{each.status}:rows", 1)
    return RedisBackend(server.url, prefix=prefix)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
async def old(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SnapshotBackend]:
    """A store of the first version with the rows `OLD`."""
    fixture: Callable[[str], Any] = request.getfixturevalue
    name = f"old_{request.node.name.partition('[')[0][-40:]}"
    if request.param == "sqlite":
        backend = old_sqlite(tmp_path / "tasks.db")
    elif request.param == "postgres":
        backend = old_postgres(fixture("postgres"), name)
    else:
        backend = old_redis(fixture("redis_server"), f"{{{name}}}:")
    await backend.open()
    yield backend
    await backend.close()


def holders(outcomes: Sequence[Outcome]) -> list[str | None]:
    return [outcome.holder for outcome in outcomes]


async def test_rows_of_the_first_version_are_as_they_were(old: SnapshotBackend):
    assert [listed(each) for each in OLD[::-1]] == await old.find(TaskQuery())
    assert OLD == [await old.get(each.task_id) for each in OLD]
    assert {RUNNING: 1, SUCCESS: 2, FAILED: 1} == {
        status: total.count for status, total in (await old.count()).items()
    }


async def test_rows_of_the_first_version_still_hold_their_key_for_their_function(old: SnapshotBackend):
    again = inserts(
        row("1", idempotency_key="k"),
        row("2", func_name="report", idempotency_key="done"),
        row("3", idempotency_key="free"),
    )
    assert ["a", "b", None] == holders(await old.commit(again))


async def test_a_key_of_the_first_version_is_free_for_other_functions(old: SnapshotBackend):
    others = inserts(row("1", func_name="report", idempotency_key="k"), row("2", idempotency_key="done"))
    assert [APPLIED, APPLIED] == await old.commit(others)
    assert ["a"] == holders(await old.commit(inserts(row("3", idempotency_key="k"))))
    assert ["1"] == holders(await old.commit(inserts(row("4", func_name="report", idempotency_key="k"))))


async def test_tasks_of_the_first_version_go_on(old: SnapshotBackend):
    assert ["a"] == ids(await old.claimable(["work"], 10))
    ended = row("a", FAILED, idempotency_key="k", payload=b"[1]", tags={"a": "b"})
    assert [APPLIED, APPLIED] == await old.commit([to(ended, OLD[0]), Change(row("1", idempotency_key="k"))])
    assert ended == await old.get("a")
    assert 4 == await old.prune(at(60))
