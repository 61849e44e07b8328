"""`SqliteBackend` and its file: whose it is, what goes wrong with it, and several processes on it.

What it answers is tested with the other backends, in `tests/integration`.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskflow import (
    BackendFormatError,
    BackendUnavailableError,
    ConfigurationError,
    SqliteBackend,
    TaskStatus,
)
from taskflow.backend import APPLIED, Change
from taskflow.backends import sqlite_file
from taskflow.backends.sqlite_file import APPLICATION_ID, SqliteFile
from taskflow.backends.sqlite_rows import listing
from taskflow.backends.statements import migrations, statement
from taskflow.query import Cursor, TaskQuery
from taskflow.rows import RELEASED, TaskRow
from tests.backends import at, ids, inserts, row
from tests.processes import PATIENCE, ROOT

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

NOBODY = 65_534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


async def written(path: Path, *rows: TaskRow) -> None:
    """A file of ours with these rows, closed."""
    backend = SqliteBackend(path)
    await backend.save(rows)
    await backend.close()


# Options


@pytest.mark.parametrize(
    "path", ["", "folder/", "a\0b", 5, None, b"bytes", ":memory:", "/", "missing/tasks.db"]
)
def test_a_path_that_cannot_be_is_refused(path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        SqliteBackend(path)
    assert ("path", path) == (caught.value.parameter, caught.value.value)


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
    ["UPDATE tasks SET status = 'lost'", "UPDATE tasks SET labels = 'x' || char(10) || 'y'"],
)
async def test_a_damaged_row_is_told_by_its_task(path: Path, damage: str):
    await written(path, row("a", SUCCESS))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(damage)
    backend = SqliteBackend(path)
    with pytest.raises(BackendFormatError, match="the row of task a is damaged"):
        await backend.get("a")
    await backend.close()


async def test_a_missing_table_is_told(path: Path):
    await written(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE leases")
    backend = SqliteBackend(path)
    with pytest.raises(BackendFormatError, match="no such table: leases"):
        await backend.acquire("here", 60)
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


# What goes wrong, and is mended


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, BackendUnavailableError),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, BackendUnavailableError),
        (sqlite3.SQLITE_BUSY_RECOVERY, BackendUnavailableError),
        (sqlite3.SQLITE_READONLY_DBMOVED, BackendUnavailableError),
        (sqlite3.SQLITE_CORRUPT_INDEX, BackendFormatError),
        (sqlite3.SQLITE_NOTADB, BackendFormatError),
        (sqlite3.SQLITE_ERROR, BackendFormatError),
    ],
)
def test_an_error_is_told_by_its_kind_whatever_its_details(path: Path, code: int, expected: type[Exception]):
    error = sqlite3.OperationalError("no luck")
    error.sqlite_errorcode = code
    translated = SqliteFile(path, 5.0).translated(error)
    assert expected is type(translated)
    assert str(path) in translated.reason
    assert "no luck" in translated.reason


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program writes to the file, until the block ends or it rolls back."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


async def test_a_write_that_waits_too_long_for_others_may_work_later(path: Path):
    backend = SqliteBackend(path, busy_timeout=0.05)
    await backend.open()
    with locked(path):
        with pytest.raises(BackendUnavailableError, match="busy_timeout") as caught:
            await backend.commit(inserts(row("a")))
        assert str(path) in caught.value.reason
    assert [APPLIED] == await backend.commit(inserts(row("a")))
    await backend.close()


async def test_a_write_waits_for_others_and_pages_do_not_wait_for_it(path: Path):
    backend = SqliteBackend(path, busy_timeout=PATIENCE)
    await backend.save([row("a", SUCCESS)])
    with locked(path) as lock:
        writing = asyncio.create_task(backend.commit(inserts(row("b"))))
        assert ["a"] == ids(await backend.find(TaskQuery()))
        assert not writing.done()
        lock.execute("ROLLBACK")
        assert [APPLIED] == await writing
    await backend.close()


async def test_a_save_that_fails_in_the_middle_saves_nothing(path: Path):
    backend = SqliteBackend(path)
    good, bad = row("a", SUCCESS), replace(row("b", SUCCESS), payload=object())
    with pytest.raises(BackendFormatError):
        await backend.save([good, bad])
    assert {} == await backend.count()
    await backend.save([good])
    assert ["a"] == ids(await backend.find(TaskQuery()))
    await backend.close()


async def test_a_full_disk_may_have_room_later(path: Path, monkeypatch: pytest.MonkeyPatch):
    connect = sqlite3.connect

    def connect_to_a_full_disk(*args: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*args, **options)
        connection.execute("PRAGMA max_page_count = 1")  # rounded up to what the file has
        return connection

    await written(path)
    backend = SqliteBackend(path)
    rows = [row(f"{n:03}", logs=["x" * 500]) for n in range(200)]
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", connect_to_a_full_disk)
        with pytest.raises(BackendUnavailableError, match="the disk is full") as caught:
            await backend.commit(inserts(*rows))
    assert str(path) in caught.value.reason
    assert {} == await backend.count()
    assert [APPLIED] * 200 == await backend.commit(inserts(*rows))
    await backend.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_disk_that_is_really_full_may_have_room_later(small_disk: Path):
    backend = SqliteBackend(small_disk / "tasks.db")
    await backend.commit(inserts(row("first")))
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(2 << 20))
    rows = [row(f"{n:03}", logs=["x" * 500]) for n in range(200)]
    with pytest.raises(BackendUnavailableError, match="the disk is full"):
        await backend.commit(inserts(*rows))
    assert ["first"] == ids(await backend.find(TaskQuery()))

    filler.unlink()
    assert [APPLIED] * 200 == await backend.commit(inserts(*rows))
    await backend.close()


def allow(path: Path, mode: int) -> None:
    path.chmod(mode)


@pytest.fixture
def ordinary_folder() -> Iterator[Path]:
    """A folder that an ordinary user can reach, as whom the test runs: root may write everywhere."""
    was_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if was_root:
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            folder.chmod(0o700)
            if was_root:
                os.seteuid(0)


async def test_a_folder_that_is_read_only_may_be_writable_later(ordinary_folder: Path):
    allow(ordinary_folder, 0o500)
    backend = SqliteBackend(ordinary_folder / "tasks.db")
    with pytest.raises(BackendUnavailableError, match=r"tasks\.db: the file cannot be opened or made"):
        await backend.open()
    allow(ordinary_folder, 0o700)
    await backend.open()
    await backend.close()


async def test_a_file_that_is_read_only_may_be_writable_later(ordinary_folder: Path):
    path = ordinary_folder / "tasks.db"
    await written(path, row("a", SUCCESS))
    allow(path, 0o400)
    backend = SqliteBackend(path)
    with pytest.raises(BackendUnavailableError, match=r"tasks\.db: .* read-only"):
        await backend.save([row("b", SUCCESS)])
    allow(path, 0o600)
    await backend.save([row("b", SUCCESS)])
    assert ["b", "a"] == ids(await backend.find(TaskQuery()))
    await backend.close()


async def test_a_folder_that_has_gone_may_come_back(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    backend = SqliteBackend(folder / "tasks.db")
    folder.rmdir()
    with pytest.raises(BackendUnavailableError, match="the file cannot be opened or made"):
        await backend.open()
    folder.mkdir()
    await backend.open()
    await backend.close()


@pytest.mark.parametrize("ending", ["", "*"])
async def test_what_is_written_after_the_file_was_deleted_is_in_a_new_one(path: Path, ending: str):
    backend = SqliteBackend(path)
    await backend.save([row("lost", SUCCESS)])
    await backend.find(TaskQuery())
    delete(path, ending)
    await backend.save([row("new", SUCCESS)])
    assert ["new"] == ids(await backend.find(TaskQuery()))
    await backend.close()
    await was_written(path, "new")


async def test_what_is_written_after_the_file_was_replaced_is_in_the_other_one(path: Path, tmp_path: Path):
    await written(tmp_path / "backup", row("old", SUCCESS))
    backend = SqliteBackend(path)
    await backend.save([row("lost", SUCCESS)])
    await backend.find(TaskQuery())
    delete(path, "*")
    shutil.copy(tmp_path / "backup", path)
    await backend.save([row("new", SUCCESS)])
    assert ["old", "new"] == ids(await backend.find(TaskQuery()))
    await backend.close()
    await was_written(path, "old", "new")


def delete(path: Path, ending: str) -> None:
    """Delete the file; with ``*`` its log too."""
    for each in path.parent.glob(path.name + ending):
        each.unlink()


async def was_written(path: Path, *expected: str) -> None:
    backend = SqliteBackend(path)
    assert list(expected) == ids(await backend.find(TaskQuery()))
    await backend.close()


async def test_leases_that_ran_out_do_not_pile_up(path: Path):
    backend = SqliteBackend(path)
    for n in range(5):
        await backend.acquire(f"crashed {n}", 0.0)
    await backend.acquire("here", 60.0)
    await backend.close()
    with closing(sqlite3.connect(path)) as connection:
        assert [("here",)] == connection.execute("SELECT token FROM leases").fetchall()


# Several processes


SPAWN = multiprocessing.get_context("spawn")
PROCESSES = 4

_all_ready: Any = None


def _wait_for(barrier: Any) -> None:
    global _all_ready  # noqa: PLW0603 - what a worker process was started with
    _all_ready = barrier


def _claim(path: Path, name: str, count: int) -> list[str]:
    """The rows that this process took over."""

    async def claim() -> list[str]:
        backend = SqliteBackend(path, busy_timeout=PATIENCE)
        await backend.open()
        await backend.acquire(name, 600)
        mine = []
        for n in range(count):
            wanted = row(f"{n:03}", owner=RELEASED)
            (outcome,) = await backend.commit([Change(replace(wanted, owner=name), (RELEASED, PENDING))])
            mine += [wanted.task_id] if outcome.applied else []
        await backend.close()
        return mine

    _all_ready.wait(PATIENCE)
    return asyncio.run(claim())


def _open(path: Path) -> dict[TaskStatus, Any]:
    async def count() -> dict[TaskStatus, Any]:
        backend = SqliteBackend(path, busy_timeout=PATIENCE)
        await backend.open()
        found = await backend.count()
        await backend.close()
        return found

    _all_ready.wait(PATIENCE)
    return asyncio.run(count())


@pytest.fixture
def processes() -> Iterator[ProcessPoolExecutor]:
    """Processes that begin at the same moment."""
    barrier = SPAWN.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, SPAWN, initializer=_wait_for, initargs=(barrier,)) as pool:
        yield pool


def test_processes_that_start_together_make_one_file(path: Path, processes: ProcessPoolExecutor):
    for _ in range(5):
        assert [{}] * PROCESSES == list(processes.map(_open, [path] * PROCESSES))
        path.unlink()


async def test_of_processes_that_claim_the_same_rows_each_row_has_one_winner(
    path: Path, processes: ProcessPoolExecutor
):
    rows = [row(f"{n:03}", owner=RELEASED) for n in range(100)]
    await written(path, *(replace(each, durable=False) for each in rows))
    names = [f"process {n}" for n in range(PROCESSES)]
    calls = [processes.submit(_claim, path, name, len(rows)) for name in names]
    claimed = [await asyncio.wrap_future(call) for call in calls]

    assert ids(rows) == sorted(task_id for mine in claimed for task_id in mine)
    backend = SqliteBackend(path)
    owners = {each.task_id: each.owner for each in await backend.find(TaskQuery(limit=1000))}
    await backend.close()
    assert {task_id: name for name, mine in zip(names, claimed, strict=True) for task_id in mine} == owners


COMMIT_FOR_EVER = """
import asyncio, sys
from taskflow import SqliteBackend
from tests.backends import inserts, row

async def main():
    backend = SqliteBackend(sys.argv[1])
    for n in range(1_000_000):
        await backend.commit(inserts(row(f"{n:06}"), row(f"{n:06} too")))
        print(f"{n:06}", flush=True)

asyncio.run(main())
"""


def test_what_a_killed_process_had_committed_is_there(path: Path):
    command = [sys.executable, "-c", COMMIT_FOR_EVER, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "000050\n":
                process.send_signal(signal.SIGKILL)
                break
        committed = ["000050", *process.stdout.read().split()]

    stored = all_ids(path)
    assert {f"{n:06}" for n in range(int(committed[-1]) + 1)} <= stored
    assert {name for name in stored if " " not in name} == {name[:6] for name in stored if " " in name}


def all_ids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {task_id for (task_id,) in connection.execute("SELECT task_id FROM tasks")}


# However long the history


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
    steps = plan(*listing(query))
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
    steps = [step for step in plan(*listing(query)) if "tasks" in step]
    assert ["SEARCH tasks USING INDEX tasks_owned (owner>?)"] == steps


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("ownerless", {"now": 0}), ("unclaimable", {"owners": "[]", "names": "[]"})],
)
def test_rows_without_an_owner_are_found_without_the_history(
    plan: Callable[[str, Any], list[str]], name: str, parameters: dict[str, Any]
):
    steps = [step for step in plan(statement("sqlite", name), parameters) if " tasks " in step]
    assert steps
    assert all(step.startswith("SEARCH tasks") and "INDEX tasks_owned" in step for step in steps)


def test_the_history_is_counted_without_reading_its_rows(plan: Callable[[str, Any], list[str]]):
    assert "SCAN tasks USING COVERING INDEX tasks_of_status" in plan(statement("sqlite", "count"), {})
