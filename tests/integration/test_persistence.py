"""What a task lives through when its process stops or dies."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from taskflow import TaskStatus
from taskflow.backends import MemoryBackend
from taskflow.persistence import handover
from taskflow.persistence.rows import RELEASED
from tests.faulty import FaultyBackend
from tests.instances import Instance, ends, enqueue_only, until

# A clean stop


async def test_a_pending_task_runs_after_the_next_start_as_if_nothing_had_happened():
    backend = MemoryBackend()
    moment, number = datetime(2026, 1, 1, 12, tzinfo=UTC), UUID(int=7)

    def functions(instance: Instance) -> Any:
        @instance.manager.task(retries=2)
        async def bill(when: datetime, amount: Decimal, *, ids: set[UUID], raw: bytes = b"\xff") -> None:
            instance.ran.append((when, amount, ids, raw))

        return bill, instance.task()

    async with Instance(
        backend, requeue_pending=True, max_concurrent_tasks=1, shutdown_timeout=0.05
    ) as first:
        bill, slow = functions(first)
        first.manager.enqueue(slow)
        task_id = first.manager.enqueue(
            bill, moment, Decimal("1.50"), ids={number}, idempotency_key="bill:1", tags={"to": "ada"}
        )
        await until(lambda: first.ran)
        await first.stop()
    assert first.manager.store.get(task_id) is None  # it is the backend's

    second = Instance(backend, requeue_pending=True)
    functions(second)
    async with second:
        record = await ends(second, task_id)

    assert [(moment, Decimal("1.50"), {number}, b"\xff")] == second.ran
    assert (TaskStatus.SUCCESS, "bill:1", {"to": "ada"}, 2) == (
        record.status,
        record.idempotency_key,
        record.tags,
        record.max_retries,
    )
    assert [("pending", None)] == first.story(task_id)
    assert [("pending", "requeued"), ("running", None), ("success", None)] == second.story(task_id)


@pytest.mark.parametrize("again", [True, False])
async def test_a_running_task_runs_again_only_if_it_may(again: bool):
    backend = MemoryBackend()
    async with Instance(backend, requeue_pending=True, shutdown_timeout=0.05) as first:
        task_id = first.manager.enqueue(first.task(requeue_on_interrupt=again), 1)
        await until(lambda: first.ran)
        await first.stop()

    second = Instance(backend, requeue_pending=True)
    second.task(requeue_on_interrupt=again)
    second.go.set()
    async with second:
        record = await ends(second, task_id)

    left = "pending" if again else "interrupted"
    assert (left, "shutdown") == first.story(task_id)[-1]
    assert (TaskStatus.SUCCESS if again else TaskStatus.INTERRUPTED) is record.status
    assert ([1] if again else []) == second.ran


async def test_a_task_that_waits_for_its_retry_waits_for_the_rest_after_the_next_start():
    backend = MemoryBackend()

    def failing(instance: Instance) -> Any:
        @instance.manager.task(retries=1, delay=3600)
        async def fail() -> None:
            instance.ran.append(1)
            raise ValueError("no")

        return fail

    async with Instance(backend, requeue_pending=True, shutdown_timeout=5) as first:
        task_id = first.manager.enqueue(failing(first))
        await until(lambda: (task_id, "retrying") == (task_id, first.story(task_id)[-1][0]))

    second = Instance(backend, requeue_pending=True, shutdown_timeout=5)
    failing(second)
    async with second:
        await until(lambda: second.manager.driver.executions)
        execution = second.manager.driver.executions[task_id]
        record = execution.record

        assert 3500 < execution.retry_delay <= 3600
        assert (TaskStatus.PENDING, 1) == (record.status, record.retries_used)
    assert [] == second.ran
    assert ["pending", "running", "retrying", "pending"] == [state for state, _ in first.story(task_id)]


async def test_without_requeueing_what_is_unfinished_is_interrupted():
    backend = MemoryBackend()
    async with Instance(backend, max_concurrent_tasks=1, shutdown_timeout=0.05) as first:
        work = first.task()
        ids = [first.manager.enqueue(work), first.manager.enqueue(work)]
        await until(lambda: first.ran)
        await first.stop()

    rows = [await backend.get(task_id) for task_id in ids]
    assert ["interrupted", "interrupted"] == [row.status for row in rows if row is not None]


async def test_a_function_that_is_not_registered_cannot_be_requeued_and_is_interrupted():
    backend = MemoryBackend()
    async with Instance(backend, requeue_pending=True, max_concurrent_tasks=1, shutdown_timeout=0.05) as only:

        async def passing() -> None: ...

        only.manager.enqueue(only.task())
        task_id = only.manager.enqueue(passing)
        await until(lambda: only.ran)
        await only.stop()

    row = await backend.get(task_id)
    assert row is not None
    assert TaskStatus.INTERRUPTED is row.status


async def test_one_manager_finds_its_own_tasks_again_when_it_is_started_again():
    async with Instance(
        MemoryBackend(), requeue_pending=True, max_concurrent_tasks=1, shutdown_timeout=0.05
    ) as only:
        work = only.task(requeue_on_interrupt=True)
        only.manager.enqueue(work, 1)
        only.manager.enqueue(work, 2)
        await until(lambda: only.ran)
        await only.stop()
        only.ran.clear()
        only.go.set()

        await only.manager.startup()
        await until(lambda: {1, 2} == set(only.ran))
        await only.manager.drain()

    assert ["success", "success"] == [record.status for record in await only.manager.merged_list()]


async def test_a_shutdown_saves_what_is_to_run_again_before_a_long_history(monkeypatch: pytest.MonkeyPatch):
    class SlowBackend(MemoryBackend):
        async def save(self, rows: Any) -> None:
            if all(row.owner is None for row in rows):
                await asyncio.Event().wait()  # the history takes longer than there is time
            await super().save(rows)

    monkeypatch.setattr(handover, "SILENCE", 0.1)
    backend = SlowBackend()
    async with Instance(backend, requeue_pending=True, snapshot_interval=3600) as instance:
        instance.go.set()
        work = instance.task()
        instance.manager.enqueue(work, "done")
        await instance.manager.drain()
        waits = enqueue_only(instance, work, "waits")
    assert {waits: RELEASED} == {row.task_id: row.owner for row in backend._rows.values()}


async def test_what_was_being_taken_over_when_a_shutdown_began_is_left_for_the_next_start():
    class SlowBackend(MemoryBackend):
        async def commit(self, changes: Any) -> Any:
            outcomes = await super().commit(changes)
            await answer.wait()  # the server has done it, and its answer is under way
            return outcomes

    answer, backend = asyncio.Event(), SlowBackend()
    answer.set()
    async with Instance(backend, requeue_pending=True) as old:
        task_id = enqueue_only(old, old.task(), 1)
        async with Instance(backend, requeue_pending=True) as taker:
            taker.task()
            answer.clear()
            await old.manager.shutdown()
            old.dead = True
            await until(lambda: backend._rows[task_id].owner != RELEASED)
            stopping = asyncio.create_task(taker.manager.shutdown())
            await until(lambda: taker.manager._shutdown.begun)
            answer.set()
            await stopping
        assert RELEASED == backend._rows[task_id].owner
        async with Instance(backend, requeue_pending=True) as new:
            new.go.set()
            new.task()
            await until(lambda: new.ran == [1])


# A crash


async def test_a_durable_task_that_had_not_begun_is_rescued_and_runs():
    backend = MemoryBackend()
    async with Instance(backend, max_concurrent_tasks=1) as dead, Instance(backend) as alive:
        work = dead.task(persist=True)
        alive.task(persist=True)
        alive.go.set()
        dead.manager.enqueue(work, "mid-execution")
        task_id = dead.manager.enqueue(work, "waits")
        await dead.manager.committed(task_id)
        await until(lambda: dead.ran)

        await dead.die()
        record = await ends(alive, task_id)

        assert (["waits"], TaskStatus.SUCCESS) == (alive.ran, record.status)
        assert [("pending", "lease_expired"), ("running", None), ("success", None)] == alive.story(task_id)


@pytest.mark.parametrize("again", [True, False])
async def test_a_durable_task_that_had_begun_runs_again_only_if_it_may(again: bool):
    backend = MemoryBackend()
    async with Instance(backend) as dead, Instance(backend) as alive:
        work = dead.task(persist=True, requeue_on_interrupt=again)
        alive.task(persist=True, requeue_on_interrupt=again)
        alive.go.set()
        task_id = dead.manager.enqueue(work, 1)
        await until(lambda: dead.ran)

        await dead.die()
        record = await ends(alive, task_id)

        if again:
            assert ([1], TaskStatus.SUCCESS) == (alive.ran, record.status)
        else:
            assert ([], TaskStatus.INTERRUPTED, "lease_expired") == (alive.ran, record.status, record.reason)


async def test_a_task_in_whose_middle_three_processes_died_is_poison():
    backend = MemoryBackend()
    instances = [Instance(backend) for _ in range(4)]
    async with instances[0]:
        task_id = instances[0].manager.enqueue(instances[0].task(persist=True, requeue_on_interrupt=True))
        for dead, following in pairwise(instances):
            await until(lambda dead=dead: dead.ran)
            await dead.die()
            following.task(persist=True, requeue_on_interrupt=True)
            await following.manager.startup()
        record = await ends(instances[3], task_id)

        assert (TaskStatus.FAILED, "poison", 3) == (record.status, record.reason, record.rescues)
        assert [] == instances[3].ran
        assert [("failed", "poison")] == instances[3].story(task_id)
        await instances[3].manager.shutdown()


async def test_what_an_instance_does_after_its_lease_ran_out_does_not_count():
    backend = MemoryBackend()
    late, other = Instance(backend, heartbeat_interval=60, lease_timeout=120), Instance(backend)
    async with late, other:
        work = late.task(persist=True, requeue_on_interrupt=True)
        other.task(persist=True, requeue_on_interrupt=True)
        task_id = late.manager.enqueue(work)
        await until(lambda: late.ran)

        owner = backend._rows[task_id].owner
        assert owner is not None
        del backend._leases[owner]  # somebody has not heard of it for too long
        await until(lambda: other.ran)
        late.go.set()
        await until(lambda: late.story(task_id)[-1][0] in ("success", "interrupted"))
        await until(lambda: late.manager.store.get(task_id) is None)
        row = await backend.get(task_id)
        assert row is not None
        assert TaskStatus.RUNNING is row.status

        other.go.set()
        assert TaskStatus.SUCCESS is (await ends(other, task_id)).status


async def test_an_instance_that_wakes_up_cancels_what_others_have_taken_over():
    backend = MemoryBackend()
    late, other = Instance(backend, heartbeat_interval=0.05, lease_timeout=60), Instance(backend)
    async with late, other:
        work = late.task(persist=True, requeue_on_interrupt=True)
        kept = late.manager.enqueue(late.task(name="kept", persist=True))
        other.task(persist=True, requeue_on_interrupt=True)
        task_id = late.manager.enqueue(work)
        await until(lambda: len(late.ran) == 2)

        taken = backend._rows[task_id]
        assert late.manager._persistence is not None
        backend._rows[task_id] = replace(taken, owner=RELEASED, status=TaskStatus.PENDING)
        await until(lambda: other.ran)
        # Somebody has not heard of it for too long.
        del backend._leases[late.manager._persistence._instance.token]
        await until(lambda: late.story(task_id)[-1] == ("interrupted", "lease_lost"))
        await until(lambda: task_id not in late.manager.driver.executions)

        late.go.set()
        assert TaskStatus.SUCCESS is (await ends(late, kept)).status
        other.go.set()
        assert TaskStatus.SUCCESS is (await ends(other, task_id)).status


async def test_a_heartbeat_keeps_a_long_task():
    backend = FaultyBackend()
    async with Instance(backend) as busy, Instance(backend) as other:
        other.task(persist=True)
        task_id = busy.manager.enqueue(busy.task(persist=True))
        await until(lambda: busy.ran)
        beats, looks = backend.calls["renew"], backend.calls["claimable"]
        await until(lambda: backend.calls["renew"] > beats + 10 and backend.calls["claimable"] > looks + 20)

        busy.go.set()
        assert TaskStatus.SUCCESS is (await ends(busy, task_id)).status
        assert [] == other.ran


async def test_what_is_not_durable_is_interrupted_in_the_history_when_its_process_dies():
    backend = MemoryBackend()
    async with Instance(backend) as dead, Instance(backend) as alive:
        task_id = dead.manager.enqueue(dead.task())
        await until(lambda: dead.ran)
        assert dead.manager._scheduler is not None
        await dead.manager._scheduler.flush()

        await dead.die()
        record = await ends(alive, task_id)

        assert (TaskStatus.INTERRUPTED, "lease_expired") == (record.status, record.reason)
        assert [("interrupted", "lease_expired")] == alive.story(task_id)


# What cannot be revived here


async def leave_behind(backend: MemoryBackend, count: int, **options: Any) -> list[str]:
    """Durable tasks that wait, of a process that has stopped."""
    async with Instance(backend, max_concurrent_tasks=1, shutdown_timeout=0.05, **options) as first:
        first.manager.enqueue(first.task(name="blocks"))
        await until(lambda: first.ran)
        work = first.task(persist=True)
        ids = [first.manager.enqueue(work, 5) for _ in range(count)]
        await first.manager.committed(ids[-1])
        await first.stop()
    return ids


async def leave_one_behind(backend: MemoryBackend, **options: Any) -> str:
    """One such task."""
    (task_id,) = await leave_behind(backend, 1, **options)
    return task_id


async def test_a_task_of_an_unknown_function_stays_and_is_named_in_the_log(caplog: pytest.LogCaptureFixture):
    backend = MemoryBackend()
    task_id = await leave_one_behind(backend)
    async with Instance(backend):
        assert "1 stored tasks wait for a function named 'work', which is not registered here" in caplog.text
    row = await backend.get(task_id)
    assert row is not None
    assert TaskStatus.PENDING is row.status

    async with Instance(backend) as knowing:
        knowing.go.set()
        knowing.task(persist=True)
        assert TaskStatus.SUCCESS is (await ends(knowing, task_id)).status


async def test_a_wrong_key_leaves_the_row_where_it_is_and_says_so_once(caplog: pytest.LogCaptureFixture):
    backend = FaultyBackend()
    key = Fernet.generate_key()
    task_id = await leave_one_behind(backend, encrypt_args_key=key)
    caplog.clear()
    wrong = Instance(backend, encrypt_args_key=Fernet.generate_key())
    wrong.task(persist=True)
    async with wrong:
        looks = backend.calls["claimable"]
        await until(lambda: backend.calls["claimable"] > looks + 5)
    row = await backend.get(task_id)
    assert row is not None
    assert TaskStatus.PENDING is row.status
    assert 1 == caplog.text.count("was left behind and stays where it is")

    right = Instance(backend, encrypt_args_key=[Fernet.generate_key(), key])  # rotated
    right.task(persist=True)
    right.go.set()
    async with right:
        assert TaskStatus.SUCCESS is (await ends(right, task_id)).status
    assert [5] == right.ran


async def test_a_wrong_key_for_many_tasks_does_not_fill_the_log(caplog: pytest.LogCaptureFixture):
    backend = FaultyBackend()
    await leave_behind(backend, 200, encrypt_args_key=Fernet.generate_key())
    caplog.clear()
    wrong = Instance(backend, encrypt_args_key=Fernet.generate_key())
    wrong.task(persist=True)
    async with wrong:
        looks = backend.calls["claimable"]
        await until(lambda: backend.calls["claimable"] > looks + 10)
    assert 10 == caplog.text.count("was left behind and stays where it is")
    assert 1 == caplog.text.count("more tasks work were left behind like that; they are not logged any more")


async def test_arguments_that_the_function_no_longer_takes_leave_the_row_where_it_is(
    caplog: pytest.LogCaptureFixture,
):
    backend = MemoryBackend()
    task_id = await leave_one_behind(backend)
    other = Instance(backend)

    @other.manager.task(persist=True, name="work")
    async def changed(someone: str, when: datetime) -> None: ...

    async with other:
        assert "stays where it is: task 'work', argument" in caplog.text
    row = await backend.get(task_id)
    assert row is not None
    assert TaskStatus.PENDING is row.status
