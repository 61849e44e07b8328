from __future__ import annotations

import functools
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from taskflow import ConfigurationError, DuplicateTaskNameError, TaskConfig, TaskManager, TaskRegistry
from taskflow.execution.registry import TaskEntry


def send() -> None: ...


async def send_async() -> None: ...


class Mailer:
    def send(self) -> None: ...

    async def send_async(self) -> None: ...


class Call:
    def __call__(self) -> None: ...


class AsyncCall:
    async def __call__(self) -> None: ...


@dataclass
class Unhashable:
    host: str = "localhost"

    def __call__(self) -> None: ...


FIRST_LAMBDA = lambda: 1  # noqa: E731
SECOND_LAMBDA = lambda: 2  # noqa: E731


def test_a_registered_function_is_found_by_itself_and_by_its_name():
    registry, config = TaskRegistry(), TaskConfig(retries=1)
    registry.register(send, config)

    assert registry.is_registered(send)
    assert (config, (send, config)) == (registry.get_config(send), registry.get_by_name("send"))
    assert (1, ["send"]) == (len(registry), [entry.name for entry in registry])


def test_what_was_not_registered_is_not_found():
    registry = TaskRegistry()

    assert not registry.is_registered(send)
    assert (None, None) == (registry.get_config(send), registry.get_by_name("send"))


def test_a_name_replaces_the_functions_own():
    registry = TaskRegistry()
    registry.register(send, TaskConfig(name="mail.send"))

    assert registry.get_by_name("send") is None
    assert registry.get_by_name("mail.send") is not None


@pytest.mark.parametrize(
    ("func", "name", "is_async"),
    [
        (send, "send", False),
        (send_async, "send_async", True),
        (Mailer().send, "send", False),
        (Mailer().send_async, "send_async", True),
        (functools.partial(send), "send", False),
        (functools.partial(functools.partial(send_async)), "send_async", True),
        (Call(), "Call", False),
        (AsyncCall(), "AsyncCall", True),
        (functools.partial(AsyncCall()), "AsyncCall", True),
        (Unhashable(), "Unhashable", False),
        (FIRST_LAMBDA, "<lambda>", False),
        (print, "print", False),
        (dict, "dict", False),
    ],
)
def test_any_callable_has_a_name_and_a_way_to_be_called(func: Any, name: str, is_async: bool):
    entry = TaskRegistry().entry(func)

    assert (name, is_async, False) == (entry.name, entry.is_async, entry.registered)


def test_a_method_is_the_same_task_however_often_it_is_looked_up():
    registry, mailer = TaskRegistry(), Mailer()
    registry.register(mailer.send, TaskConfig(retries=2))

    assert TaskConfig(retries=2) == registry.get_config(mailer.send)
    assert registry.get_config(Mailer().send) is None


def test_something_unhashable_is_not_registered():
    assert not TaskRegistry().is_registered(Unhashable())
    assert TaskRegistry().get_config(Unhashable()) is None


def test_registering_something_unhashable_is_refused_clearly():
    registry = TaskRegistry()
    with pytest.raises(ConfigurationError, match=r"^func=.*hashable"):
        registry.register(Unhashable(), TaskConfig())

    assert (0, None) == (len(registry), registry.get_by_name("Unhashable"))


def generate():
    yield


async def generate_async():
    yield


@pytest.mark.parametrize("func", [generate, generate_async, functools.partial(generate)])
def test_a_generator_function_is_refused(func: Any):
    with pytest.raises(ConfigurationError, match="a generator function does nothing when it is called"):
        TaskRegistry().register(func, TaskConfig())


@pytest.mark.parametrize("func", [generate, generate_async])
def test_a_generator_function_is_refused_when_it_is_enqueued_unregistered(func: Any):
    with pytest.raises(ConfigurationError, match="a generator function does nothing when it is called"):
        TaskManager().enqueue(func)


@pytest.mark.parametrize("func", [None, 5, "send"])
def test_what_is_not_callable_is_refused(func: Any):
    with pytest.raises(ConfigurationError, match="must be callable"):
        TaskRegistry().register(func, TaskConfig())
    with pytest.raises(ConfigurationError, match="must be callable"):
        TaskManager().enqueue(func)


def test_two_functions_under_one_name_are_refused_with_both_locations():
    registry = TaskRegistry()
    registry.register(send, TaskConfig())
    with pytest.raises(DuplicateTaskNameError) as refused:
        registry.register(send_async, TaskConfig(name="send"))
    message = str(refused.value)

    for func in (send, send_async):
        line = func.__code__.co_firstlineno
        assert f"{__file__}:{line} ({__name__}.{func.__qualname__})" in message
    assert "send" == refused.value.name
    assert (send, TaskConfig()) == registry.get_by_name("send")
    assert not registry.is_registered(send_async)


def test_two_local_functions_of_one_name_are_two_functions():
    def make():
        def local() -> None: ...

        return local

    registry = TaskRegistry()
    registry.register(make(), TaskConfig())
    with pytest.raises(DuplicateTaskNameError):
        registry.register(make(), TaskConfig())


def test_two_lambdas_of_one_module_are_two_functions():
    registry = TaskRegistry()
    registry.register(FIRST_LAMBDA, TaskConfig(retries=1))
    with pytest.raises(DuplicateTaskNameError):
        registry.register(SECOND_LAMBDA, TaskConfig())

    assert TaskConfig(retries=1) == registry.get_config(FIRST_LAMBDA)


def test_one_method_of_two_objects_is_two_functions():
    registry, one, other = TaskRegistry(), Mailer(), Mailer()
    registry.register(one.send, TaskConfig(retries=1))
    with pytest.raises(DuplicateTaskNameError):
        registry.register(other.send, TaskConfig())

    assert TaskConfig(retries=1) == registry.get_config(one.send)


def test_two_objects_of_one_class_are_two_functions():
    registry = TaskRegistry()
    registry.register(Call(), TaskConfig())
    with pytest.raises(DuplicateTaskNameError):
        registry.register(Call(), TaskConfig())


def test_a_function_may_be_registered_again():
    registry = TaskRegistry()
    registry.register(send, TaskConfig())
    registry.register(send, TaskConfig(retries=3))

    assert (1, TaskConfig(retries=3)) == (len(registry), registry.get_config(send))


def test_a_module_may_be_reloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "reloaded_tasks.py").write_text("def work(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reloaded_tasks")
    registry, old = TaskRegistry(), module.work
    registry.register(old, TaskConfig())
    importlib.reload(module)
    registry.register(module.work, TaskConfig(retries=1))
    del sys.modules["reloaded_tasks"]

    assert (module.work, TaskConfig(retries=1)) == registry.get_by_name("work")
    assert not registry.is_registered(old)


def test_the_decorator_gives_the_function_back():
    assert send is TaskManager().task()(send)


def test_an_entry_names_the_code_of_its_function():
    assert f"{__name__}.Mailer.send" == TaskEntry(Mailer().send, TaskConfig(), registered=True).code_function
