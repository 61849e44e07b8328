from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from taskflow.backends.postgres import PostgresBackend
from taskflow.backends.postgres_rows import change_arrays, sql
from taskflow.backends.statements import migrations
from taskflow.core.exceptions import (
    BackendError,
    BackendFormatError,
    BackendUnavailableError,
    ConfigurationError,
)
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import APPLIED, LOST, Change, Outcome
from taskflow.persistence.rows import TaskRow, to_row
from tests.postgres import PASSWORD, Postgres
from tests.processes import eventually

T = TypeVar("T")

PENDING, RUNNING = TaskStatus.PENDING, TaskStatus.RUNNING
WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
VERSIONS = [(number,) for number, _ in enumerate(migrations("postgres"), 1)]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(task_id: str, status: TaskStatus = PENDING, *, owner: str = "me", key: str | None = None) -> TaskRow:
    record = TaskRecord(task_id, "f", status, created_at=NOW, durable=True, idempotency_key=key)
    return to_row(record, owner)


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Postgres]:
    """The server, which a test may stop."""
    yield postgres
    postgres.start()


@pytest.fixture
def schema() -> str:
    """A name that no other test uses."""
    return f"test_{uuid.uuid4().hex}"


@pytest.fixture
async def make(server: Postgres, schema: str) -> AsyncIterator[Callable[..., PostgresBackend]]:
    """Make backends of one schema, which are closed after the test."""
    made: list[PostgresBackend] = []

    def make(dsn: str = server.dsn, **options: object) -> PostgresBackend:
        made.append(PostgresBackend(dsn, **{"schema": schema, **options}))
        return made[-1]

    yield make
    for backend in made:
        await backend.close()


def tell(server: Postgres, *statements: str) -> list[tuple[object, ...]]:
    """What the last one of some statements gives, each in a transaction of its own."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def user_of(schema: str, server: Postgres) -> str:
    """The DSN of a user who has a schema of this name, and no other right."""
    tell(
        server,
        f"CREATE ROLE {schema} LOGIN PASSWORD '{PASSWORD}'",
        f"CREATE SCHEMA {schema} AUTHORIZATION {schema}",
    )
    return make_conninfo(server.dsn, user=schema)


async def at_once(server: Postgres, schema: str, *calls: Awaitable[T]) -> list[T]:
    """What some calls give that reach the server while the tables are locked, and go on together."""
    with psycopg.connect(server.dsn) as other:
        other.execute(f"LOCK TABLE {schema}.tasks")
        started = asyncio.gather(*calls)
        await asyncio.to_thread(eventually, lambda: len(tell(server, WAITING)) == len(calls))
    return await started


# The server goes away


async def test_it_works_again_when_the_server_is_back(server, make) -> None:
    backend = make()
    await backend.commit([Change(row("1"))])
    server.stop()
    with pytest.raises(BackendUnavailableError) as caught:
        await backend.commit([Change(row("2"))])
    server.start()
    assert [APPLIED] == await backend.commit([Change(row("2"))])
    assert ["2", "1"] == [found.task_id for found in await backend.find(TaskQuery())]
    assert f"127.0.0.1:{server.port}/postgres" in str(caught.value)
    assert PASSWORD not in str(caught.value)


async def test_a_server_that_is_down_at_open_may_come_later(server, make) -> None:
    backend = make()
    server.stop()
    with pytest.raises(BackendUnavailableError, match="refused"):
        await backend.open()
    server.start()
    await backend.open()
    assert {} == await backend.count()


async def test_what_was_told_as_committed_survives_a_crash_of_the_server_under_load(server, make) -> None:
    backend = make()
    committed: list[str] = []
    hundred = asyncio.Event()

    async def keep_committing(worker: int) -> None:
        for number in range(10_000):
            await backend.commit([Change(row(f"{worker}-{number}"))])
            committed.append(f"{worker}-{number}")
            if len(committed) >= 100:
                hundred.set()

    async with asyncio.timeout(60):
        workers = [asyncio.create_task(keep_committing(worker)) for worker in range(8)]
        await hundred.wait()
        await asyncio.to_thread(server.stop)
        ends = await asyncio.gather(*workers, return_exceptions=True)
    server.start()
    assert {BackendUnavailableError} == {type(end) for end in ends}
    assert not [task_id for task_id in committed if await backend.get(task_id) is None]


async def test_a_connection_that_the_server_has_closed_meanwhile_fails_nobody(server, make) -> None:
    backend = make(max_connections=1)
    await backend.commit([Change(row("1"))])
    tell(
        server,
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'taskflow'",
    )
    assert row("1") == await backend.get("1")


async def test_no_call_waits_for_ever(server, schema, make) -> None:
    backend = make(timeout=0.5)
    await backend.commit([Change(row("1"))])
    with psycopg.connect(server.dsn) as other:
        other.execute(f"LOCK TABLE {schema}.tasks")
        with pytest.raises(BackendUnavailableError, match=r"no answer within 0\.5 s"):
            await backend.get("1")
    assert row("1") == await backend.get("1")


async def test_a_server_that_never_answers_is_unavailable(make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend = make(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d", timeout=0.2)
        with pytest.raises(BackendUnavailableError, match=r"/d: no answer within 0\.2 s"):
            await backend.open()


async def test_a_call_waits_for_its_turn_when_all_connections_are_in_use(make) -> None:
    backend = make(max_connections=2)
    outcomes = await asyncio.gather(*(backend.commit([Change(row(str(number)))]) for number in range(20)))
    assert [[APPLIED]] * 20 == outcomes


async def test_a_cancelled_call_leaves_the_backend_usable(server, schema, make) -> None:
    backend = make(max_connections=1)
    await backend.open()
    with psycopg.connect(server.dsn) as other:
        other.execute(f"LOCK TABLE {schema}.tasks")
        call = asyncio.create_task(backend.get("1"))
        await asyncio.to_thread(eventually, lambda: tell(server, WAITING))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await backend.get("1") is None


async def test_a_statement_is_cancelled_once_however_often_its_call_is(server, schema, make) -> None:
    backend = make(max_connections=1)
    await backend.open()
    with psycopg.connect(server.dsn) as other:
        other.execute(f"LOCK TABLE {schema}.tasks")
        call = asyncio.create_task(backend.get("1"))
        await asyncio.to_thread(eventually, lambda: tell(server, WAITING))
        call.cancel()
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # Interrupted, psycopg would leave the statement to the server, which goes on with it.
        await asyncio.to_thread(eventually, lambda: not tell(server, WAITING))


async def test_a_close_waits_for_statements_that_were_cancelled(server, schema, make) -> None:
    backend = make()
    await backend.open()
    with psycopg.connect(server.dsn) as other:
        other.execute(f"LOCK TABLE {schema}.tasks")
        call = asyncio.create_task(backend.get("1"))
        await asyncio.to_thread(eventually, lambda: tell(server, WAITING))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await backend.close()
        assert [] == tell(server, WAITING)


async def test_a_server_that_falls_silent_is_unavailable_until_it_answers(server, schema, make) -> None:
    backend = make(timeout=0.5, max_connections=1)
    await backend.commit([Change(row("1"))])
    own = f"SELECT pid FROM pg_stat_activity WHERE application_name = 'taskflow' AND query LIKE '%{schema}%'"
    ((pid,),) = tell(server, own)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(BackendUnavailableError, match=r"no answer within 0\.5 s"):
            await backend.get("1")
    finally:
        os.kill(pid, signal.SIGCONT)
    await backend.close()
    assert row("1") == await make().get("1")


async def test_of_two_hosts_the_second_one_is_reached_although_the_first_one_is_silent(server, make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ports = f"{silent.getsockname()[1]},{server.port}"
        backend = make(make_conninfo(server.dsn, host="127.0.0.1,127.0.0.1", port=ports), timeout=6)
        assert [APPLIED] == await backend.commit([Change(row("1"))])


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_a_stricter_isolation_than_ours_refuses_nobody(server, schema, make, isolation: str) -> None:
    tell(
        server,
        f"CREATE DATABASE {schema}",
        f"ALTER DATABASE {schema} SET default_transaction_isolation = '{isolation}'",
    )
    dsn = make_conninfo(server.dsn, dbname=schema)
    first, second = make(dsn), make(dsn)
    await asyncio.gather(first.open(), second.open(), *(make(dsn).open() for _ in range(4)))
    ids = [f"{number:03}" for number in range(20)]
    for round_ in range(20):
        await first.commit([Change(row(f"{round_}-{task_id}")) for task_id in ids])
        outcomes = await asyncio.gather(
            *(
                each.commit(
                    [
                        Change(row(f"{round_}-{task_id}", RUNNING, owner=name), ("me", PENDING))
                        for task_id in ids
                    ]
                )
                for name, each in (("first", first), ("second", second))
            )
        )
        assert {frozenset({APPLIED}), frozenset({LOST})} == {frozenset(each) for each in outcomes}


async def test_a_server_that_only_reads_is_unavailable_until_another_takes_over(server, schema, make) -> None:
    backend = make(user_of(schema, server))
    tell(server, f"ALTER ROLE {schema} SET default_transaction_read_only = on")
    with pytest.raises(BackendUnavailableError, match="read-only transaction"):
        await backend.commit([Change(row("1"))])
    tell(server, f"ALTER ROLE {schema} RESET default_transaction_read_only")  # for new connections
    assert [APPLIED] == await backend.commit([Change(row("1"))])


def test_it_can_be_used_from_another_event_loop_after_close(postgres, schema) -> None:
    backend = PostgresBackend(postgres.dsn, schema=schema, max_connections=1)

    async def use(task_id: str) -> list[list[Outcome]]:
        await backend.open()
        calls: list[Awaitable[list[Outcome]]] = [
            backend.commit([Change(row(f"{task_id}-{number}"))]) for number in range(3)
        ]
        outcomes = await asyncio.gather(*calls)  # they wait for each other, on the loop's own terms
        await backend.close()
        return outcomes

    assert [[[APPLIED]] * 3] * 2 == [asyncio.run(use("1")), asyncio.run(use("2"))]


# The tables


async def test_instances_that_start_at_once_make_the_tables_once(server, schema, make) -> None:
    await asyncio.gather(*(make().open() for _ in range(8)))
    assert VERSIONS == tell(server, f"SELECT version FROM {schema}.versions ORDER BY version")


async def test_tables_of_a_newer_version_are_left_alone(server, schema, make) -> None:
    await make().open()
    tell(server, f"INSERT INTO {schema}.versions VALUES (99)")
    newer = f"version 99, which is newer than this Taskflow's, {len(VERSIONS)}"
    with pytest.raises(BackendFormatError, match=newer):
        await make().open()
    assert [*VERSIONS, (99,)] == tell(server, f"SELECT version FROM {schema}.versions ORDER BY version")


async def test_tables_of_somebody_else_are_left_alone(server, schema, make) -> None:
    tell(server, f"CREATE SCHEMA {schema}", f"CREATE TABLE {schema}.tasks (title text)")
    with pytest.raises(
        BackendFormatError, match=rf'the schema "{schema}" has tables .*; name another one: tasks$'
    ):
        await make().open()
    tables = f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'"
    assert [("tasks",)] == tell(server, tables)


async def test_tables_that_were_dropped_meanwhile_are_told_of_and_made_again(server, schema, make) -> None:
    backend = make()
    await backend.open()
    tell(server, f"DROP SCHEMA {schema} CASCADE")
    with pytest.raises(BackendUnavailableError, match="does not exist"):
        await backend.commit([Change(row("1"))])
    assert [APPLIED] == await backend.commit([Change(row("1"))])


async def test_tables_that_were_replaced_by_those_of_an_older_version_are_migrated(
    server, schema, make
) -> None:
    backend = make()
    await backend.open()
    tell(server, f"DROP SCHEMA {schema} CASCADE", migrations("postgres")[0].format(schema=schema))
    tell(server, f"INSERT INTO {schema}.versions VALUES (1)")
    with pytest.raises(BackendUnavailableError, match="does not exist"):
        await backend.commit([Change(row("1"))])
    assert [APPLIED] == await backend.commit([Change(row("1"))])


async def test_a_user_who_may_not_make_schemas_uses_the_one_that_is_there(server, schema, make) -> None:
    backend = make(user_of(schema, server))
    assert [APPLIED] == await backend.commit([Change(row("1"))])


async def test_a_right_that_is_missing_can_be_granted_later(server, schema, make) -> None:
    backend = make(user_of(schema, server))
    tell(server, f"ALTER SCHEMA {schema} OWNER TO taskflow")
    with pytest.raises(BackendUnavailableError, match="permission denied"):
        await backend.open()
    tell(server, f"GRANT ALL ON SCHEMA {schema} TO {schema}")
    await backend.open()


async def test_a_database_that_cannot_hold_every_text_is_refused(server, schema, make) -> None:
    tell(server, f"CREATE DATABASE {schema} ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(BackendFormatError, match="the encoding of the database is LATIN1; it must be UTF8"):
        await make(make_conninfo(server.dsn, dbname=schema)).open()


# The search index


async def test_rare_text_and_tags_are_looked_up_however_many_rows_there_are(server, schema, make) -> None:
    await make(search_index=True).open()
    settings = "SET enable_seqscan = off; SET enable_indexscan = off"  # as its functions have them
    where = {
        "search LIKE '%nothing%'": "tasks_search",
        f"{schema}.tag_parts(labels) @> '{{a}}'": "tasks_tags",
    }
    with psycopg.connect(server.dsn) as connection:
        connection.execute(settings)
        for condition, index in where.items():
            text = f"EXPLAIN SELECT task_id FROM {schema}.tasks WHERE owner IS NULL AND {condition}"
            plan = "".join(step for (step,) in connection.execute(text))
            assert f"Bitmap Index Scan on {index}" in plan


async def test_what_many_rows_of_a_large_table_have_is_not_looked_up(server, schema, make) -> None:
    backend = make(search_index=True)
    fields = {"created_at": NOW, "tags": {"k": "v"}, "end_time": NOW}
    records = [TaskRecord(str(n), "often", TaskStatus.SUCCESS, **fields) for n in range(3_000)]
    await backend.save([to_row(record, None) for record in records])
    tell(server, f"UPDATE pg_class SET relpages = 2001 WHERE oid = '{schema}.tasks'::regclass")

    for name, wanted in (("text", "%often%"), ("tag", "k")):
        assert [("",)] * 5 == tell(server, f"SELECT {schema}.few_with_{name}('{wanted}', 5)")
    assert [] == tell(server, f"SELECT {schema}.few_with_text('%never%', 5)")
    newest = [each.task_id for each in await backend.find(TaskQuery(limit=3))]
    assert newest == [each.task_id for each in await backend.find(TaskQuery(q="often", tag="k", limit=3))]


async def test_without_the_right_to_install_the_extension_the_search_index_has_to_wait(
    server, schema, make
) -> None:
    tell(server, f"CREATE DATABASE {schema}")
    user = user_of(schema, server)
    theirs = make_conninfo(server.dsn, dbname=schema)
    with psycopg.connect(theirs, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {schema}")
        backend = make(make_conninfo(user, dbname=schema), search_index=True)
        with pytest.raises(BackendUnavailableError, match='permission denied to create extension "pg_trgm"'):
            await backend.open()
        connection.execute("CREATE EXTENSION pg_trgm")
    await backend.open()
    assert [] == await backend.find(TaskQuery(q="nothing"))


async def test_tables_that_were_dropped_meanwhile_are_made_again_with_the_search_index(
    server, schema, make
) -> None:
    backend = make(search_index=True)
    await backend.open()
    tell(server, f"DROP SCHEMA {schema} CASCADE")
    with pytest.raises(BackendError):
        await backend.find(TaskQuery(q="nothing"))
    assert [] == await backend.find(TaskQuery(q="nothing"))


# Conditions


async def test_instances_that_change_the_same_rows_in_any_order_never_lock_each_other_out(
    server, schema, make
) -> None:
    ids = [f"{number:03}" for number in range(500)]
    first, second = make(), make()
    await first.commit([Change(row(task_id)) for task_id in ids])
    await second.open()
    forth = [Change(row(task_id, RUNNING, owner="first"), ("me", PENDING)) for task_id in ids]
    back = [Change(row(task_id, RUNNING, owner="second"), ("me", PENDING)) for task_id in reversed(ids)]
    outcomes = await at_once(server, schema, first.commit(forth), second.commit(back))
    assert {frozenset({APPLIED}), frozenset({LOST})} == {frozenset(each) for each in outcomes}


async def test_instances_that_want_the_same_keys_in_any_order_never_lock_each_other_out(
    server, schema, make
) -> None:
    keys = [f"{number:03}" for number in range(500)]
    first, second = make(), make()
    await asyncio.gather(first.open(), second.open())
    forth = [Change(row(f"first-{key}", key=key)) for key in keys]
    back = [Change(row(f"second-{key}", key=key)) for key in reversed(keys)]
    mine, theirs = await at_once(server, schema, first.commit(forth), second.commit(back))
    assert [not outcome.applied for outcome in mine] == [outcome.applied for outcome in reversed(theirs)]


async def test_instances_that_add_the_same_rows_in_any_order_never_lock_each_other_out(
    server, schema, make
) -> None:
    ids = [f"{number:03}" for number in range(500)]
    first, second = make(), make()
    await asyncio.gather(first.open(), second.open())
    forth = [Change(row(task_id, owner="first")) for task_id in ids]
    back = [Change(row(task_id, owner="second")) for task_id in reversed(ids)]
    mine, theirs = await at_once(server, schema, first.commit(forth), second.commit(back))
    assert [not outcome.applied for outcome in mine] == [outcome.applied for outcome in reversed(theirs)]


async def test_a_change_reads_its_own_rows_only_however_many_there_are(server, schema, make) -> None:
    backend = make()
    rows = [row(str(number)) for number in range(3_000)]
    await backend.commit([Change(each) for each in rows])

    changes = [Change(row(each.task_id, RUNNING), ("me", PENDING)) for each in rows[:2]]
    text = f"EXPLAIN {sql('commit', schema)}"
    parameters = {**change_arrays(changes), "namespace": "default"}
    async with await psycopg.AsyncConnection.connect(server.dsn) as connection:
        plan = [step for (step,) in await (await connection.execute(text, parameters)).fetchall()]
    reads = [step for step in plan if " Scan " in step and " on tasks" in step]
    assert 2 == len(reads), plan
    assert all("Index Scan using tasks_pkey" in step for step in reads), plan


async def test_a_key_may_be_longer_than_an_index_page(make) -> None:
    backend = make()
    key = "".join(str(uuid.uuid4()) for _ in range(1000))
    assert [APPLIED] == await backend.commit([Change(row("1", key=key))])
    assert [Outcome(applied=False, holder="1")] == await backend.commit([Change(row("2", key=key))])


async def test_a_key_that_is_given_up_can_be_had_in_the_same_call(make) -> None:
    backend = make()
    await backend.commit([Change(row("1", key="k"))])
    failed = Change(row("1", TaskStatus.FAILED, key="k"), ("me", PENDING))
    assert [APPLIED, APPLIED] == await backend.commit([failed, Change(row("2", key="k"))])


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
async def test_text_that_cannot_be_stored_changes_nothing(make, text: str) -> None:
    backend = make()
    with pytest.raises(BackendFormatError):
        await backend.commit([Change(row("1")), Change(row("2", owner=text))])
    assert (None, None) == (await backend.get("1"), await backend.get(text))


# Options


async def test_a_wrong_password_is_told_and_not_shown(server, make) -> None:
    with pytest.raises(BackendUnavailableError) as caught:
        await make(make_conninfo(server.dsn, password="carp-and-pike")).open()
    assert 'password authentication failed for user "taskflow"' in str(caught.value)
    assert "carp-and-pike" not in str(caught.value)


async def test_a_database_that_is_missing_is_told(server, make) -> None:
    with pytest.raises(BackendUnavailableError, match='database "nowhere" does not exist'):
        await make(make_conninfo(server.dsn, dbname="nowhere")).open()


@pytest.mark.parametrize("dsn", ["mysql://u:hunter2@h/d", "postgresql://u:hunter2%zz@h", "hunter2", 5, None])
def test_a_dsn_that_is_none_is_refused_and_not_shown(dsn: object) -> None:
    with pytest.raises(ConfigurationError, match="dsn='<redacted>': must be postgresql://") as caught:
        PostgresBackend(dsn)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("schema", "Taskflow"),
        ("schema", 'a"; DROP'),
        ("schema", "a" * 64),
        ("schema", None),
        ("max_connections", 0),
        ("timeout", 0),
    ],
)
def test_an_option_is_checked_before_anything_is_connected(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"{option}="):
        PostgresBackend("postgresql://127.0.0.1/d", **{option: value})


def test_without_psycopg_it_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "taskflow.backends.postgres_server", None)
    with pytest.raises(ConfigurationError, match=r'pip install "psycopg\[binary\]"'):
        PostgresBackend("postgresql://127.0.0.1/d")
