"""The backends. One test suite checks all of them against `taskflow.persistence.backend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow.backends.memory import MemoryBackend
from taskflow.backends.sqlite import SqliteBackend

if TYPE_CHECKING:
    from taskflow.backends.postgres import PostgresBackend
    from taskflow.backends.redis import RedisBackend

__all__ = ["MemoryBackend", "PostgresBackend", "RedisBackend", "SqliteBackend"]


def __getattr__(name: str) -> Any:
    # Their drivers are optional extras, so they are imported at the first use.
    if name == "PostgresBackend":
        from taskflow.backends.postgres import PostgresBackend

        return PostgresBackend
    if name == "RedisBackend":
        from taskflow.backends.redis import RedisBackend

        return RedisBackend
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
