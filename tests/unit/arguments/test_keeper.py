"""What a second attempt gets."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.fernet import Fernet

from taskflow import TaskConfig, TaskManager, TaskRecord, TaskRegistry
from taskflow.arguments.keeper import ArgumentKeeper
from taskflow.backends import MemoryBackend
from taskflow.execution.registry import TaskEntry


def send_all(addresses: list[str], *, subject: str = "") -> None: ...


def kept(keeper: ArgumentKeeper, entry: TaskEntry, addresses: list[str]) -> TaskRecord:
    args, kwargs = (addresses,), {"subject": "news"}
    record = TaskRecord("id", entry.name, args=args, kwargs=kwargs, durable=entry.options.persist)
    keeper.keep(record, entry, args, kwargs)
    return record


DURABLE = TaskRegistry().register(send_all, TaskConfig(persist=True))
PLAIN = TaskRegistry().register(send_all, TaskConfig())


@pytest.mark.parametrize(
    ("keeper", "entry"),
    [
        (ArgumentKeeper(), DURABLE),
        (ArgumentKeeper(requeue=True), PLAIN),
        (ArgumentKeeper(Fernet(Fernet.generate_key())), PLAIN),
    ],
    ids=["durable", "may be requeued", "encrypted"],
)
def test_arguments_that_are_encoded_are_as_new_for_each_attempt(keeper: ArgumentKeeper, entry: TaskEntry):
    addresses = ["ada", "bob"]
    record = kept(keeper, entry, addresses)
    addresses.clear()  # what the first attempt does

    for _ in range(2):
        afresh = keeper.afresh(record, entry)
        assert ((["ada", "bob"],), {"subject": "news"}) == afresh
        afresh[0][0].clear()


def test_arguments_that_are_not_encoded_are_what_the_first_attempt_left():
    keeper = ArgumentKeeper()

    assert keeper.afresh(kept(keeper, PLAIN, ["ada"]), PLAIN) is None


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("persist", [False, True])
async def test_a_second_attempt_of_a_stored_task_sees_nothing_of_what_the_first_changed(
    persist: bool, in_thread: bool
):
    manager = TaskManager(snapshot_backend=MemoryBackend(), handle_signals=False)
    got: list[list[str]] = []

    def send_some(addresses: list[str]) -> None:
        got.append(list(addresses))
        addresses.pop()
        if len(got) == 1:
            raise ConnectionError

    async def send_some_async(addresses: list[str]) -> None:
        send_some(addresses)

    func: Any = manager.task(retries=1, persist=persist)(send_some if in_thread else send_some_async)
    async with manager:
        task_id = manager.enqueue(func, ["ada", "bob"])
        await manager.drain()

    assert [["ada", "bob"], ["ada", "bob"] if persist else ["ada"]] == got
    assert "success" == manager.store.get(task_id).status


async def test_an_attempt_whose_arguments_cannot_be_decoded_has_failed():
    backend = MemoryBackend()
    manager = TaskManager(snapshot_backend=backend, handle_signals=False)

    @manager.task(retries=1, persist=True)
    async def fail(address: str) -> None:
        manager.store.get(task_id).payload = b"{}"
        raise ConnectionError

    async with manager:
        task_id = manager.enqueue(fail, "ada")
        await manager.drain()
    record = manager.store.get(task_id)

    assert ("failed", "taskflow.core.exceptions.TaskArgumentError") == (record.status, record.error_type)
