from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import taskflow
from taskflow.core import exceptions
from taskflow.core.exceptions import (
    ArgumentsNotKeptError,
    BackendError,
    CommitError,
    ConfigurationError,
    DuplicateTaskNameError,
    FunctionNotRegisteredError,
    InvalidTransitionError,
    ManagerClosedError,
    PersistenceRequiredError,
    TaskArgumentError,
    TaskFinishedError,
    TaskflowError,
    TaskNotCancellableError,
    TaskNotFoundError,
    TaskNotRetryableError,
)

CLASSES = [cls for _, cls in inspect.getmembers(exceptions, inspect.isclass)]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_exception_has_one_root_is_exported_and_stands_in_the_tree(cls: type[BaseException]):
    assert issubclass(cls, TaskflowError)
    assert cls is getattr(taskflow, cls.__name__)
    assert cls.__name__ in exceptions.__all__
    assert cls.__name__ in str(exceptions.__doc__)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (ConfigurationError, ValueError),
        (TaskArgumentError, ValueError),
        (ManagerClosedError, RuntimeError),
        (TaskNotFoundError, LookupError),
    ],
)
def test_an_exception_is_also_what_python_would_call_it(cls: type[Exception], builtin: type[Exception]):
    assert issubclass(cls, builtin)


@pytest.mark.parametrize(
    ("error", "message", "attributes"),
    [
        (
            ConfigurationError("retries", -1, "must be at least 0"),
            "retries=-1: must be at least 0",
            {"parameter": "retries", "value": -1, "allowed": "must be at least 0"},
        ),
        (
            DuplicateTaskNameError("send", "a.py:1 (a.send)", "b.py:2 (b.send)"),
            (
                "name='send': already registered for a.py:1 (a.send); b.py:2 (b.send) needs a name of "
                'its own (@task_manager.task(name="..."))'
            ),
            {"name": "send", "first": "a.py:1 (a.send)", "second": "b.py:2 (b.send)", "parameter": "name"},
        ),
        (
            TaskArgumentError("send", "to", "no"),
            "task 'send', argument 'to': no",
            {"func_name": "send", "parameter": "to", "reason": "no"},
        ),
        (
            PersistenceRequiredError("send"),
            "task 'send' has persist=True, but its TaskManager has no backend to keep it in",
            {"func_name": "send"},
        ),
        (ManagerClosedError(), "the TaskManager is shut down and takes no more tasks", {}),
        (
            InvalidTransitionError("1", "success", "running"),
            "task 1: no transition from success to running",
            {"task_id": "1", "current": "success", "wanted": "running"},
        ),
        (BackendError("sqlite", "no"), "sqlite: no", {"backend": "sqlite", "reason": "no"}),
        (
            CommitError("1", "no"),
            "task 1 was not stored and will not run: no",
            {"task_id": "1", "reason": "no"},
        ),
        (
            TaskNotRetryableError("1", "success"),
            "task 1 is success: only a failed, interrupted or cancelled task is retried",
            {"task_id": "1", "status": "success"},
        ),
        (
            FunctionNotRegisteredError("1", "send"),
            "task 1: no function is registered under the name 'send'",
            {"task_id": "1", "func_name": "send"},
        ),
        (
            ArgumentsNotKeptError("1"),
            (
                "task 1: its arguments were not kept; persist=True, encrypt_args_key "
                "or requeue_pending=True keep those of a task that has not succeeded"
            ),
            {"task_id": "1"},
        ),
        (TaskNotFoundError("1"), "no task with id '1'", {"task_id": "1"}),
        (TaskFinishedError("1", "success"), "task 1 has already ended: success", {"task_id": "1"}),
        (
            TaskNotCancellableError("1"),
            "task 1 is a sync function that has started: it cannot be stopped",
            {"task_id": "1"},
        ),
    ],
)
def test_an_exception_says_what_happened_and_carries_the_data(
    error: TaskflowError, message: str, attributes: dict[str, object]
):
    assert message == str(error)
    assert attributes == {name: getattr(error, name) for name in attributes}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("snapshot_backend", "postgresql://app:s3cret@db/app"),
        ("snapshot_db", "redis://:s3cret@cache:6379/0"),
        ("snapshot_db", Path("postgresql://app:s3cret@db/app")),
        ("path", "postgresql://app:p/w@s3cret#@db/app"),
        ("path", "redis://cache?password=s3cret"),
        ("snapshot_backend", "host=db password=s3cret dbname=app"),
        ("snapshot_backend", "host=db password = 's3cret and more' dbname=app"),
        ("snapshot_backend", ["amqp://app:s3cret@broker"]),
        ("metrics_token", b"s3cret"),
        ("metrics_token", ["s3cret"]),
        ("auth", {"ops": "s3cret"}),
        ("dsn", 5.3),
    ],
    ids=repr,
)
def test_a_wrong_value_is_shown_without_its_secrets(parameter: str, value: object):
    error = ConfigurationError(parameter, value, f"must be something else than {value}")
    assert str(error).startswith(f"{parameter}=")
    for secret in ("s3cret", "and more", "5.3"):
        assert secret not in str(error).partition(": must")[0]
    if parameter in {"path", "snapshot_db"}:
        assert "s3cret" not in str(error)


@pytest.mark.parametrize("value", ["postgresql://db/app", "ada@example.com", "/srv/a b/tasks.db", "a=b", 5])
def test_a_wrong_value_without_secrets_is_shown_as_it_is(value: object):
    error = ConfigurationError("snapshot_db", value, "must be the path of a file")
    assert f"snapshot_db={value!r}: must be the path of a file" == str(error)
    assert value == error.value


def test_what_a_client_is_told_of_a_task_that_was_not_stored_names_no_host():
    error = CommitError("1", "postgres: db.internal:5432/billing: refused")
    assert "db.internal:5432/billing" in str(error)
    assert "task 1 was not stored and will not run: the backend cannot be used now" == error.public
