"""The order of the listing, in which the newest records are found without a look at all of them."""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from taskflow.core.models import TaskRecord

__all__ = ["BLOCK", "LOWEST_ID", "Order", "Place"]

BLOCK = 256
"""Ids in one block, at most twice as many: the records that are looked at while others wait for the lock."""

FRESH = 48 * BLOCK
"""Ids that are not in a block yet, at most: more than a store with the default ``max_history`` holds of tasks
that end soon, so that those never need a place."""

SWEPT = 4
"""Blocks that are looked through for each new one."""
SPARE = 4 * BLOCK
"""Ids of records that are gone: so many, and one for each that is not, are not worth a look."""

Place = tuple[datetime, str]
"""Where a record is in the listing: when it was enqueued, and its id."""

place_of: Callable[[TaskRecord], Place] = operator.attrgetter("created_at", "task_id")

LOWEST_ID = ""
"""Before every id: others of the same moment may follow."""

MOMENT = timedelta(microseconds=1)
"""The least time between two moments."""

BOTTOM: Place = (datetime.min.replace(tzinfo=UTC), LOWEST_ID)
"""Before every place."""


class Block:
    """The ids of the records between two places; in any order, because they are sorted when they are read.

    Attributes:
        start: the lowest place that belongs to it. It ends where the next block starts.
        ids: of its records, and of some that are gone.
    """

    __slots__ = ("ids", "start")

    def __init__(self, start: Place, ids: list[str]) -> None:
        self.start = start
        self.ids = ids


start_of: Callable[[Block], Place] = operator.attrgetter("start")


class Order:
    """Ids in blocks, by the time of their records. It is used under the store's lock, but for `fresh`.

    Nearly every record is newer than all before it, and its id is only appended. That a record is gone is
    noticed later, when its block is read or swept, so that the end of a task costs nothing here. Ids rather
    than records are kept, so that a record that is gone does not stay in memory.

    Args:
        records: the store's, by id. It is read, never changed.

    Attributes:
        fresh: ids of the latest records that the store has got. No lock is needed to append one: the
            interpreter does that as one step, and takes one from the other end as one step.
        most_fresh: who makes them more calls `settle`.
    """

    def __init__(self, records: Mapping[str, TaskRecord]) -> None:
        self._records = records
        self.fresh: deque[str] = deque()
        self.most_fresh = FRESH
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.fresh.clear()
        self._blocks = [Block(BOTTOM, [])]
        self._last = self._blocks[-1].ids
        self._newest = BOTTOM[0]
        self._hand = 0

    def __len__(self) -> int:
        """Ids that are kept, those of records that are gone included."""
        return len(self.fresh) + sum(len(block.ids) for block in self._blocks)

    def add(self, record: TaskRecord) -> None:
        """Take in a record that the store has got."""
        self.fresh.append(record.task_id)
        if len(self.fresh) > self.most_fresh:
            self.settle()

    def leave(self, task_id: str) -> None:
        """Note that a record has gone. Of most, which came and ended in one order, nothing is left then."""
        if self.fresh and self.fresh[0] == task_id:
            self.fresh.popleft()

    @property
    def parts(self) -> int:
        """How often `settle` must be called until no id is fresh."""
        return -(-len(self.fresh) // BLOCK)

    def settle(self) -> None:
        """Put some of the fresh ids into their blocks, the oldest first."""
        for _ in range(min(len(self.fresh), BLOCK)):
            task_id = self.fresh.popleft()
            record = self._records.get(task_id)
            if record is None:  # gone already
                continue
            created = record.created_at
            if created >= self._newest and len(self._last) < BLOCK:
                self._newest = created
                self._last.append(task_id)
            else:
                self._insert(record, created)

    def _insert(self, record: TaskRecord, created: datetime) -> None:
        """Begin a block, or find the block of a record that is not the newest.

        Such a one comes from another process, another thread was faster, or the clock was set back.
        """
        if created > self._newest:
            self._newest = created
            self._blocks.append(Block((created, LOWEST_ID), [record.task_id]))
            self._last = self._blocks[-1].ids
            self._tidy()
            return
        at = self._block_of(place_of(record))
        block = self._blocks[at]
        block.ids.append(record.task_id)
        if len(block.ids) >= 2 * BLOCK:
            self._split(at)

    def _block_of(self, place: Place) -> int:
        """The number of the block that a place belongs to."""
        return bisect_right(self._blocks, place, key=start_of) - 1

    def _split(self, at: int) -> None:
        records = self._read(at)
        if len(records) >= BLOCK:
            half = records[len(records) // 2 :]
            del self._blocks[at].ids[-len(half) :]
            self._blocks.insert(at + 1, Block(place_of(half[0]), [record.task_id for record in half]))
            self._last = self._blocks[-1].ids
            # The last block may begin in the middle of a moment now: others of that moment are inserted.
            self._newest = max(self._newest, half[0].created_at + MOMENT)

    def discard(self, record: TaskRecord) -> None:
        """Let go of a record before its place changes, or before another one may get its id."""
        self.leave(record.task_id)
        ids = self._blocks[self._block_of(place_of(record))].ids
        if record.task_id in ids:
            ids.remove(record.task_id)

    def before(self, place: Place | None) -> tuple[list[TaskRecord], Place | None]:
        """Some of the records before a place, newest first, and the place from which to go on.

        Those whose ids are still fresh are not among them.

        Args:
            place: `None` for the end of the listing, where the newest are.

        Returns:
            The records of one block, perhaps none; and where it starts, `None` if nothing comes before it.
        """
        at = len(self._blocks) - 1
        if place is not None:
            at = bisect_left(self._blocks, place, key=start_of) - 1
        if at < 0:
            return [], None
        records = self._read(at)
        if place is not None and records and place_of(records[-1]) >= place:
            records = [record for record in records if place_of(record) < place]
        return records[::-1], self._blocks[at].start if at else None

    def _read(self, at: int) -> list[TaskRecord]:
        """The records of a block, oldest first. Those that are gone are taken out of it."""
        ids = self._blocks[at].ids
        found = (self._records.get(task_id) for task_id in dict.fromkeys(ids))
        records = sorted((record for record in found if record is not None), key=place_of)
        if records and not (self._has(at, records[0]) and self._has(at, records[-1])):
            # An id of a task that is gone was given to another one, whose place is elsewhere.
            records = [record for record in records if self._has(at, record)]
        ids[:] = [record.task_id for record in records]
        return records

    def _has(self, at: int, record: TaskRecord) -> bool:
        """Whether the place of a record belongs to a block."""
        return self._block_of(place_of(record)) == at

    def _tidy(self) -> None:
        """Called for each new block: drop what is gone, a few blocks at a time."""
        for _ in range(SWEPT):
            # The oldest are gone first, as a rule.
            if len(self._blocks) > 1 and self._records.keys().isdisjoint(self._blocks[0].ids):
                del self._blocks[0]
                self._blocks[0].start = BOTTOM
            elif len(self._blocks) * BLOCK > 2 * len(self._records) + SPARE:
                self._sweep()

    def _sweep(self) -> None:
        """Take what is gone out of the next block, and join it with the one before it if both are small."""
        self._hand = self._hand % (len(self._blocks) - 1) + 1
        ids = self._blocks[self._hand].ids
        ids[:] = [task_id for task_id in ids if task_id in self._records]
        before = self._blocks[self._hand - 1].ids
        if len(before) + len(ids) <= BLOCK:
            before += ids
            del self._blocks[self._hand]
            self._last = self._blocks[-1].ids
            self._hand -= 1
