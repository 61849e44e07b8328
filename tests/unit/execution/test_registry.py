from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from taskflow import (
    ConfigurationError,
    DuplicateTaskNameError,
    TaskArgumentError,
    TaskConfig,
    TaskManager,
    TaskRegistry,
)
from taskflow.backends import MemoryBackend
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
    entry = TaskRegistry().resolve(func, (), {})[0]

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


# ---- reached another way ----

RETRIED = TaskConfig(retries=3)


class Reports:
    """Methods as tasks, in every order of decorators."""

    manager = TaskManager(snapshot_backend=MemoryBackend())

    @manager.task(retries=3)
    def build(self, month: int) -> None: ...

    @manager.task(persist=True)
    def store(self, month: int) -> None: ...

    @classmethod
    @manager.task(retries=3)
    def build_all(cls, month: int) -> None: ...

    @classmethod
    @manager.task(persist=True)
    def store_all(cls, month: int) -> None: ...

    @staticmethod
    @manager.task(retries=3)
    def below(month: int) -> None: ...

    @manager.task(retries=3)
    @staticmethod
    def above(month: int) -> None: ...


class MoreReports(Reports):
    def build(self, month: int) -> None: ...


@dataclass
class Order:
    number: int

    @Reports.manager.task(persist=True)
    def pay(self: Order, method: str) -> None: ...


def call(first: int, second: int = 0, *rest: int, flag: bool = False) -> None: ...


@pytest.mark.parametrize(
    ("added", "args", "kwargs", "call_of"),
    [
        (functools.partial(call, 1), (2,), {}, ((1, 2), {})),
        (functools.partial(call, 1, flag=True), (2,), {"flag": False}, ((1, 2), {"flag": False})),
        (functools.partial(functools.partial(call, 1), 2, flag=True), (3,), {}, ((1, 2, 3), {"flag": True})),
        (functools.partial(call), (), {"first": 1}, ((), {"first": 1})),
    ],
)
def test_a_partial_of_a_task_is_the_task_with_more_arguments(
    added: Callable[..., Any], args: Any, kwargs: Any, call_of: Any
):
    registry = TaskRegistry()
    registry.register(call, RETRIED)
    entry, resolved = registry.resolve(added, args, kwargs)

    assert (call, RETRIED, call_of) == (entry.func, TaskConfig.of(entry.options), resolved)


def test_the_placeholders_of_a_partial_are_filled_from_the_left(monkeypatch: pytest.MonkeyPatch):
    later = object()  # functools.Placeholder, from Python 3.14 on
    monkeypatch.setattr("taskflow.execution.registry.PLACEHOLDER", later)
    registry = TaskRegistry()
    registry.register(call, RETRIED)

    _, (args, _) = registry.resolve(functools.partial(call, later, 2), (1, 3), {})
    assert (1, 2, 3) == args


def test_a_partial_that_calls_in_its_own_way_is_a_function_of_its_own():
    class Twice(functools.partial[None]):
        def __call__(self, *args: Any, **kwargs: Any) -> None:
            super().__call__(*args, **kwargs)
            super().__call__(*args, **kwargs)

    registry, twice = TaskRegistry(), Twice(call, 1)
    registry.register(call, RETRIED)
    entry, (args, _) = registry.resolve(twice, (), {})

    assert (twice, False, ()) == (entry.func, entry.registered, args)


def test_a_method_of_a_task_is_the_task_with_its_object_as_first_argument():
    registry, reports = Reports.manager.registry, Reports()

    for added, first, name in (
        (reports.build, reports, "build"),
        (functools.partial(reports.build), reports, "build"),
        (Reports.build_all, Reports, "build_all"),
        (MoreReports.build_all, MoreReports, "build_all"),
    ):
        entry, (args, _) = registry.resolve(added, (5,), {})
        assert (name, RETRIED, (first, 5)) == (entry.name, TaskConfig.of(entry.options), args)


def test_a_method_that_overrides_a_task_is_another_function():
    assert not Reports.manager.registry.resolve(MoreReports().build, (5,), {})[0].registered


@pytest.mark.parametrize("func", [Reports.below, Reports().below, Reports.above, Reports().above])
def test_a_static_method_is_a_task_whichever_decorator_stands_above(func: Callable[..., Any]):
    entry, (args, _) = Reports.manager.registry.resolve(func, (5,), {})

    assert (RETRIED, (5,)) == (TaskConfig.of(entry.options), args)


def test_a_class_method_below_the_decorator_is_refused_with_what_to_write():
    with pytest.raises(ConfigurationError, match=r"write @task_manager\.task\(\) below @classmethod"):
        TaskManager().task()(Reports.__dict__["build_all"])


@pytest.mark.parametrize(("method", "parameter"), [(Reports().store, "self"), (Reports.store_all, "cls")])
def test_a_durable_method_whose_object_cannot_be_stored_is_refused_with_what_to_do(
    method: Callable[..., Any], parameter: str
):
    with pytest.raises(
        TaskArgumentError, match=r"make it a static method or a function, or register"
    ) as refused:
        Reports.manager.enqueue(method, 5)

    assert parameter == refused.value.parameter


@pytest.mark.parametrize(
    ("added", "args", "name", "stored"),
    [
        (functools.partial(Reports.manager.task(persist=True, name="call")(call), 1), (2,), "call", (1, 2)),
        (Order(7).pay, ("card",), "pay", (Order(7), "card")),
        (functools.partial(Order(7).pay, "card"), (), "pay", (Order(7), "card")),
    ],
)
def test_a_durable_task_is_stored_with_all_of_its_arguments_under_the_name_of_the_function(
    added: Callable[..., Any], args: tuple[Any, ...], name: str, stored: tuple[Any, ...]
):
    manager = Reports.manager
    record = manager.store.get(manager.enqueue(added, *args))

    assert record is not None
    assert record.payload is not None
    assert (name, True) == (record.func_name, record.durable)
    assert (stored, {}) == manager.arguments_of(record)


async def test_a_method_runs_with_its_object():
    ran: list[tuple[Any, ...]] = []
    manager = TaskManager(handle_signals=False)

    class Shop:
        @manager.task()
        async def close(self, reason: str) -> None:
            ran.append((self, reason))

    shop = Shop()
    async with manager:
        manager.enqueue(shop.close, "night")
        manager.enqueue(functools.partial(shop.close, reason="flood"))
        await manager.drain()

    assert [(shop, "night"), (shop, "flood")] == ran


def _logged(func: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(func)
    def logged(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return logged


class Proxied:
    """As the proxies of tracing libraries: equal to the function in it, and does more."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.__wrapped__ = func

    def __call__(self) -> None: ...

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)


@pytest.mark.parametrize(
    "decorate",
    [
        _logged,
        lambda func: _logged(_logged(func)),
        lambda func: functools.partial(_logged(func), 1),
        functools.lru_cache,
        Proxied,
    ],
    ids=["wraps", "wraps twice", "partial of wraps", "cache", "proxy"],
)
def test_what_a_decorator_made_of_a_task_is_refused_with_what_to_write(decorate: Callable[..., Any]):
    manager = TaskManager()
    manager.task(retries=3)(send)

    with pytest.raises(ConfigurationError) as refused:
        manager.enqueue(decorate(send))

    assert (
        f"is made by a decorator of the task {__file__}:{send.__code__.co_firstlineno} ({__name__}.send)"
        in str(refused.value)
    )
    assert "write @task_manager.task() above the other decorators" in str(refused.value)


def test_a_method_with_a_decorator_above_the_task_is_refused():
    manager = TaskManager()

    class Shop:
        @_logged
        @manager.task(retries=3)
        def close(self) -> None: ...

    with pytest.raises(ConfigurationError, match=r"Shop\.close.*is made by a decorator of the task"):
        manager.enqueue(Shop().close)


def test_a_decorated_function_that_was_registered_itself_is_a_task():
    registry = TaskRegistry()
    registry.register(send, TaskConfig())
    registry.register(decorated := _logged(send), TaskConfig(retries=3, name="logged"))

    entry, _ = registry.resolve(decorated, (), {})
    assert ("logged", 3) == (entry.name, entry.options.retries)


def test_a_decorated_function_of_which_none_is_a_task_passes():
    assert not TaskRegistry().resolve(_logged(send), (), {})[0].registered


@pytest.mark.parametrize(
    "reach",
    [
        lambda func: func,
        functools.partial,
        lambda func: functools.partial(func, 1),
        _logged,
    ],
    ids=["itself", "partial", "partial with arguments", "decorator"],
)
def test_a_task_of_another_manager_is_refused_by_name(reach: Callable[..., Any]):
    owner = TaskManager()
    owner.task(retries=3)(send)

    with pytest.raises(ConfigurationError, match=rf"the task .*\({__name__}\.send\)"):
        TaskManager().enqueue(reach(send))
    assert owner.registry.is_registered(send)


def test_a_method_that_another_manager_registered_is_refused_and_that_of_another_object_is_not():
    owner, mailer = TaskManager(), Mailer()
    owner.task(retries=3)(mailer.send)

    with pytest.raises(ConfigurationError, match=r"is the task .* of another TaskManager"):
        TaskRegistry().resolve(mailer.send, (), {})
    assert not TaskRegistry().resolve(Mailer().send, (), {})[0].registered


def test_a_task_of_two_managers_has_the_settings_of_each():
    one, other = TaskRegistry(), TaskRegistry()
    one.register(send, TaskConfig(retries=1))
    other.register(send, TaskConfig(retries=2))

    assert [1, 2] == [each.resolve(send, (), {})[0].options.retries for each in (one, other)]


def test_a_manager_that_nobody_uses_any_more_owns_nothing():
    def forget() -> None:
        manager = TaskManager()
        manager.task(retries=3)(send)

    forget()  # it is part of circles, so that it may still be there

    assert not TaskRegistry().resolve(send, (), {})[0].registered


async def test_a_manager_that_is_shut_down_owns_nothing_until_it_starts_again():
    owner, other = TaskManager(handle_signals=False), TaskRegistry()
    owner.task(retries=3)(send)
    await owner.startup()
    await owner.shutdown()
    assert not other.resolve(send, (), {})[0].registered

    async with owner:
        with pytest.raises(ConfigurationError, match=r"of another TaskManager"):
            other.resolve(send, (), {})


class Remote:
    """As the methods of RPC clients: answers to every name, with another one of its kind."""

    def __getattr__(self, name: str) -> Remote:
        return Remote()

    def __call__(self) -> None: ...


class Unreachable:
    def __getattr__(self, name: str) -> Any:
        raise ConnectionError(name)

    def __call__(self) -> None: ...


class Numbered:
    __name__ = 5
    __qualname__ = "\ud800\0"
    __module__ = "shop"

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("func", "name", "code"),
    [
        (Remote(), "Remote", f"{__name__}.Remote"),
        (Unreachable(), "Unreachable", f"{__name__}.Unreachable"),
        (Numbered(), "Numbered", "shop.?\ufffd"),
        (MagicMock(), "MagicMock", "unittest.mock.MagicMock"),
    ],
    ids=["answers", "raises", "no text", "mock"],
)
def test_a_callable_whose_names_are_no_text_has_those_of_its_class(func: Any, name: str, code: str):
    entry, _ = TaskRegistry().resolve(func, (), {})

    assert (name, code) == (entry.name, entry.code_function)


def test_a_name_that_no_database_takes_is_written_so_that_it_does():
    def odd() -> None: ...

    odd.__name__ = odd.__qualname__ = "a\0b\ud800"
    entry, _ = TaskRegistry().resolve(odd, (), {})

    assert ("a\ufffdb?", f"{__name__}.a\ufffdb?") == (entry.name, entry.code_function)
