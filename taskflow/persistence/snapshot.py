"""Saves changed records to the backend at intervals and at shutdown, and deletes old ones."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from typing import Final

from taskflow.core.backoff import Backoff
from taskflow.core.clock import utcnow
from taskflow.core.exceptions import BackendError, BackendFormatError
from taskflow.core.models import TaskRecord
from taskflow.core.running import CODEC_SLICE, call_on
from taskflow.persistence.lease import Instance
from taskflow.persistence.rows import RELEASED, TaskRow, to_row

__all__ = ["SnapshotScheduler"]

logger = logging.getLogger("taskflow")

FLUSH_AT: Final = 5_000
"""With this many changed records, a flush begins without waiting for the interval."""

MAX_CHANGED: Final = 100_000
"""Changed records that are kept in memory while the backend is unavailable; then the oldest is dropped."""

FIRST_PAUSE: Final = 1.0
"""Seconds until a flush that failed is tried again; the pauses grow up to the interval of flushes."""

REFUSALS: Final = 10
"""Rows that a backend refuses one by one until it counts as unusable itself."""

HANDED_OVER_AT_ONCE: Final = 2
"""Parts of a hand-over on their way: a busy server answers late, and encodes nothing meanwhile."""

PRUNE_INTERVAL: Final = 3600.0


class SnapshotScheduler:
    """Saves changed records, each once however often it changed.

    Not for durable tasks that have not ended: the journal writes those, with conditional changes.

    Args:
        instance: owns the rows, and has the backend.
        interval: seconds between two flushes.
        retention_days: days after which an ended task is deleted; ``None`` keeps them.
    """

    def __init__(
        self, instance: Instance, interval: float = 60.0, retention_days: float | None = None
    ) -> None:
        self.interval = interval
        self.retention_days = retention_days
        self._instance = instance
        self._changed: dict[str, TaskRecord] = {}
        self._saving: dict[str, TaskRecord] = {}
        self._lock = threading.Lock()
        self._flushing = asyncio.Lock()
        self._early = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dropped = 0

    def note(self, record: TaskRecord) -> None:
        """Remember that a record has changed; from any thread."""
        with self._lock:
            self._changed[record.task_id] = record
            if len(self._changed) > MAX_CHANGED:
                self._drop_oldest()
        if len(self._changed) == FLUSH_AT:
            self._hurry()

    def _drop_oldest(self) -> None:
        """Drop the record that has waited longest, so that a long outage does not fill the memory."""
        del self._changed[next(iter(self._changed))]
        self._dropped += 1
        if self._dropped % MAX_CHANGED == 1:
            logger.error(
                "the backend has been unavailable for too long: the oldest unsaved records are dropped"
            )

    def _hurry(self) -> None:
        call_on(self._loop, self._early.set)

    def unsaved(self) -> Iterable[TaskRecord]:
        """The records that are not in the backend as they are now, also those that are being saved."""
        with self._lock:
            return list((self._saving | self._changed).values())

    async def flush(self) -> None:
        """Save what has changed.

        Raises:
            BackendError: that failed; the next flush tries the unsaved records again.
        """
        # A flush without records is still measured, but not while the backend fails: it would prove nothing.
        if self._changed or self._instance.vitals.error is None:
            async with self._flushing:
                await self._instance.vitals.measure("flush", self._save_changed(), len(self._changed))

    async def _save_changed(self) -> None:
        # Only as many as there are now: in a busy application there are always new ones.
        left = len(self._changed)
        while left > 0 and (part := self._take(min(left, CODEC_SLICE))):
            left -= len(part)
            try:
                await self.save(part)
            except BaseException:
                self._put_back()
                raise
            self._saving = {}

    async def save(self, records: Iterable[TaskRecord], *, handed_over: bool = False) -> None:
        """Save some records now; with ``handed_over``, any instance may take them over.

        One that cannot be stored is logged and left out, so that it does not keep the others from it.

        Raises:
            BackendError: that failed.
        """
        owner = RELEASED if handed_over else self._instance.token
        rows = [row for record in records if (row := _row(record, owner)) is not None]
        try:
            await self._save(rows)
        except BackendFormatError:
            if not await self._save_each(rows):
                raise

    async def _save(self, rows: list[TaskRow]) -> None:
        if rows:
            await self._instance.vitals.measure("save", self._instance.backend.save(rows))

    async def _save_each(self, rows: list[TaskRow]) -> bool:
        """Save rows of which one at least was refused: whether it was they, and not the backend."""
        refused: list[tuple[str, BackendFormatError]] = []
        for row in rows:
            try:
                await self._save([row])
            except BackendFormatError as error:
                refused.append((row.task_id, error))
                if len(refused) == min(REFUSALS, len(rows)):
                    return False
        for task_id, reason in refused:
            logger.error("task %r cannot be stored, and is left out: %s", task_id, reason)
        return True

    async def hand_over(self, records: list[TaskRecord]) -> None:
        """Save unfinished records, in parts, so that any instance may take them over.

        What was saved is taken off the list, and no later flush saves it. Not to be called while `run` runs.

        Raises:
            BackendError: that failed, for those that are left.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(HANDED_OVER_AT_ONCE):
                    group.create_task(self._hand_over_parts(records))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _hand_over_parts(self, records: list[TaskRecord]) -> None:
        while records:
            part = records[-CODEC_SLICE:]
            del records[-CODEC_SLICE:]
            try:
                await self.save(part, handed_over=True)
            except BaseException:
                records.extend(part)
                raise
            with self._lock:
                for record in part:
                    self._changed.pop(record.task_id, None)

    @property
    def backlog(self) -> int:
        """Records that have changed since they were saved."""
        return len(self._changed) + len(self._saving)

    def _take(self, count: int) -> list[TaskRecord]:
        with self._lock:
            self._saving = {
                task_id: self._changed.pop(task_id) for task_id in list(islice(self._changed, count))
            }
            return list(self._saving.values())

    def _put_back(self) -> None:
        with self._lock:
            self._changed, self._saving = self._saving | self._changed, {}

    async def run(self) -> None:
        """Flush and prune until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._early, self._flushing = asyncio.Event(), asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flush_loop(), context=contextvars.Context())
            if self.retention_days is not None:
                group.create_task(self._prune_loop(self.retention_days), context=contextvars.Context())

    async def _flush_loop(self) -> None:
        backoff = Backoff(FIRST_PAUSE, self.interval)
        pause = self.interval
        while True:
            await self._wait(pause)
            try:
                await self.flush()
            except BackendError:  # logged
                pause = backoff.next()
            else:
                backoff.reset()
                pause = self.interval

    async def _wait(self, seconds: float) -> None:
        """Wait for some seconds, or until many records have changed, unless the backend is unavailable."""
        self._early.clear()
        if self._instance.vitals.error is not None:
            await asyncio.sleep(seconds)
            return
        if len(self._changed) >= FLUSH_AT:  # changed during the last flush
            return
        try:
            async with asyncio.timeout(seconds):
                await self._early.wait()
        except TimeoutError:
            return

    async def _prune_loop(self, days: float) -> None:
        while True:
            with contextlib.suppress(BackendError):  # logged; the next round tries again
                await self.prune(days)
            await asyncio.sleep(PRUNE_INTERVAL)

    async def prune(self, days: float) -> int:
        """Delete the tasks that ended more than ``days`` days ago, with their idempotency keys.

        Returns:
            How many were deleted.

        Raises:
            BackendError: that failed; some may have been deleted.
        """
        before, deleted = utcnow() - timedelta(days=days), 0
        while count := await self._instance.vitals.measure("prune", self._instance.backend.prune(before)):
            deleted += count
        return deleted


def _row(record: TaskRecord, owner: str) -> TaskRow | None:
    """The record as a row; ``None``, and a log record, if it cannot be one."""
    try:
        return to_row(record, owner)
    except Exception:  # whatever somebody has put into it
        logger.exception("task %r cannot be stored, and is left out", record.task_id)
        return None
