"""The API does what its OpenAPI schema says, whatever it is asked: no answer is a surprise, none is a 500."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import negative_data_rejection

from taskflow import TaskManager
from tests.admin import admin_app
from tests.processes import eventually, uvicorn_thread

manager = TaskManager(max_history=50)
app = admin_app(manager, display_func_args=True)
schema = schemathesis.openapi.from_dict(app.openapi())


@manager.task(retries=1)
async def fail(word: str) -> None:
    raise LookupError(word)


@manager.task()
async def quick() -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with uvicorn_thread(app) as url:
        for _ in range(5):
            manager.enqueue(quick, tags={"plan": "pro"})
            manager.enqueue(fail, "caf\udce9")
        eventually(lambda: not manager.store.live())
        yield url


@schema.parametrize()
@settings(max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_answer_is_one_that_the_schema_tells(url: str, case: Case) -> None:
    # Moments may also be given as seconds since 1970, as everywhere in FastAPI; the schema does not say so.
    case.call_and_validate(url, excluded_checks=[negative_data_rejection])
