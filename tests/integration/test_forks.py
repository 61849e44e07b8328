"""Processes that fork, as servers with preloading and `multiprocessing` do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.processes import PATIENCE, ROOT

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")

MADE_BEFORE = """
import asyncio, os, sys
from taskflow import TaskManager

manager = TaskManager(snapshot_db=sys.argv[1])

@manager.task(persist=True)
async def work() -> None: ...

async def serve() -> None:
    async with manager:
        await manager.committed(manager.enqueue(work))
        await manager.drain()
        os.write(1, b"started\\n")
        os.read(0, 1)  # all at once

children = []
for _ in range(2):
    if not (child := os.fork()):
        asyncio.run(serve())
        os._exit(0)
    children.append(child)
sys.exit(sum(os.waitpid(child, 0)[1] for child in children))
"""

STARTED_BEFORE = """
import asyncio, os, sys
from taskflow import TaskManager

manager = TaskManager(snapshot_db=sys.argv[1])

@manager.task(persist=True)
def work() -> None: ...

async def in_the_child() -> None:
    for attempt in (manager.startup, manager.shutdown):
        try:
            await attempt()
        except RuntimeError as error:
            print(error)

async def main() -> None:
    async with manager:
        await manager.committed(manager.enqueue(work))
        await asyncio.to_thread(fork)
        await manager.committed(manager.enqueue(work))
        await manager.drain()
        print(sorted(record.status.value for record in await manager.merged_list()))

def fork() -> None:
    if (child := os.fork()):
        os.waitpid(child, 0)
        return
    try:
        manager.enqueue(work)
    except RuntimeError as error:
        print(error)
    asyncio.run(in_the_child())
    sys.stdout.flush()
    os._exit(0)

asyncio.run(main())
"""

REFUSED = (
    "this TaskManager had been started before the process was forked: it stays with the parent. "
    "Make it before the fork if you like, but start it after"
)


def test_each_worker_of_a_server_that_forks_has_a_lease_of_its_own(tmp_path: Path):
    path = tmp_path / "tasks.db"
    command = [sys.executable, "-c", MADE_BEFORE, str(path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["started\n"] * 2
        with closing(sqlite3.connect(path)) as connection:
            leases = connection.execute("SELECT token FROM leases WHERE beats > 0").fetchall()
        _, _ = parent.communicate("go", timeout=PATIENCE)
        assert parent.returncode == 0
    assert len(set(leases)) == 2


def test_a_manager_that_has_started_stays_with_the_parent_of_a_fork_and_says_so(tmp_path: Path):
    command = [sys.executable, "-c", STARTED_BEFORE, str(tmp_path / "tasks.db")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.stdout.splitlines() == [REFUSED, REFUSED, "['success', 'success']"], ended.stderr
    assert ended.returncode == 0
