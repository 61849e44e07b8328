"""The backends. One test suite checks all of them against `taskflow.persistence.backend`.

Each is imported at its first use: the drivers of some are optional extras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskflow.backends.memory import MemoryBackend
    from taskflow.backends.postgres import PostgresBackend
    from taskflow.backends.redis import RedisBackend
    from taskflow.backends.sqlite import SqliteBackend

__all__ = ["MemoryBackend", "PostgresBackend", "RedisBackend", "SqliteBackend"]

_LAZY = {
    "MemoryBackend": "taskflow.backends.memory",
    "PostgresBackend": "taskflow.backends.postgres",
    "RedisBackend": "taskflow.backends.redis",
    "SqliteBackend": "taskflow.backends.sqlite",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
