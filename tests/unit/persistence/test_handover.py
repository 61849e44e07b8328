"""What a clean stop hands over, within which time, and what it says."""

import asyncio
import logging

import pytest

from taskflow import TaskManager, TaskStatus
from taskflow.core.exceptions import BackendUnavailableError
from taskflow.core.query import TaskQuery
from taskflow.persistence import handover
from taskflow.persistence.handover import HandOver
from taskflow.persistence.rows import RELEASED
from tests.faulty import FaultyBackend


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    """Times for tests in which time passes."""
    for name, seconds in (("BUDGET", 0.3), ("SILENCE", 0.1), ("REPORT", 0.01)):
        monkeypatch.setattr(handover, name, seconds)


async def nothing() -> None: ...


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise BackendUnavailableError("memory", "it is full")


async def test_a_step_that_comes_to_its_end_says_nothing(quick, caplog):
    assert await HandOver().step("tasks", nothing(), lambda: 0)
    assert caplog.text == ""


async def test_a_step_that_fails_tells_how_much_is_left_and_why(quick, caplog):
    assert not await HandOver().step("tasks", fails(), lambda: 17)
    assert caplog.messages == ["shutdown: 17 tasks could not be stored: memory: it is full"]


async def test_a_step_of_which_nothing_is_heard_is_given_up(quick, caplog):
    assert not await HandOver().step("tasks", for_ever(), lambda: 17)
    assert caplog.messages == [
        "shutdown: 17 tasks could not be stored: the backend did not answer within 0.1 s"
    ]


async def test_a_step_that_gets_somewhere_goes_on_until_the_budget_is_spent(quick, caplog):
    caplog.set_level(logging.INFO, "taskflow")
    left = iter(range(10**6, 0, -1))
    hand_over = HandOver()
    assert not await hand_over.step("tasks", for_ever(), lambda: next(left))
    assert hand_over.left == 0
    assert "are still to be stored" in caplog.messages[0]
    assert caplog.messages[-1].endswith("tasks could not be stored: the 0.3 s for it were over")


async def test_what_a_step_raises_otherwise_is_not_hidden(quick):
    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await HandOver().step("tasks", broken(), lambda: 0)


class Counting(FaultyBackend):
    """Takes down how many rows each call was about."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    async def save(self, rows) -> None:
        self.sizes.append(len(rows))
        await super().save(rows)

    async def commit(self, changes):
        self.sizes.append(len(changes))
        return await super().commit(changes)


async def many_waiting(backend: FaultyBackend, *, persist: bool, count: int) -> None:
    """Start a manager, let so many tasks wait, and stop it."""
    manager = TaskManager(
        snapshot_backend=backend, requeue_pending=True, max_concurrent_tasks=1, shutdown_timeout=0
    )
    going = asyncio.Event()

    @manager.task(persist=persist)
    async def work(number: int) -> None:
        going.set()
        await asyncio.Event().wait()

    async with manager:
        ids = [manager.enqueue(work, number) for number in range(count)]
        await going.wait()
        for task_id in ids:
            await manager.committed(task_id)


async def test_very_many_tasks_are_handed_over_in_parts():
    backend = Counting()
    await many_waiting(backend, persist=False, count=2_000)
    rows = await backend.find(TaskQuery(status=[TaskStatus.PENDING], limit=1_000))
    assert {row.owner for row in rows} == {RELEASED}
    totals = await backend.count()
    assert totals[TaskStatus.PENDING].count == 1_999
    assert max(backend.sizes) <= 500


async def test_two_parts_are_on_their_way_at_a_time():
    class Late(FaultyBackend):
        """Answers in a later turn of the loop, and notes how many parts wait for that at a time."""

        parts, most = 0, 0

        async def save(self, rows) -> None:
            self.parts += 1
            self.most = max(self.most, self.parts)
            for _ in range(3):
                await asyncio.sleep(0)
            await super().save(rows)
            self.parts -= 1

    backend = Late()
    await many_waiting(backend, persist=False, count=2_000)
    assert backend.most == 2
    totals = await backend.count()
    assert totals[TaskStatus.PENDING].count == 1_999


async def test_durable_tasks_that_wait_need_no_write_at_a_stop_and_are_free_at_once(monkeypatch):
    backend = Counting()
    written: list[int] = []

    release = backend.release

    async def note(token: str) -> None:
        written.append(sum(backend.sizes))
        await release(token)

    monkeypatch.setattr(backend, "release", note)
    await many_waiting(backend, persist=True, count=1_000)
    # The inserts, that the first one runs, and that it was interrupted.
    assert written == [1_000 + 1 + 1]
    assert len(await backend.claimable(["work"], 2_000)) == 999


async def test_what_did_not_fit_is_told_with_its_number(monkeypatch, caplog):
    class Slow(FaultyBackend):
        async def save(self, rows) -> None:
            if any(row.owner == RELEASED for row in rows) and self.calls["save"] >= 2:
                await asyncio.Event().wait()
            await super().save(rows)

    monkeypatch.setattr(handover, "SILENCE", 0.1)
    await many_waiting(Slow(), persist=False, count=1_001)
    (told,) = [text for text in caplog.messages if "unfinished tasks" in text]
    assert (
        told == "shutdown: 500 unfinished tasks could not be stored: the backend did not answer within 0.1 s"
    )
