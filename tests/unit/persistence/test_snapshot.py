"""Records that cannot be stored do not keep the others from it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from taskflow import TaskRecord
from taskflow.backends import MemoryBackend
from taskflow.core.exceptions import BackendFormatError
from taskflow.core.query import TaskQuery
from taskflow.execution.stream import EventStream
from taskflow.persistence.health import BackendVitals
from taskflow.persistence.lease import Instance
from taskflow.persistence.rows import TaskRow
from taskflow.persistence.snapshot import REFUSALS, SnapshotScheduler
from tests.backends import ids, record


class Choosy(MemoryBackend):
    """Refuses rows of the functions that are named."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names

    async def save(self, rows: Sequence[TaskRow]) -> None:
        if any(row.func_name in self.names for row in rows):
            raise BackendFormatError(self.kind, "that is no text")
        await super().save(rows)


def scheduler(backend: MemoryBackend) -> SnapshotScheduler:
    return SnapshotScheduler(Instance(backend, BackendVitals(backend.kind, EventStream())))


def plain(number: int, func_name: object = "work") -> TaskRecord:
    return record(str(number), durable=False, func_name=func_name)


async def test_a_name_that_is_no_text_does_not_keep_others_from_being_stored(
    caplog: pytest.LogCaptureFixture,
):
    backend = MemoryBackend()
    history = scheduler(backend)
    for each in (plain(1), plain(2, object()), plain(3)):
        history.note(each)
    await history.flush()
    assert ["3", "1"] == ids(await backend.find(TaskQuery()))
    assert ["task '2' cannot be stored, and is left out"] == caplog.messages
    assert [] == list(history.unsaved())


async def test_what_the_backend_refuses_does_not_keep_others_from_being_stored(
    caplog: pytest.LogCaptureFixture,
):
    backend = Choosy("odd")
    history = scheduler(backend)
    for each in (plain(1), plain(2, "odd"), plain(3)):
        history.note(each)
    await history.flush()
    assert ["3", "1"] == ids(await backend.find(TaskQuery()))
    assert "task '2' cannot be stored, and is left out: memory: that is no text" == caplog.messages[-1]
    assert [] == list(history.unsaved())


@pytest.mark.parametrize("count", [1, 3, 2 * REFUSALS])
async def test_a_backend_that_refuses_everything_loses_nothing(count: int):
    history = scheduler(Choosy("work"))
    for number in range(count):
        history.note(plain(number))
    with pytest.raises(BackendFormatError):
        await history.flush()
    assert count == len(list(history.unsaved()))
