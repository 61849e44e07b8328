from __future__ import annotations

import importlib
import inspect
from types import ModuleType
from typing import Any

import pytest

import taskflow
import taskflow.observers

PROMISED = [
    "TaskManager",
    "TaskAdmin",
    "TaskAuthBackend",
    "ManagedBackgroundTasks",
    "TaskRegistry",
    "TaskStore",
    "TaskStatus",
    "TaskConfig",
    "TaskRecord",
    "task_log",
    "get_task_context",
    "TaskContext",
    "TaskLogFilter",
    "TaskObserver",
    "LogEvent",
    "LifecycleEvent",
    "LoggerChain",
    "FileLogger",
    "StdoutLogger",
    "InMemoryLogger",
    "PrometheusObserver",
    "OpenTelemetryObserver",
]

OBJECTS = [
    (module, name)
    for module in (taskflow, taskflow.observers)
    for name in module.__all__
    if not name.startswith("__")
]


@pytest.mark.parametrize("name", PROMISED)
def test_what_was_promised_is_exported(name: str):
    assert name in taskflow.__all__


@pytest.mark.parametrize("module", [taskflow, taskflow.observers])
def test_every_exported_name_is_there_once_and_in_order(module: ModuleType):
    names = [name for name in module.__all__ if not name.startswith("__")]

    assert sorted(set(names)) == sorted(names)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_nothing_else_is_public():
    public = {
        name
        for name, value in vars(taskflow).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and name not in {"Any", "TYPE_CHECKING", "annotations"}
    }

    assert public <= set(taskflow.__all__)


@pytest.mark.parametrize("module", [taskflow, taskflow.observers])
def test_an_unknown_name_is_an_ordinary_error(module: ModuleType):
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'nonsense'"):
        _ = module.nonsense


@pytest.mark.parametrize(("module", "name"), OBJECTS)
def test_everything_public_says_what_it_is(module: ModuleType, name: str):
    thing: Any = getattr(module, name)

    assert inspect.getdoc(thing)
    if not inspect.isclass(thing) or not thing.__module__.startswith("taskflow"):
        return
    for member, value in vars(thing).items():
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(getattr(thing, member)), f"{name}.{member}"


@pytest.mark.parametrize("module", ["core.models", "execution.store", "observers.base", "observers.file"])
def test_the_modules_that_others_import_from_are_there(module: str):
    assert importlib.import_module(f"taskflow.{module}").__doc__
