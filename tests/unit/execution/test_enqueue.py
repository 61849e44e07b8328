from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
import tracemalloc
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet

from taskflow import (
    ConfigurationError,
    InMemoryLogger,
    LifecycleEvent,
    ManagedBackgroundTasks,
    ManagerClosedError,
    PersistenceRequiredError,
    TaskArgumentError,
    TaskManager,
    TaskObserver,
    TaskStatus,
)
from taskflow.core.ids import new_task_id

PENDING, RUNNING, RETRYING, SUCCESS, FAILED, INTERRUPTED, CANCELLED = TaskStatus


async def work(*args: Any, **kwargs: Any) -> None: ...


async def fail() -> None:
    raise ValueError


# Ids


def test_an_id_is_a_random_uuid():
    ids = [new_task_id() for _ in range(1_000)]

    assert ids == [str(uuid.UUID(task_id)) for task_id in ids]
    assert {4} == {uuid.UUID(task_id).version for task_id in ids}
    assert {uuid.RFC_4122} == {uuid.UUID(task_id).variant for task_id in ids}
    assert set("89ab") == {task_id[19] for task_id in ids}
    assert 1_000 == len(set(ids))


def test_threads_never_share_an_id():
    start = threading.Barrier(8)

    def make(_: int) -> list[str]:
        start.wait()
        return [new_task_id() for _ in range(2_000)]

    with ThreadPoolExecutor(8) as threads:
        ids = [task_id for made in threads.map(make, range(8)) for task_id in made]

    assert len(ids) == len(set(ids))


FORK = """
import os
from taskflow.core.ids import new_task_id

new_task_id()
reader, writer = os.pipe()
child = os.fork()
ids = "".join(new_task_id() + "\\n" for _ in range(300))
if child == 0:
    os.write(writer, ids.encode())
    os._exit(0)
os.close(writer)
with open(reader) as pipe:
    of_child = pipe.read()
os.waitpid(child, 0)
assert of_child.count("\\n") == 300
assert not set(of_child.split()) & set(ids.split())
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system does not fork")
def test_a_forked_process_makes_ids_of_its_own():
    subprocess.run([sys.executable, "-c", FORK], check=True)


# Records


async def test_a_record_tells_what_was_enqueued():
    manager = TaskManager()
    manager.task(retries=2, name="mail.send")(work)
    task_id = manager.enqueue(work, 1, tags={"tenant": "acme"}, idempotency_key="key", to="ann")
    record = manager.store.get(task_id)

    assert record is not None
    assert ("mail.send", PENDING, (1,), {"to": "ann"}) == (
        record.func_name,
        record.status,
        record.args,
        record.kwargs,
    )
    assert (2, True, {"tenant": "acme"}, "key") == (
        record.max_retries,
        record.registered,
        record.tags,
        record.idempotency_key,
    )
    assert f"{__name__}.work" == record.code_function
    assert timedelta(0) == record.created_at.utcoffset()
    await manager.drain()


async def test_an_unregistered_function_runs_with_default_settings():
    seen = InMemoryLogger()
    manager = TaskManager(loggers=[seen])
    manager.enqueue(fail)
    await manager.drain()

    assert [("fail", False, 0)] * 3 == [
        (event.func_name, event.registered, event.max_retries) for event in seen.lifecycle_events
    ]
    assert [PENDING, RUNNING, FAILED] == [event.status for event in seen.lifecycle_events]


async def test_the_callers_tags_are_copied():
    manager, tags = TaskManager(), {"tenant": "acme"}
    task_id = manager.enqueue(work, tags=tags)
    tags["tenant"] = "other"

    assert {"tenant": "acme"} == manager.store.get(task_id).tags  # type: ignore[union-attr]
    await manager.drain()


def test_a_task_enqueued_without_a_loop_waits_for_start_up():
    manager, ran = TaskManager(), []
    task_id = manager.enqueue(ran.append, 1)
    before = manager.store.get(task_id).status  # type: ignore[union-attr]

    async def life():
        async with manager:
            await manager.drain()

    asyncio.run(life())

    assert (PENDING, [1]) == (before, ran)


async def test_a_task_enqueued_in_a_thread_runs_on_the_managers_loop():
    async with TaskManager() as manager:
        loops: list[asyncio.AbstractEventLoop] = []

        async def note():
            loops.append(asyncio.get_running_loop())

        await asyncio.to_thread(manager.enqueue, note)
        await asyncio.sleep(0)
        await manager.drain()

        assert [asyncio.get_running_loop()] == loops


# Refusals


@pytest.mark.parametrize("tags", ["a", ["a"], {"a": 1}, {1: "a"}, {"a": None}, 5])
def test_wrong_tags_are_refused(tags: Any):
    manager = TaskManager()
    with pytest.raises(ConfigurationError, match=r"^tags="):
        manager.enqueue(work, tags=tags)

    assert 0 == len(manager.store)


@pytest.mark.parametrize("key", ["", 5, b"key", ["key"], "a\0b", "\ud800"])
def test_a_wrong_idempotency_key_is_refused(key: Any):
    manager = TaskManager()
    with pytest.raises(ConfigurationError, match=r"^idempotency_key=.*must be text"):
        ManagedBackgroundTasks(manager).add_task(work, idempotency_key=key)

    assert 0 == len(manager.store)


def test_a_durable_task_is_accepted_by_the_decorator_and_refused_where_there_is_no_backend():
    manager = TaskManager()
    manager.task(persist=True)(work)
    tasks = ManagedBackgroundTasks(manager)
    for enqueue in (tasks.add_task, manager.enqueue):
        with pytest.raises(PersistenceRequiredError, match="task 'work' has persist=True") as refused:
            enqueue(work)

    assert "work" == refused.value.func_name
    assert (0, []) == (len(manager.store), tasks.tasks)


async def test_a_manager_that_was_shut_down_takes_no_tasks():
    manager = TaskManager()
    await manager.startup()
    await manager.shutdown()
    for enqueue in (manager.enqueue, ManagedBackgroundTasks(manager).add_task):
        with pytest.raises(ManagerClosedError):
            enqueue(work)

    assert 0 == len(manager.store)


# Idempotency


@pytest.mark.parametrize("status", [PENDING, RUNNING, RETRYING, SUCCESS])
async def test_a_key_that_is_held_returns_its_holder_and_runs_nothing(status: TaskStatus):
    manager, gate, ran = TaskManager(), asyncio.Event(), []

    @manager.task(retries=1, delay=3600.0)
    async def holder():
        ran.append(1)
        if status is RUNNING:
            await gate.wait()
        if status is RETRYING:
            raise ValueError

    tasks = ManagedBackgroundTasks(manager)
    first = tasks.add_task(holder, idempotency_key="key")
    host = asyncio.create_task(tasks()) if status is not PENDING else None
    while manager.store.get(first).status is not status:  # type: ignore[union-attr]  # noqa: ASYNC110
        await asyncio.sleep(0)
    attempts = len(ran)
    second = tasks.add_task(holder, idempotency_key="key")

    assert first == second == manager.enqueue(holder, idempotency_key="key")
    assert (1, 1, attempts) == (len(manager.store), len(tasks.tasks), len(ran))
    gate.set()
    if status is RETRYING:
        manager.cancel(first)
    if host is not None:
        await host


@pytest.mark.parametrize("status", [FAILED, CANCELLED, INTERRUPTED])
async def test_a_key_that_was_released_makes_a_new_task(status: TaskStatus):
    manager = TaskManager()
    tasks = ManagedBackgroundTasks(manager)
    first = tasks.add_task(fail, idempotency_key="key")
    if status is CANCELLED:
        manager.cancel(first)
    host = asyncio.create_task(tasks())
    if status is INTERRUPTED:
        await manager.driver.interrupt_all()
    await host
    second = manager.enqueue(fail, idempotency_key="key")
    await manager.drain()

    assert first != second
    assert (status, FAILED) == tuple(manager.store.get(t).status for t in (first, second))  # type: ignore[union-attr]


async def test_two_functions_may_use_the_same_key():
    manager, ran = TaskManager(), []

    @manager.task()
    async def welcome():
        ran.append("welcome")

    @manager.task()
    async def reset_password():
        ran.append("reset_password")

    for function in (welcome, reset_password, welcome):
        manager.enqueue(function, idempotency_key="ada")
        await manager.drain()
    assert ["welcome", "reset_password"] == ran


def test_of_fifty_threads_with_one_key_one_makes_a_task():
    manager = TaskManager()
    start = threading.Barrier(50)

    def enqueue(_: int) -> str:
        start.wait()
        return manager.enqueue(work, idempotency_key="key")

    with ThreadPoolExecutor(50) as threads:
        ids = set(threads.map(enqueue, range(50)))

    assert [*ids] == [record.task_id for record in manager.store]
    asyncio.run(manager.drain())
    assert [SUCCESS] == [record.status for record in manager.store]


# Encryption


async def test_encrypted_arguments_reach_the_function_and_never_the_record():
    got: list[Any] = []
    manager = TaskManager(encrypt_args_key=Fernet.generate_key())

    async def pay(card: str, *, pin: int):
        got.append((card, pin))

    task_id = manager.enqueue(pay, "4111", pin=1234)
    record = manager.store.get(task_id)
    assert record is not None
    shown, stored = repr(record), record.encrypted_payload
    await manager.drain()

    assert [("4111", 1234)] == got
    assert ((), {}) == (record.args, record.kwargs)
    assert "4111" not in shown + repr(record)
    assert isinstance(stored, bytes)
    assert b"4111" in manager.fernet.decrypt(stored)  # type: ignore[union-attr]


def test_an_argument_that_cannot_be_encrypted_is_refused_and_claims_nothing():
    manager = TaskManager(encrypt_args_key=Fernet.generate_key())

    def pay(card: object): ...

    with pytest.raises(TaskArgumentError, match="task 'pay', argument 'card'"):
        manager.enqueue(pay, object(), idempotency_key="key")

    assert (0, None) == (len(manager.store), manager.store.find_by_idempotency_key("key"))


# Races with the shutdown


def test_a_task_that_another_thread_enqueues_during_the_shutdown_does_not_stay_unfinished():
    entered, released = threading.Event(), threading.Event()

    class Slow(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent):
            if event.status is PENDING:
                entered.set()
                released.wait()

    manager = TaskManager(loggers=[Slow()])

    def enqueue():
        with contextlib.suppress(ManagerClosedError):
            manager.enqueue(work)

    async def life():
        async with manager:
            thread = threading.Thread(target=enqueue)
            thread.start()
            await asyncio.to_thread(entered.wait)
        released.set()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)

    asyncio.run(life())

    assert [] == manager.store.live()


# Memory


def test_a_finished_task_takes_at_most_2_kib():
    manager = TaskManager()

    async def run(count: int):
        tasks = ManagedBackgroundTasks(manager)
        for _ in range(count):
            tasks.add_task(work)
        await tasks()

    asyncio.run(run(200))
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    asyncio.run(run(3_000))
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert grown / 3_000 <= 2_048


def test_memory_is_bounded_by_max_history():
    manager = TaskManager(max_history=100)

    async def run():
        for _ in range(50):
            tasks = ManagedBackgroundTasks(manager)
            for _ in range(1_000):
                tasks.add_task(work, idempotency_key=new_task_id())
            await tasks()

    asyncio.run(run())

    assert (100, 100) == (len(manager.store), len(manager.store.list()))
    assert {} == manager.driver.executions
