"""`SqliteBackend` and its file: whose it is, what is in it, and of which version it is.

What it answers is tested with the other backends, in `tests/integration`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskflow import BackendFormatError, ConfigurationError, SqliteBackend, TaskStatus
from taskflow.backends import sqlite_file
from taskflow.backends.sqlite_file import APPLICATION_ID, SqliteFile
from taskflow.backends.statements import migrations
from taskflow.core.query import TaskQuery
from tests.backends import row, written

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# Options


@pytest.mark.parametrize(
    "path", ["", "folder/", "a\0b", 5, None, b"bytes", ":memory:", "/", "missing/tasks.db"]
)
def test_a_path_that_cannot_be_is_refused(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        SqliteBackend(path)
    assert ("path", path) == (caught.value.parameter, caught.value.value)


@pytest.mark.parametrize("scheme", ["postgresql", "redis", "sqlite", "postgresql+asyncpg"])
def test_a_url_is_told_from_a_path(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    url = f"{scheme}://app:s3cret@db/app"
    for path in (url, f"{url}/", Path(url)):
        with pytest.raises(
            ConfigurationError, match=r"this is a URL: PostgresBackend and RedisBackend"
        ) as caught:
            SqliteBackend(path)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "5", True])
def test_a_wait_that_cannot_be_is_refused(path: Path, seconds: Any):
    with pytest.raises(ConfigurationError, match="busy_timeout"):
        SqliteBackend(path, busy_timeout=seconds)


def test_a_backend_that_is_not_opened_makes_no_file(path: Path):
    SqliteBackend(path)
    assert not path.exists()


async def test_the_path_is_that_of_the_folder_where_the_backend_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    backend = SqliteBackend("tasks ?&%#é.db")
    monkeypatch.chdir("/")
    await backend.open()
    await backend.close()
    assert ["tasks ?&%#é.db"] == os.listdir(tmp_path)


# The file


async def test_the_file_says_that_it_is_ours_and_of_which_version(path: Path):
    await written(path)
    with closing(sqlite3.connect(path)) as connection:
        names = ("application_id", "user_version", "journal_mode")
        values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert [APPLICATION_ID, len(migrations("sqlite")), "wal"] == values


def test_a_commit_waits_for_the_disk(path: Path):
    with closing(SqliteFile(path, 5.0).connect()) as connection:
        assert (2,) == connection.execute("PRAGMA synchronous").fetchone()  # FULL
        assert (1,) == connection.execute("PRAGMA fullfsync").fetchone()


async def test_a_closed_backend_leaves_one_file(path: Path):
    await written(path, row("a", SUCCESS))
    assert [path.name] == os.listdir(path.parent)


def empty_file(path: Path) -> None:
    path.touch()


async def test_an_empty_file_is_taken(path: Path):
    empty_file(path)
    await written(path, row("a"))
    await written(path, row("b"))


def text_file(path: Path) -> None:
    path.write_text("Dear diary, " * 100)


def short_file(path: Path) -> None:
    path.write_bytes(b"SQL")


def database_of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE tasks (id); INSERT INTO tasks VALUES (1)")


def database_of_another_program_that_died(path: Path) -> None:
    script = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE other (id); INSERT INTO other VALUES (1)")
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script, path], check=True)
    assert (path.parent / f"{path.name}-wal").stat().st_size > 0


def file_of_a_newer_version(path: Path) -> None:
    with closing(SqliteFile(path, 5.0).connect()) as connection:
        connection.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (text_file, "not an SQLite database"),
        (short_file, "not an SQLite database"),
        (database_of_another_program, "not one of Taskflow's"),
        (database_of_another_program_that_died, "not one of Taskflow's"),
        (file_of_a_newer_version, "version 99 of the format is newer"),
    ],
)
async def test_a_file_that_is_not_ours_to_write_is_left_alone(
    path: Path, make: Callable[[Path], None], reason: str
):
    make(path)
    before = contents(path.parent)
    backend = SqliteBackend(path)
    for call in (backend.open, backend.count, lambda: backend.save([row("a")])):
        with pytest.raises(BackendFormatError, match=reason) as caught:
            await call()
        assert str(path) in caught.value.reason
    await backend.close()
    assert before == contents(path.parent)


def overwrite(path: Path, place: slice) -> None:
    data = bytearray(path.read_bytes())
    data[place] = b"\xa5" * len(data[place])
    path.write_bytes(data)


@pytest.mark.parametrize(
    "place",
    [slice(100, 4096), slice(4096, None)],  # behind the header of the file, which says whose it is
    ids=["the first page", "every other page"],
)
async def test_a_damaged_file_is_told(path: Path, place: slice):
    await written(path, *(row(f"{n:03}", SUCCESS, logs=["x" * 500]) for n in range(200)))
    overwrite(path, place)
    backend = SqliteBackend(path)
    with pytest.raises(BackendFormatError, match="the file is damaged") as caught:
        await backend.find(TaskQuery(limit=1000))
    assert str(path) in caught.value.reason
    await backend.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE tasks SET status = 'lost'",
        "UPDATE tasks SET labels = 'x' || char(10) || 'y'",
        "UPDATE tasks SET labels = x'0a'",
        "UPDATE tasks SET body = CAST(x'ff' AS TEXT)",
    ],
)
async def test_a_damaged_row_is_told(path: Path, damage: str):
    await written(path, row("a", SUCCESS))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(damage)
    backend = SqliteBackend(path)
    with pytest.raises(BackendFormatError) as caught:
        await backend.get("a")
    assert str(path) in caught.value.reason
    await backend.close()


async def test_a_damaged_row_is_told_by_its_task(path: Path):
    await written(path, row("a", SUCCESS))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE tasks SET status = 'lost'")
    backend = SqliteBackend(path)
    with pytest.raises(BackendFormatError, match="the row of task a is damaged: 'lost'"):
        await backend.find(TaskQuery())
    with pytest.raises(BackendFormatError, match="'lost' is not a valid TaskStatus"):
        await backend.count()
    await backend.close()


async def test_text_that_no_database_takes_is_refused_as_such(path: Path):
    backend = SqliteBackend(path)
    with pytest.raises(BackendFormatError, match="surrogates not allowed"):
        await backend.save([row("\ud800", SUCCESS)])
    await backend.close()


async def test_a_missing_table_is_told(path: Path):
    await written(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE leases")
    backend = SqliteBackend(path)
    with pytest.raises(BackendFormatError, match="no such table: leases"):
        await backend.acquire("here")
    await backend.close()


async def test_an_older_file_is_migrated_with_its_rows(path: Path, monkeypatch: pytest.MonkeyPatch):
    await written(path, row("a", SUCCESS))
    script = "CREATE TABLE extra (id); -- a table;\nINSERT INTO extra VALUES ('one;\ntwo');\n"
    newer = (*migrations("sqlite"), script)
    monkeypatch.setattr(sqlite_file, "migrations", lambda kind: newer)
    backend = SqliteBackend(path)
    assert row("a", SUCCESS) == await backend.get("a")
    await backend.close()

    with closing(sqlite3.connect(path)) as connection:
        assert [("one;\ntwo",)] == connection.execute("SELECT id FROM extra").fetchall()
        assert (len(newer),) == connection.execute("PRAGMA user_version").fetchone()


async def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch):
    await written(path, row("a", SUCCESS))
    script = "CREATE TABLE extra (id);\nINSERT INTO nowhere VALUES (1);\n"
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_file, "migrations", lambda kind: (*migrations(kind), script))
        backend = SqliteBackend(path)
        with pytest.raises(BackendFormatError, match="no such table: nowhere"):
            await backend.open()
    assert row("a", SUCCESS) == await backend.get("a")
    await backend.close()
    with closing(sqlite3.connect(path)) as connection:
        assert [] == connection.execute("SELECT name FROM sqlite_master WHERE name = 'extra'").fetchall()


async def test_a_close_waits_for_nobody_who_holds_the_threads_of_asyncio(path: Path):
    backend = SqliteBackend(path)
    await backend.open()
    gate = threading.Event()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as threads:
        loop.set_default_executor(threads)
        held = loop.run_in_executor(None, gate.wait)
        try:
            await backend.close()
        finally:
            gate.set()
        await held
