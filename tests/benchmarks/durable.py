"""What durable tasks cost on each backend, and what the search index costs and gains.

PostgreSQL and Redis are started for it, where their programs are found.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from taskflow import (
    ManagedBackgroundTasks,
    PostgresBackend,
    RedisBackend,
    SqliteBackend,
    TaskManager,
    TaskStatus,
)
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import SnapshotBackend
from tests.benchmarks import rows
from tests.benchmarks.table import heading
from tests.benchmarks.throughput import noop
from tests.postgres import running_postgres
from tests.redis_server import running_redis

REQUESTS = 200
"""Requests that are under way at once."""

TASKS = 10_000
ROUNDS = 5
HISTORY = 1_000_000
NOTHING = {
    "a tag that nobody has": TaskQuery(tag="customer=18"),
    "text that nobody has": TaskQuery(q="nothing"),
}
BOUND = 60
"""Milliseconds that a search for nothing may take with the index."""

Make = Callable[..., SnapshotBackend]


async def durable_rate(make: Make, requests: int = REQUESTS, tasks: int = TASKS) -> float:
    """Durable tasks per second, one a request, until the ends of all are stored.

    Args:
        make: makes a backend; each time for the same, empty store.
        requests: how many are under way at once.
        tasks: how many there are.
    """
    manager = TaskManager(snapshot_backend=make())
    manager.task(persist=True)(noop)
    left = iter(range(tasks))

    async def send() -> None:
        for _ in left:
            # In the order of the middleware: the commit, the response, the task.
            background = ManagedBackgroundTasks(manager)
            background.add_task(noop)
            await background.committed()
            await background()

    async with manager:
        start = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(requests)))
    seconds = time.perf_counter() - start
    backend = make()
    assert tasks == (await backend.count())[TaskStatus.SUCCESS].count
    await backend.close()
    return tasks / seconds


@contextmanager
def backends() -> Iterator[dict[str, Callable[[], Make]]]:
    """By the name of a backend: what gives a store of its own, as a call that makes backends for it."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # for PostgreSQL's user
        found: dict[str, Callable[[], Make]] = {"SQLite": lambda: _sqlite(folder)}
        if program := shutil.which("postgres"):
            place = folder / "postgres"
            place.mkdir()
            postgres = stack.enter_context(running_postgres(Path(program).parent, place))
            found["PostgreSQL"] = lambda: _postgres(postgres.dsn)
        if program := shutil.which("redis-server"):
            redis = stack.enter_context(running_redis(Path(program), folder, "--appendonly", "yes"))
            found["Redis"] = lambda: _redis(redis.url)
        yield found


def _sqlite(folder: Path) -> Make:
    path = folder / f"{uuid4().hex}.db"
    return lambda **options: SqliteBackend(path, **options)


def _postgres(dsn: str) -> Make:
    schema = f"bench_{uuid4().hex}"
    return lambda **options: PostgresBackend(dsn, schema=schema, timeout=60, **options)


def _redis(url: str) -> Make:
    prefix = f"{{{uuid4().hex}}}:"
    return lambda **options: RedisBackend(url, prefix=prefix, **options)


async def search(make: Make, indexed: bool) -> dict[str, float]:
    """Microseconds to save a row, and milliseconds to search for nothing in a million of them."""
    backend = make(search_index=indexed)
    await backend.open()
    start = time.perf_counter()
    for batch in rows.batches(rows.history(HISTORY), rows.BATCH):
        await backend.save(batch)
    took = {"to save a row": 1e6 * (time.perf_counter() - start) / HISTORY}
    for name, query in NOTHING.items():
        took[name] = (await rows.latency(lambda query=query: backend.find(query))).median
    await backend.close()
    return took


def run() -> None:
    """Measure and print."""
    with backends() as found:
        heading(f"Durable tasks, {REQUESTS} requests at once, three commits each")
        for name, new in found.items():
            rates = [asyncio.run(durable_rate(new())) for _ in range(ROUNDS)]
            print(f"{name:12} {statistics.median(rates):>9,.0f} tasks/s")
        heading(f"search_index: a search for nothing in {HISTORY:,} rows")
        for name in [name for name in found if name != "Redis"]:  # which has no such index
            _compare(name, found[name])


def _compare(name: str, new: Callable[[], Make]) -> None:
    plain, indexed = (asyncio.run(search(new(), each)) for each in (False, True))
    for what, before in plain.items():
        unit, bound = ("µs", "") if what == "to save a row" else ("ms", f"   (target ≤ {BOUND})")
        print(f"{name:12} {what:24} {before:8.1f} {unit}   with the index {indexed[what]:8.1f} {unit}{bound}")


if __name__ == "__main__":
    run()
