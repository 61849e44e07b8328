"""Microseconds for a durable task until its end is stored, 200 requests at once.

The argument says where: ``sqlite``, or the URL of a PostgreSQL or Redis server.
"""

import asyncio
import sys
import time
import uuid

from taskflow import ManagedBackgroundTasks, SnapshotBackend, TaskManager

REQUESTS = 200
TASKS = 6_000


def backend() -> SnapshotBackend:
    """The one that the argument names, with nothing in it."""
    where, own = sys.argv[1], f"bench_{uuid.uuid4().hex[:8]}"
    if where.startswith("redis"):
        from taskflow import RedisBackend

        return RedisBackend(where, prefix=f"{{{own}}}:")
    if where.startswith("postgres"):
        from taskflow import PostgresBackend

        return PostgresBackend(where, schema=own)
    from taskflow import SqliteBackend

    return SqliteBackend("tasks.db")


async def main() -> None:
    """Measure and print."""
    manager = TaskManager(snapshot_backend=backend(), handle_signals=False)

    @manager.task(persist=True)
    async def noop() -> None:
        pass

    left = iter(range(TASKS))

    async def send() -> None:
        for _ in left:
            tasks = ManagedBackgroundTasks(manager)  # in the order of a request: commit, response, task
            tasks.add_task(noop)
            await tasks.committed()
            await tasks()

    await manager.startup()
    began = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(REQUESTS)))
    await manager.shutdown()  # returns when the ends are stored
    print(1e6 * (time.perf_counter() - began) / TASKS)


asyncio.run(main())
