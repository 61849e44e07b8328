"""Durable tasks on their way to a backend that answers when the test lets it."""

import asyncio

from taskflow.instance import Instance
from taskflow.journal import Journal
from taskflow.stream import EventStream
from taskflow.vitals import BackendVitals
from tests.backends import record
from tests.faulty import FaultyBackend
from tests.processes import PATIENCE


def refuse_nothing(task):
    raise AssertionError(f"{task.record} was refused or lost")


async def test_what_is_being_written_when_it_closes_is_waited_for():
    backend = FaultyBackend()
    instance = Instance(backend, BackendVitals(backend.kind, EventStream()), 10, 30)
    journal = Journal(instance, refuse_nothing, refuse_nothing)
    journal.start()
    for task_id in ("first", "second"):
        task = journal.open(record(task_id))
        journal.write_ahead(task)
        if task_id == "first":
            await task.settled()
            backend.gate.clear()
    while backend.calls["commit"] < 2:  # noqa: ASYNC110 - it is a counter
        await asyncio.sleep(0)
    closing = asyncio.create_task(journal.close(PATIENCE))
    await asyncio.sleep(0)
    backend.gate.set()
    await closing
    assert await backend.get("second") is not None
