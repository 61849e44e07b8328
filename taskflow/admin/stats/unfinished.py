"""The tasks that have not ended: how many, and for how long."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from taskflow.admin.stats.activity import Activity, NamedActivity
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.running import sliced
from taskflow.execution.store import TaskStore

__all__ = ["Unfinished", "count_unfinished"]

UNFINISHED = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING)


@dataclass(slots=True)
class Unfinished:
    """The unfinished tasks of this process.

    Attributes:
        counts: how many, by name and state.
        since: for each state, when the task that has been in it for longest entered it; seconds of the
            monotonic clock.
    """

    counts: dict[NamedActivity, Counter[TaskStatus]] = field(default_factory=lambda: defaultdict(Counter))
    since: dict[TaskStatus, float] = field(default_factory=dict)

    def add(self, status: TaskStatus, record: TaskRecord, named: NamedActivity) -> None:
        """Count one."""
        self.counts[named][status] += 1
        self.since[status] = min(record.state_clock, self.since.get(status, record.state_clock))

    def totals(self) -> Counter[TaskStatus]:
        """How many, by state."""
        return sum(self.counts.values(), Counter())

    def oldest(self) -> dict[str, float | None]:
        """For each state, the seconds that one task has been in it for longest; ``None`` without a task."""
        now = time.monotonic()
        return {s.value: max(0.0, now - self.since[s]) if s in self.since else None for s in UNFINISHED}


async def count_unfinished(store: TaskStore, activity: Activity) -> Unfinished:
    """Count the unfinished tasks among the records in memory."""
    unfinished = Unfinished()
    async for records in sliced(store.list()):
        for record in records:
            status = record.status  # read once: another thread may change it
            if status in UNFINISHED:
                unfinished.add(status, record, activity.named(record.func_name, record.registered))
    return unfinished
