"""What the tests of the backends share: each test runs against every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskflow.persistence.backend import SnapshotBackend
from tests.backends import KINDS, Store, new_store


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Store:
    return new_store(request.param, request)


@pytest.fixture
async def backend(store: Store) -> AsyncIterator[SnapshotBackend]:
    backend = store()
    await backend.open()
    yield backend
    await backend.close()


@pytest.fixture
async def other(store: Store) -> AsyncIterator[SnapshotBackend]:
    """Another instance's backend, with the same rows."""
    backend = store()
    await backend.open()
    yield backend
    await backend.close()
