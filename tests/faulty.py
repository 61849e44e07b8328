"""A backend that tests can take away, hold up, and watch."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from taskflow.backends import MemoryBackend
from taskflow.core.exceptions import BackendUnavailableError
from taskflow.core.query import TaskQuery
from taskflow.persistence.backend import Change, Outcome
from taskflow.persistence.rows import TaskRow


class FaultyBackend(MemoryBackend):
    """`MemoryBackend`, and:

    Attributes:
        down: every call fails.
        full: every call that would write fails, as on a full disk.
        lost_answers: commits are made, and then fail.
        gate: commits wait for it.
        calls: how often each method was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.full = False
        self.lost_answers = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: Counter[str] = Counter()

    def _call(self, operation: str) -> None:
        self.calls[operation] += 1
        if self.down:
            raise BackendUnavailableError("memory", "it is down")

    def _write(self, operation: str) -> None:
        self._call(operation)
        if self.full:
            raise BackendUnavailableError("memory", "it is full")

    async def open(self) -> None:
        self._call("open")

    async def save(self, rows: Sequence[TaskRow]) -> None:
        self._write("save")
        await super().save(rows)

    async def find(self, query: TaskQuery) -> list[TaskRow]:
        self._call("find")
        return await super().find(query)

    async def commit(self, changes: Sequence[Change]) -> list[Outcome]:
        self._write("commit")
        await self.gate.wait()
        self._call("commit after the gate")
        outcomes = await super().commit(changes)
        if self.lost_answers:
            raise BackendUnavailableError("memory", "the answer was lost")
        return outcomes

    async def renew(self, token: str) -> bool:
        self._call("renew")
        if (await super().leases()).get(token):
            self._write("a renewal that finds its lease")
        return await super().renew(token)

    async def leases(self) -> dict[str, int]:
        self._call("leases")
        return await super().leases()

    async def expire(self, token: str, beats: int) -> bool:
        self._write("expire")
        return await super().expire(token, beats)

    async def acquire(self, token: str, *, previous: str | None = None) -> None:
        self._write("acquire")
        await super().acquire(token, previous=previous)

    async def claimable(self, *args: Any, **kwargs: Any) -> list[TaskRow]:
        self._call("claimable")
        return await super().claimable(*args, **kwargs)
