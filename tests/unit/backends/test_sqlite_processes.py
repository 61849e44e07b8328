"""`SqliteBackend` in several processes, and in one that is killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taskflow import SqliteBackend, TaskStatus
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import Change
from taskflow.persistence.rows import RELEASED
from tests.backends import ids, row, written
from tests.processes import PATIENCE, ROOT

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


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
        await backend.acquire(name)
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
    for _ in range(25):
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
from tests.backends import inserts, row, written

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
