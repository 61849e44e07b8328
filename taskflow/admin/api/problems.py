"""Answers over HTTP for the errors of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError

from taskflow.core.exceptions import (
    ArgumentsNotKeptError,
    BackendError,
    CommitError,
    ConfigurationError,
    DecryptionError,
    FunctionNotRegisteredError,
    ManagerClosedError,
    PersistenceRequiredError,
    TaskArgumentError,
    TaskFinishedError,
    TaskflowError,
    TaskNotCancellableError,
    TaskNotFoundError,
    TaskNotRetryableError,
)

__all__ = ["answered"]

STATUS: dict[type[TaskflowError], int] = {
    TaskNotFoundError: 404,
    TaskFinishedError: 400,
    TaskNotRetryableError: 400,
    TaskNotCancellableError: 409,
    FunctionNotRegisteredError: 409,
    ArgumentsNotKeptError: 409,
    DecryptionError: 409,
    TaskArgumentError: 409,
    PersistenceRequiredError: 409,
    ManagerClosedError: 503,
    BackendError: 503,
    CommitError: 503,
}


@contextmanager
def answered() -> Iterator[None]:
    """Turn a `TaskflowError` of the block into an answer with its message.

    A wrong value of a query parameter gets the same answer as one that FastAPI finds itself.
    """
    try:
        yield
    except ConfigurationError as error:
        place = ("query", error.parameter)
        problem = {"type": "value_error", "loc": place, "msg": str(error), "input": error.value}
        raise RequestValidationError([problem]) from error
    except TaskflowError as error:
        status = next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), None)
        if status is None:
            raise
        raise HTTPException(status, str(error)) from error
