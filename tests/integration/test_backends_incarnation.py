"""Whether a store is still the one that it was: its incarnation, for every backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from taskflow.backends import MemoryBackend, PostgresBackend, RedisBackend, SqliteBackend
from taskflow.core.exceptions import BackendUnavailableError
from taskflow.persistence.backend import APPLIED, MISSING, SnapshotBackend
from tests.backends import Store, inserts, row, to
from tests.postgres import Postgres
from tests.redis_server import running_redis


async def test_the_incarnation_of_a_store_stays(backend: SnapshotBackend, other: SnapshotBackend):
    first = await backend.incarnation()
    assert first
    await backend.commit(inserts(row("a")))
    assert [first, first] == [await other.incarnation(), await backend.incarnation()]


async def test_the_incarnation_of_a_store_outlives_its_instances(store: Store):
    seen = []
    for _ in range(2):
        backend = store()
        await backend.open()
        seen.append(await backend.incarnation())
        await backend.close()
    assert seen[0] == seen[1]


async def test_a_backend_without_an_incarnation_has_one_for_ever():
    class Own(MemoryBackend):
        incarnation = SnapshotBackend.incarnation

    assert Own().incarnation
    assert {""} == {await Own().incarnation() for _ in range(2)}


async def is_another_one_after(backend: SnapshotBackend, loss: Callable[[], object]) -> None:
    """Whether who goes on with a store that was emptied finds that out."""
    await backend.commit(inserts(row("a")))
    first = await backend.incarnation()
    loss()
    second = await backend.incarnation()
    assert first != second
    assert second
    assert second == await backend.incarnation()
    assert [MISSING] == await backend.commit([to(row("a"), row("a"))])
    assert [APPLIED] == await backend.commit(inserts(row("a")))
    await backend.close()


async def test_a_deleted_sqlite_file_has_another_incarnation(tmp_path: Path):
    path = tmp_path / "tasks.db"

    def delete() -> None:
        for file in tmp_path.iterdir():
            file.unlink()

    await is_another_one_after(SqliteBackend(path), delete)


async def test_an_sqlite_file_that_was_moved_away_has_another_incarnation(tmp_path: Path):
    path = tmp_path / "tasks.db"
    await is_another_one_after(SqliteBackend(path), lambda: path.rename(tmp_path / "old.db"))


Tell = Callable[[str], None]


@pytest.fixture
def tell(postgres: Postgres) -> Tell:
    def tell(statement: str) -> None:
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute(statement)

    return tell


@pytest.mark.parametrize("tables", ["tasks", "tasks, {0}.leases", "tasks, {0}.store"])
async def test_truncated_tables_have_another_incarnation(postgres: Postgres, tell: Tell, tables: str):
    schema = f"truncated_{len(tables)}"
    backend = PostgresBackend(postgres.dsn, schema=schema)
    await is_another_one_after(backend, lambda: tell(f"TRUNCATE {schema}.{tables.format(schema)}"))


async def test_rows_that_were_deleted_leave_the_incarnation(postgres: Postgres, tell: Tell):
    backend = PostgresBackend(postgres.dsn, schema="deleted_rows")
    await backend.commit(inserts(row("a")))
    first = await backend.incarnation()
    tell("DELETE FROM deleted_rows.tasks")
    assert first == await backend.incarnation()
    await backend.close()


async def test_a_dropped_schema_is_made_again_with_another_incarnation(postgres: Postgres, tell: Tell):
    backend = PostgresBackend(postgres.dsn, schema="dropped")

    def drop() -> None:
        tell("DROP SCHEMA dropped CASCADE")

    await backend.open()
    first = await backend.incarnation()
    drop()
    with pytest.raises(BackendUnavailableError, match="does not exist"):
        await backend.incarnation()
    assert first != await backend.incarnation()
    assert [APPLIED] == await backend.commit(inserts(row("a")))
    await backend.close()


async def test_a_flushed_redis_has_another_incarnation(executable: Callable[[str], Path], tmp_path: Path):
    with running_redis(executable("redis-server"), tmp_path, "--appendonly", "yes") as server:
        backend = RedisBackend(server.url)
        with redis.Redis.from_url(server.url) as client:
            await is_another_one_after(backend, client.flushall)
            assert b"1" == client.get("{taskflow}:version")


async def test_a_redis_that_came_back_without_its_file_has_another_incarnation(
    executable: Callable[[str], Path], tmp_path: Path
):
    with running_redis(executable("redis-server"), tmp_path) as server:

        def restart() -> None:
            server.stop()
            server.start()

        await is_another_one_after(RedisBackend(server.url), restart)
