"""What goes wrong with the file of `SqliteBackend`, is told, and works again once it is mended."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskflow import BackendFormatError, BackendUnavailableError, SqliteBackend, TaskStatus
from taskflow.backends.sqlite_file import SqliteFile
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import APPLIED
from tests.backends import ids, inserts, row, written
from tests.processes import PATIENCE

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus

NOBODY = 65_534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


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


def test_a_file_that_another_process_is_making_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch):
    prepare = SqliteFile._prepare
    answers = iter([sqlite3.SQLITE_BUSY_RECOVERY, sqlite3.SQLITE_BUSY])

    def prepare_at_the_third_time(file: SqliteFile, connection: sqlite3.Connection) -> None:
        if (code := next(answers, None)) is not None:
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = code
            raise error
        prepare(file, connection)

    monkeypatch.setattr(SqliteFile, "_prepare", prepare_at_the_third_time)
    with closing(SqliteFile(path, PATIENCE).connect()) as connection:
        assert (0,) == connection.execute("SELECT count(*) FROM tasks").fetchone()


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


async def test_leases_that_were_released_do_not_pile_up(path: Path):
    backend = SqliteBackend(path)
    for n in range(5):
        await backend.acquire(f"left {n}")
        await backend.release(f"left {n}")
    await backend.acquire("here")
    await backend.close()
    with closing(sqlite3.connect(path)) as connection:
        assert [("here",)] == connection.execute("SELECT token FROM leases").fetchall()
