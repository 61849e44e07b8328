"""The finished records that stay in memory: so many of them, and so many bytes, the oldest out first."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from sys import getsizeof
from typing import Final

from taskflow.core.checks import check_int
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.execution.weight import RECORD_BYTES, weight_of

__all__ = ["HISTORY_BYTES", "FinishedRecords"]

HISTORY_BYTES: Final = 64 * 1024 * 1024

SUCCESS = TaskStatus.SUCCESS


class FinishedRecords:
    """The latest finished records. Not thread-safe: used under the store's lock.

    Args:
        max_history: how many there may be.
        max_history_bytes: how many bytes they may take together, about. The latest one stays in any case.
        leave: called with each record that has to go.

    Raises:
        ConfigurationError: ``max_history`` or ``max_history_bytes`` is not a whole number of at least 1.
    """

    def __init__(
        self, max_history: int, max_history_bytes: int, leave: Callable[[TaskRecord], object]
    ) -> None:
        self.max_history = check_int("max_history", max_history, minimum=1)
        self.max_history_bytes = check_int("max_history_bytes", max_history_bytes, minimum=1)
        self._leave = leave
        self._queue: deque[TaskRecord] = deque()
        # Every finished record takes RECORD_BYTES. Most take no more: they are only counted.
        self._most = max(1, min(self.max_history, self.max_history_bytes // RECORD_BYTES))
        self._weight = 0

    @property
    def bytes(self) -> int:
        """Bytes that they take together, about."""
        return len(self._queue) * RECORD_BYTES + self._weight

    def add(self, record: TaskRecord, status: TaskStatus) -> None:
        """Keep a record that has just ended with this status; the oldest ones may have to go."""
        queue = self._queue
        queue.append(record)
        more = record.tags or record.failed_attempts or record.preview or record.kept_lines
        if more or status is not SUCCESS:
            self._weigh(record)
        elif record.logs:  # a few lines: `weight_of` asks for much that this has not
            record.weight = sum(map(getsizeof, record.logs))
            self._weight += record.weight
        if len(queue) > self._most:  # as `_drop`, without a call for every task
            oldest = queue.popleft()
            self._weight -= oldest.weight
            self._leave(oldest)
        if self._weight and self._weight + len(queue) * RECORD_BYTES > self.max_history_bytes:
            self._drop_heavy()

    def weigh_again(self, record: TaskRecord) -> None:
        """Count what a finished record takes now: it was changed."""
        self._weight -= record.weight
        self._weigh(record)
        self._drop_heavy()

    def remove(self, record: TaskRecord) -> None:
        """Let go of a record, if it is here."""
        with contextlib.suppress(ValueError):  # made as one that has ended
            self._queue.remove(record)
            self._weight -= record.weight

    def clear(self) -> None:
        """Let go of all."""
        self._queue.clear()
        self._weight = 0

    def _weigh(self, record: TaskRecord) -> None:
        record.weight = weight_of(record)
        self._weight += record.weight

    def _drop_heavy(self) -> None:
        while self.bytes > self.max_history_bytes and len(self._queue) > 1:
            self._drop()

    def _drop(self) -> None:
        record = self._queue.popleft()
        self._weight -= record.weight
        self._leave(record)
