"""What an import loads: an application waits for it at every start, each worker of it again."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import taskflow
import taskflow.backends
import taskflow.observers

NOT_FOR_A_MANAGER = {
    "cryptography": "encrypts arguments, where there is a key",
    "itsdangerous": "signs the sessions of the dashboard",
    "opentelemetry.sdk": "only OpenTelemetryObserver makes spans",
    "prometheus_client": "only PrometheusObserver counts",
    "psycopg": "the driver of a backend",
    "redis": "the driver of a backend",
    "sqlite3": "the driver of a backend",
    "taskflow.admin": "the dashboard; its models of answers are the most expensive of all",
    "taskflow.arguments.codec": "for tasks that are stored",
    "taskflow.backends.memory": "a backend",
    "taskflow.backends.sqlite": "a backend",
    "taskflow.metrics": "the catalogue, for PrometheusObserver",
    "taskflow.observers.file": "an observer, with logging.handlers",
    "taskflow.observers.memory": "an observer",
    "taskflow.observers.opentelemetry": "an observer",
    "taskflow.observers.prometheus": "an observer",
    "taskflow.observers.stdout": "an observer",
    "taskflow.persistence.journal": "for a manager with a backend",
    "taskflow.persistence.persistence": "for a manager with a backend",
}
"""What neither `import taskflow` nor a manager without options may load, and why they need it not."""

PACKAGES = (taskflow, taskflow.backends, taskflow.observers)


def loaded(code: str) -> set[str]:
    """The modules that a new process has after it has run the code."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("code", ["import taskflow", "from taskflow import TaskManager\nTaskManager()"])
def test_a_manager_loads_nothing_that_it_does_not_use(code: str):
    with_fastapi_alone = loaded("import fastapi")

    assert set() == (loaded(code) - with_fastapi_alone) & NOT_FOR_A_MANAGER.keys()


def test_what_must_not_be_loaded_exists():
    for name in NOT_FOR_A_MANAGER:
        assert importlib.util.find_spec(name) is not None


def test_a_dashboard_without_metrics_loads_none():
    code = "import fastapi, taskflow\ntaskflow.TaskAdmin(fastapi.FastAPI(), taskflow.TaskManager())"

    assert "prometheus_client" not in loaded(code)


def test_the_room_of_a_lazy_name_is_there_as_an_attribute():
    assert "taskflow.admin" in loaded("import taskflow\ntaskflow.admin.TaskAdmin")


@pytest.mark.parametrize(
    "option", ["snapshot_db='tasks.db'", "encrypt_args_key='MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY='"]
)
def test_what_stores_arguments_is_loaded_before_a_test_freezes_the_clock(option: str):
    # A library for that replaces `datetime` also for what is imported meanwhile.
    assert "taskflow.arguments.difference" in loaded(f"import taskflow\ntaskflow.TaskManager({option})")


@pytest.mark.parametrize("package", [package.__name__ for package in PACKAGES])
def test_a_star_brings_every_name(package: str):
    code = f"import {package}\nfrom {package} import *\nassert set({package}.__all__) <= set(globals())"

    assert package in loaded(code)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_name_is_listed_before_it_is_used(package: object):
    code = f"import {package.__name__} as package\nassert set(package.__all__) <= set(dir(package))"

    assert package.__name__ in loaded(code)
