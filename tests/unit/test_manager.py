from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet, MultiFernet
from fastapi import BackgroundTasks

from taskflow import (
    ConfigurationError,
    FileLogger,
    InMemoryLogger,
    LoggerChain,
    ManagedBackgroundTasks,
    TaskManager,
    TaskRegistry,
    TaskStore,
)
from taskflow.backends import MemoryBackend

# Contract


def test_the_constructor_takes_what_was_promised_by_position_or_name():
    promised = {
        "snapshot_db": None,
        "snapshot_backend": None,
        "snapshot_interval": 60.0,
        "requeue_pending": False,
        "merged_list_ttl": 5.0,
        "loggers": None,
        "log_file": None,
        "log_file_max_bytes": 10485760,
        "log_file_backup_count": 5,
        "log_file_mode": "rotate",
        "log_lifecycle": False,
        "encrypt_args_key": None,
        "max_concurrent_tasks": None,
        "max_sync_threads": None,
    }
    parameters = inspect.signature(TaskManager).parameters.values()
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    assert list(promised.items()) == [(p.name, p.default) for p in positional]
    assert {
        "dispatch": "request",
        "shutdown_timeout": 10.0,
        "handle_signals": True,
        "max_history": 10_000,
        "max_history_bytes": 64 * 1024 * 1024,
        "retention_days": None,
        "heartbeat_interval": 10.0,
        "lease_timeout": 30.0,
        "max_loop_stall": 600.0,
        "rescue_interval": 5.0,
        "max_rescues": 3,
        "middleware": None,
    } == {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_the_decorator_takes_what_was_promised():
    parameters = inspect.signature(TaskManager().task).parameters

    assert {
        "retries": 0,
        "delay": 0.0,
        "backoff": 1.0,
        "persist": False,
        "name": None,
        "requeue_on_interrupt": False,
    } == {name: p.default for name, p in parameters.items()}


def test_a_bare_manager_has_what_was_promised():
    manager = TaskManager()

    assert isinstance(manager.registry, TaskRegistry)
    assert isinstance(manager.store, TaskStore)
    assert (None, None, None) == (manager.logger, manager.fernet, manager._scheduler)


def test_an_empty_list_of_loggers_is_none():
    assert TaskManager(loggers=[]).logger is None


def test_loggers_make_a_chain():
    seen = InMemoryLogger()
    chain = TaskManager(loggers=[seen]).logger

    assert isinstance(chain, LoggerChain)
    assert (seen,) == chain.observers


def test_the_callers_list_of_loggers_is_not_changed(tmp_path: Path):
    loggers: list[Any] = [InMemoryLogger()]
    TaskManager(loggers=loggers, log_file=str(tmp_path / "tasks.log"))

    assert 1 == len(loggers)


# log_file


def file_loggers(manager: TaskManager) -> list[FileLogger]:
    assert manager.logger is not None
    return [observer for observer in manager.logger.observers if isinstance(observer, FileLogger)]


def test_a_log_file_is_one_more_file_logger(tmp_path: Path):
    path = str(tmp_path / "tasks.log")
    (logger,) = file_loggers(TaskManager(loggers=[InMemoryLogger()], log_file=path, log_lifecycle=True))

    assert (path, True) == (logger.path, logger.log_lifecycle)


def test_a_log_file_may_be_a_path(tmp_path: Path):
    (logger,) = file_loggers(TaskManager(log_file=tmp_path / "tasks.log"))  # type: ignore[arg-type]

    assert str(tmp_path / "tasks.log") == logger.path


@pytest.mark.parametrize("spelling", ["tasks.log", "./tasks.log", "link/tasks.log", "{pid}.log"])
def test_a_log_file_that_a_logger_already_writes_is_not_added_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    given = FileLogger(tmp_path / ("{pid}.log" if "{" in spelling else "tasks.log"))

    assert [given] == file_loggers(TaskManager(loggers=[given], log_file=spelling))


def test_a_log_file_beside_another_one_is_added(tmp_path: Path):
    given = FileLogger(tmp_path / "one.log")

    assert 2 == len(file_loggers(TaskManager(loggers=[given], log_file=str(tmp_path / "two.log"))))


async def test_the_log_file_gets_the_lines(tmp_path: Path):
    path = tmp_path / "tasks.log"
    async with TaskManager(log_file=str(path), log_lifecycle=True) as manager:
        manager.enqueue(print)

    assert ["PENDING", "RUNNING", "SUCCESS"] == [line.split()[-1] for line in path.read_text().splitlines()]


# Refusals


class Backend: ...


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *[("snapshot_interval", value) for value in (0, -1.0, "60", None, float("nan"), True)],
        *[("merged_list_ttl", value) for value in (-1, "5", None, float("inf"))],
        *[("requeue_pending", value) for value in (1, "yes", None)],
        *[("snapshot_db", value) for value in ("", 5, "no/such/folder/tasks.db", "a\0b")],
        *[("snapshot_backend", value) for value in ("tasks.db", Backend(), MemoryBackend)],
        *[("retention_days", value) for value in (0, -1, "7", float("inf"), True, 36_501, 1e300)],
        *[("heartbeat_interval", value) for value in (0, -1, "10", None)],
        *[("lease_timeout", value) for value in (0, -1, "30", None)],
        *[("max_loop_stall", value) for value in (0, -1, "600", None)],
        *[("rescue_interval", value) for value in (0, -1, "5", None)],
        *[("max_rescues", value) for value in (0, -1, 1.5, "3", None)],
        *[
            ("loggers", value)
            for value in ("tasks.log", InMemoryLogger(), [1], [InMemoryLogger], {"a": 1}, 5)
        ],
        *[("log_file", value) for value in ("", 5, b"tasks.log", "no/such/folder/tasks.log", ".", "a\0b")],
        *[("log_file_max_bytes", value) for value in (0, -1, "10", 1.5, None, True)],
        *[("log_file_backup_count", value) for value in (-1, "5", 1.5, None, True)],
        *[("log_file_mode", value) for value in ("Rotate", "", None, 5)],
        *[("log_lifecycle", value) for value in (1, "no", None)],
        *[("encrypt_args_key", value) for value in ("", b"short", "x" * 44, [], [b"short"], 5, True)],
        *[("max_concurrent_tasks", value) for value in (0, -1, 1.5, "10", True)],
        *[("max_sync_threads", value) for value in (0, -1, 1.5, "10", True)],
        *[("dispatch", value) for value in ("later", "", None)],
        *[("shutdown_timeout", value) for value in (-1, "10", None, float("inf"), True)],
        *[("handle_signals", value) for value in (0, "no", None)],
        *[("max_history", value) for value in (0, -1, 1.5, "10", None, True)],
        *[("max_history_bytes", value) for value in (0, -1, 1.5, "10", None, True)],
    ],
)
@pytest.mark.parametrize("log_file", [True, False])
def test_a_wrong_value_is_refused_at_once_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameter: str, value: Any, log_file: bool
):
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"log_file": "tasks.log"} if log_file else {}
    with pytest.raises(ConfigurationError) as refused:
        TaskManager(**{**options, parameter: value})

    assert parameter == refused.value.parameter
    assert str(refused.value).startswith(f"{parameter}=")
    assert refused.value.allowed


@pytest.mark.parametrize("key", ["too short", b"x" * 43, ["too short"]])
def test_a_wrong_key_is_not_part_of_the_error(key: Any):
    with pytest.raises(ConfigurationError) as refused:
        TaskManager(encrypt_args_key=key)

    assert "too short" not in repr(refused.value)
    assert "xxx" not in repr(refused.value)


def test_a_made_backend_takes_precedence_over_a_path(tmp_path: Path):
    manager = TaskManager(str(tmp_path / "tasks.db"), MemoryBackend())

    assert manager._scheduler is not None
    assert [] == list(tmp_path.iterdir())


def test_requeueing_needs_somewhere_to_keep_the_tasks():
    with pytest.raises(ConfigurationError, match=r"^requeue_pending=True: needs snapshot_db or"):
        TaskManager(requeue_pending=True)


def test_a_lease_must_outlast_a_heartbeat_that_is_late():
    with pytest.raises(ConfigurationError, match=r"^lease_timeout=15: must be at least twice the heartbeat"):
        TaskManager(lease_timeout=15)


def test_the_decorator_needs_its_parentheses():
    manager = TaskManager()
    with pytest.raises(ConfigurationError, match="with parentheses"):

        @manager.task  # type: ignore[arg-type]
        def work(): ...

    assert 0 == len(manager.registry)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("retries", -1),
        ("delay", -1),
        ("backoff", 0),
        ("persist", "no"),
        ("name", ""),
        ("requeue_on_interrupt", 1),
    ],
)
def test_a_wrong_value_is_refused_by_the_decorator_before_it_decorates(parameter: str, value: Any):
    with pytest.raises(ConfigurationError, match=f"^{parameter}="):
        TaskManager().task(**{parameter: value})


# Keys


def test_a_key_makes_a_fernet():
    assert isinstance(TaskManager(encrypt_args_key=Fernet.generate_key()).fernet, Fernet)
    assert isinstance(TaskManager(encrypt_args_key=Fernet.generate_key().decode()).fernet, Fernet)


def test_several_keys_make_a_fernet_that_rotates():
    old, new = Fernet.generate_key(), Fernet.generate_key()
    fernet = TaskManager(encrypt_args_key=[new, old]).fernet
    assert isinstance(fernet, MultiFernet)

    assert b"secret" == fernet.decrypt(Fernet(old).encrypt(b"secret"))
    assert b"secret" == Fernet(new).decrypt(fernet.encrypt(b"secret"))


# Injection


async def test_the_dependency_shares_the_native_list():
    manager, native = TaskManager(), BackgroundTasks()
    tasks = await manager.get_tasks(native)

    assert isinstance(tasks, ManagedBackgroundTasks)
    assert native.tasks is tasks.tasks
    assert manager.get_tasks == manager.background_tasks


def test_the_dependency_needs_no_thread():
    assert inspect.iscoroutinefunction(TaskManager().get_tasks)


# Life


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as Python has it, also where a shell started the tests in the background and ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
async def test_signals_are_handled_while_the_manager_runs_and_left_as_they_were():
    before = signal.getsignal(signal.SIGINT)
    async with TaskManager():
        during = signal.getsignal(signal.SIGINT)

    assert before is not during
    assert before is signal.getsignal(signal.SIGINT)


async def test_signals_can_be_left_alone():
    before = signal.getsignal(signal.SIGINT)
    async with TaskManager(handle_signals=False):
        assert before is signal.getsignal(signal.SIGINT)


async def test_drain_waits_for_what_tasks_enqueue():
    manager, ran = TaskManager(), []

    async def work(depth: int):
        ran.append(depth)
        if depth:
            manager.enqueue(work if depth % 2 else sync_work, depth - 1)

    def sync_work(depth: int):
        ran.append(depth)
        manager.enqueue(work, depth - 1)

    async with manager:
        manager.enqueue(work, 5)
        await manager.drain()

        assert [5, 4, 3, 2, 1, 0] == ran


def test_drain_runs_what_a_script_enqueued():
    manager, ran = TaskManager(), []
    manager.enqueue(ran.append, 1)
    asyncio.run(manager.drain())

    assert [1] == ran


async def test_detached_tasks_run_outside_of_the_request_in_order():
    order: list[Any] = []
    async with TaskManager(dispatch="detached") as manager:
        tasks = ManagedBackgroundTasks(manager)
        gate = asyncio.Event()

        async def first():
            await gate.wait()
            order.append("first")

        tasks.add_task(first)
        tasks.add_task(order.append, "second")
        await tasks()
        order.append("response over")
        gate.set()
        await manager.drain()

    assert ["response over", "first", "second"] == order


def test_a_manager_that_was_left_on_an_abandoned_loop_starts_on_the_next_one():
    manager = TaskManager(handle_signals=False)
    abandoned = asyncio.new_event_loop()
    abandoned.run_until_complete(manager.startup())

    async def life() -> str:
        async with manager:
            task_id = manager.enqueue(asyncio.sleep, 0)
            await manager.drain()
            return task_id

    try:
        task_id = asyncio.run(life())
        record = manager.store.get(task_id)
        assert record is not None
        assert "success" == record.status
    finally:
        abandoned.close()
