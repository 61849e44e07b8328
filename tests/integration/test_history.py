"""What is kept of tasks that have ended, where it is found, and how they are repeated."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from cryptography.fernet import Fernet

from taskflow import (
    ArgumentsNotKeptError,
    CommitError,
    TaskManager,
    TaskNotFoundError,
    TaskRecord,
    TaskStatus,
    task_log,
)
from taskflow.backends import MemoryBackend
from taskflow.core.models import TERMINAL
from taskflow.core.query import TaskQuery
from taskflow.execution.retry import _draft, retry_id
from taskflow.persistence import snapshot
from taskflow.persistence.history import History
from taskflow.persistence.rows import to_record
from tests.faulty import FaultyBackend
from tests.instances import Instance, ends, stored, until


class SlowBackend(MemoryBackend):
    """Saves when it is told to.

    Attributes:
        saving: set when it has been asked.
        go: set it to have it done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.saving, self.go = asyncio.Event(), asyncio.Event()

    async def save(self, rows: Any) -> None:
        self.saving.set()
        await self.go.wait()
        await super().save(rows)


# History


async def test_a_record_that_changed_is_saved_once_and_then_no_more():
    backend = FaultyBackend()
    async with Instance(backend) as instance:
        instance.go.set()
        work = instance.task()
        ids = [instance.manager.enqueue(work, n) for n in range(3)]
        await instance.manager.drain()
        scheduler = instance.manager._scheduler
        assert scheduler is not None
        await scheduler.flush()
        saves = backend.calls["save"]
        await scheduler.flush()

        assert saves == backend.calls["save"]
        rows = [await backend.get(task_id) for task_id in ids]
        assert [TaskStatus.SUCCESS] * 3 == [row.status for row in rows if row is not None]


async def test_what_piles_up_while_others_are_saved_is_saved_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(snapshot, "FLUSH_AT", 10)
    backend = SlowBackend()
    async with Instance(backend, snapshot_interval=3600) as instance:
        instance.go.set()
        work = instance.task()
        for number in range(10):
            instance.manager.enqueue(work, number)
        await backend.saving.wait()
        for number in range(20):  # beyond the mark, while the first are being saved
            instance.manager.enqueue(work, number)
        await instance.manager.drain()
        backend.go.set()
        await until(lambda: len(backend._rows) == 30)


async def test_a_record_that_left_the_memory_before_it_was_saved_is_still_found_and_saved():
    backend = MemoryBackend()
    async with Instance(backend, max_history=1) as instance:
        instance.go.set()
        work = instance.task()
        ids = [instance.manager.enqueue(work, n) for n in range(3)]
        await instance.manager.drain()
        assert 1 == len(instance.manager.store)
        found = [await instance.manager.history.get(task_id) for task_id in ids]
        assert ids == [record.task_id for record in found if record is not None]
        assert set(ids) == {record.task_id for record in await instance.manager.merged_list()}

    assert set(ids) == set(backend._rows)


async def test_a_record_that_left_the_memory_is_found_also_while_it_is_being_saved():
    backend = SlowBackend()
    async with Instance(backend, max_history=1) as instance:
        instance.go.set()
        work = instance.task()
        ids = [instance.manager.enqueue(work, n) for n in range(3)]
        await instance.manager.drain()
        assert instance.manager._scheduler is not None
        flushing = asyncio.create_task(instance.manager._scheduler.flush())
        await backend.saving.wait()
        found = [await instance.manager.history.get(task_id) for task_id in ids]
        assert ids == [record.task_id for record in found if record is not None]
        backend.go.set()
        await flushing
        assert [] == list(instance.manager._scheduler.unsaved())


async def test_the_listing_has_each_task_once_across_memory_and_backend_and_instances():
    backend = MemoryBackend()
    async with (
        Instance(backend, max_history=2, merged_list_ttl=0) as one,
        Instance(backend, merged_list_ttl=0) as other,
    ):
        for instance in (one, other):
            instance.go.set()
            work = instance.task()
            for n in range(5):
                instance.manager.enqueue(work, n)
            await instance.manager.drain()
            assert instance.manager._scheduler is not None
            await instance.manager._scheduler.flush()

        listed = [record.task_id for record in await one.manager.merged_list()]
        totals = await one.manager.history.totals()

    assert (10, 10) == (len(listed), len(set(listed)))
    assert {TaskStatus.SUCCESS: 10} == {status: total.count for status, total in totals.items()}


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_pages_have_the_tasks_of_two_instances_in_order_whoever_has_them_in_memory(limit: int):
    backend = MemoryBackend()
    async with (
        Instance(backend, max_history=8, merged_list_ttl=0) as one,
        Instance(backend, merged_list_ttl=0) as other,
    ):
        instances = (one, other)
        functions = {instance: instance.task() for instance in instances}
        ids = []
        for number in range(40):
            instance = instances[number * 7 % 5 % 2]
            instance.go.set()
            ids.append(instance.manager.enqueue(functions[instance]))
        for instance in instances:
            await instance.manager.drain()
            assert instance.manager._scheduler is not None
            await instance.manager._scheduler.flush()

        listed: list[str] = []
        page = await one.manager.history.page(TaskQuery(limit=limit))
        while page.next is not None:
            listed += [record.task_id for record in page.records]
            page = await one.manager.history.page(TaskQuery(limit=limit, after=page.next))
        listed += [record.task_id for record in page.records]

    assert ids[::-1] == listed


async def test_a_page_of_recent_tasks_asks_the_backend_once_however_many_are_in_memory():
    backend = FaultyBackend()
    async with Instance(backend, merged_list_ttl=0) as instance:
        instance.go.set()
        work = instance.task()
        ids = [instance.manager.enqueue(work) for _ in range(100)]
        await instance.manager.drain()
        assert instance.manager._scheduler is not None
        await instance.manager._scheduler.flush()
        page = await instance.manager.history.page(TaskQuery(limit=10))

    assert ids[:-11:-1] == [record.task_id for record in page.records]
    assert 1 == backend.calls["find"]


async def test_a_task_that_comes_to_this_instance_during_a_search_is_still_on_the_page():
    backend = FaultyBackend()
    async with Instance(backend, merged_list_ttl=0) as one, Instance(backend, merged_list_ttl=0) as other:
        other.go.set()
        work = other.task()
        ids = [other.manager.enqueue(work) for _ in range(3)]
        await other.manager.drain()
        assert other.manager._scheduler is not None
        await other.manager._scheduler.flush()
        find = backend.find

        async def found_just_now(query: TaskQuery) -> Any:
            rows = await find(query)
            one.manager.store.adopt(to_record(rows[1]), "user")
            return rows

        backend.find = found_just_now  # type: ignore[method-assign]
        page = await one.manager.history.page(TaskQuery(limit=10))

    assert ids[::-1] == [record.task_id for record in page.records]


async def test_a_stored_row_is_not_listed_for_what_its_task_no_longer_is():
    backend = MemoryBackend()
    async with Instance(backend, merged_list_ttl=0) as instance:
        work = instance.task()
        ids = [instance.manager.enqueue(work) for _ in range(2)]
        scheduler = instance.manager._scheduler
        assert scheduler is not None
        await until(lambda: len(instance.manager.store.live()) == 2)
        await scheduler.flush()
        stored = {(await backend.get(task_id)).status for task_id in ids}  # type: ignore[union-attr]
        instance.go.set()
        await instance.manager.drain()
        unfinished = [status for status in TaskStatus if status not in TERMINAL]
        page = await instance.manager.history.page(TaskQuery(status=unfinished))

    assert stored <= set(unfinished)
    assert [] == page.records


async def test_a_line_that_is_logged_after_the_end_reaches_the_history():
    backend = MemoryBackend()
    async with Instance(backend) as instance:
        done = asyncio.Event()
        later: list[asyncio.Task[None]] = []

        @instance.manager.task(persist=True)
        async def chatty() -> None:
            async def afterwards() -> None:
                await done.wait()
                task_log("one more thing")

            later.append(asyncio.create_task(afterwards()))

        task_id = instance.manager.enqueue(chatty)
        await ends(instance, task_id)
        done.set()
        await asyncio.gather(*later)

    row = await backend.get(task_id)
    assert row is not None
    assert "one more thing" in row.details


async def test_old_tasks_are_pruned_with_their_keys():
    backend = MemoryBackend()
    async with Instance(backend, retention_days=1e-9) as instance:
        instance.go.set()
        work = instance.task(persist=True)
        task_id = instance.manager.enqueue(work, idempotency_key="k")
        await ends(instance, task_id)
        scheduler = instance.manager._scheduler
        assert scheduler is not None

        assert 1 == await scheduler.prune(1e-9)
        assert {} == backend._rows


# Retry


async def test_a_task_of_an_earlier_process_is_retried_with_its_own_arguments():
    backend = MemoryBackend()

    def functions(instance: Instance) -> Any:
        @instance.manager.task(persist=True, name="fails")
        async def fails(amount: Decimal) -> None:
            instance.ran.append(amount)
            if instance is first:
                raise ValueError("no")

        return fails

    key = Fernet.generate_key()
    async with Instance(backend, encrypt_args_key=key) as first:
        old = first.manager.enqueue(functions(first), Decimal("2.50"), tags={"a": "b"})
        await ends(first, old)
    second = Instance(backend, encrypt_args_key=key)
    functions(second)
    async with second:
        new, twice = await asyncio.gather(second.manager.retry(old), second.manager.retry(old))
        record = await ends(second, new.task_id)

    assert new is twice
    assert (old, {"a": "b"}, TaskStatus.SUCCESS) == (record.retry_of, record.tags, record.status)
    assert [Decimal("2.50")] == second.ran


@pytest.mark.parametrize("persist", [False, True])
async def test_a_retry_on_two_instances_runs_once(persist: bool):
    backend = MemoryBackend()

    def function(instance: Instance) -> Any:
        @instance.manager.task(persist=persist, name="fails")
        async def fails(value: int) -> None:
            ran.append(value)
            if len(ran) == 1:
                raise ValueError("no")

        return fails

    ran: list[int] = []
    async with (
        Instance(backend, requeue_pending=True) as one,
        Instance(backend, requeue_pending=True) as other,
    ):
        old = one.manager.enqueue(function(one), 5)
        function(other)
        await ends(one, old)
        assert one.manager._scheduler is not None
        await one.manager._scheduler.flush()

        async def is_stored() -> bool:  # a durable one by the journal, which nothing above waits for
            return await stored(backend, old) is TaskStatus.FAILED

        await until(is_stored)
        managers = [one.manager, other.manager, one.manager]
        new = [await manager.retry(old) for manager in managers]
        await ends(one, new[0].task_id)
        await other.manager.drain()

        assert 1 == len({record.task_id for record in new})
        assert [5, 5] == ran


@pytest.mark.parametrize("persist", [False, True])
async def test_a_retry_that_is_clicked_on_two_instances_at_once_runs_once(persist: bool):
    backend = FaultyBackend()

    def function(instance: Instance) -> Any:
        @instance.manager.task(persist=persist, name="fails")
        async def fails() -> None:
            ran.append(instance)
            if len(ran) == 1:
                raise ValueError("no")

        return fails

    ran: list[Instance] = []
    async with Instance(backend) as one, Instance(backend) as other:
        old = one.manager.enqueue(function(one))
        function(other)
        await ends(one, old)
        assert one.manager._scheduler is not None
        await one.manager._scheduler.flush()
        backend.gate.clear()  # both have seen that nobody has retried it
        before = backend.calls["commit"]
        clicks = [asyncio.create_task(instance.manager.retry(old)) for instance in (one, other, one)]
        await until(lambda: backend.calls["commit"] >= before + 2)
        backend.gate.set()
        new = await asyncio.gather(*clicks)
        await one.manager.drain()
        await other.manager.drain()
        assert one.manager._scheduler is not None
        await one.manager._scheduler.flush()
        seen = [await each.manager.history.get(new[0].task_id) for each in (one, other)]
        assert [TaskStatus.SUCCESS] * 2 == [record.status for record in seen if record is not None]

    assert 1 == len({record.task_id for record in new})
    assert 2 == len(ran)


async def test_a_retry_that_could_not_be_stored_can_be_made_when_there_is_room_again():
    backend = FaultyBackend()
    async with Instance(backend) as instance:

        @instance.manager.task(persist=True)
        async def fails() -> None:
            instance.ran.append(1)
            if len(instance.ran) == 1:
                raise ValueError("no")

        old = instance.manager.enqueue(fails)
        await ends(instance, old)
        backend.full = True
        refused = await instance.manager.retry(old)
        with pytest.raises(CommitError):
            await instance.manager.committed(refused.task_id)
        backend.full = False

        async def stored_again() -> bool:
            new = await instance.manager.retry(old)
            await instance.manager.drain()
            return new.status is TaskStatus.SUCCESS

        await until(stored_again)
        again = await instance.manager.retry(old)
        assert [1, 1] == instance.ran
        assert TaskStatus.SUCCESS is again.status


async def test_a_retry_that_was_cancelled_before_it_began_can_be_made_again():
    async with Instance(MemoryBackend(), max_concurrent_tasks=1) as instance:

        @instance.manager.task()
        async def fails() -> None:
            instance.ran.append(1)
            if len(instance.ran) == 1:
                raise ValueError("no")

        old = instance.manager.enqueue(fails)
        await instance.manager.drain()
        busy = instance.manager.enqueue(instance.task(name="busy"))
        await until(lambda: instance.manager.store.get(busy).status is TaskStatus.RUNNING)
        cancelled = await instance.manager.retry(old)
        instance.manager.cancel(cancelled.task_id)
        again, twice = await instance.manager.retry(old), await instance.manager.retry(old)
        instance.go.set()
        await instance.manager.drain()

        assert again is twice
        assert (cancelled.task_id, TaskStatus.SUCCESS) == (again.retry_of, again.status)


async def test_a_task_of_which_a_thousand_retries_came_to_nothing_can_be_retried():
    manager = TaskManager(max_history=5_000)

    @manager.task()
    async def work() -> None: ...

    first = last = manager.enqueue(work)  # nothing begins: the manager has not started
    manager.cancel(first)
    for _ in range(1_200):
        again = await manager.retry(last)
        assert again.retry_of == last
        last = again.task_id
        manager.cancel(last)

    assert last == (await manager.retry(first)).retry_of


async def test_retries_that_came_to_nothing_are_not_followed_from_the_first_one_each_time(
    monkeypatch: pytest.MonkeyPatch,
):
    manager = TaskManager()
    asked: list[str] = []

    @manager.task()
    async def work() -> None: ...

    async def get(self: History, task_id: str) -> TaskRecord | None:
        asked.append(task_id)
        return self._store.get(task_id)

    monkeypatch.setattr(History, "get", get)
    first = manager.enqueue(work)  # nothing begins: the manager has not started
    manager.cancel(first)
    chain, counts = [first], []
    for _ in range(30):
        asked.clear()
        again = await manager.retry(first)
        assert again.retry_of == chain[-1]
        chain.append(again.task_id)
        counts.append(len(asked))
        manager.cancel(again.task_id)

    assert max(counts) <= 6


@pytest.mark.parametrize("deleted", [[0], [-2, -1], [-1]])
async def test_retries_are_followed_from_the_first_one_again_if_some_were_deleted(deleted: list[int]):
    manager = TaskManager()

    @manager.task()
    async def work() -> None: ...

    chain = [manager.enqueue(work)]
    for _ in range(3):
        manager.cancel(chain[-1])
        chain.append((await manager.retry(chain[0])).task_id)
    manager.cancel(chain[-1])
    for place in deleted:
        manager.store.forget(chain[place])

    if deleted == [0]:
        with pytest.raises(TaskNotFoundError):
            await manager.retry(chain[0])
    else:
        assert chain[deleted[0]] == (await manager.retry(chain[0])).task_id


async def test_a_retry_of_an_instance_that_died_before_it_was_saved_is_interrupted_and_can_be_made_again():
    backend = MemoryBackend()

    def function(instance: Instance) -> Any:
        @instance.manager.task(name="fails")
        async def fails(value: int = 0) -> None:
            instance.ran.append(value)
            if instance is not alive or not instance.go.is_set():
                raise ValueError("no")

        return fails

    dead, alive = Instance(backend, requeue_pending=True), Instance(backend, requeue_pending=True)
    async with dead, alive:
        old = dead.manager.enqueue(function(dead), 5)
        await ends(dead, old)
        assert dead.manager._scheduler is not None
        await dead.manager._scheduler.flush()
        assert dead.manager._persistence is not None
        function(alive)
        alive.go.set()
        record = dead.manager.store.get(old)
        assert record is not None
        draft = _draft(record, retry_id(old), (5,), {})
        assert await dead.manager._persistence.reserve(draft)
        await dead.die()
        left = await ends(alive, retry_id(old))
        assert (TaskStatus.INTERRUPTED, old) == (left.status, left.retry_of)

        again = await alive.manager.retry(old)
        await alive.manager.drain()
        assert ([5], TaskStatus.SUCCESS) == (alive.ran, again.status)


async def test_a_task_whose_arguments_were_not_kept_is_not_called_without_them():
    backend = MemoryBackend()

    def functions(instance: Instance) -> Any:
        @instance.manager.task()
        async def fails(value: int = 0) -> None:
            instance.ran.append(value)
            raise ValueError("no")

        return fails

    async with Instance(backend) as first:
        old = first.manager.enqueue(functions(first), 5)
        await ends(first, old)
    second = Instance(backend)
    functions(second)
    async with second:
        with pytest.raises(ArgumentsNotKeptError, match="its arguments were not kept"):
            await second.manager.retry(old)
    assert [] == second.ran
