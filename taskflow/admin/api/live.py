"""The tasks that have not ended: how many, and for how long."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from taskflow.admin.api.activity import Activity, NamedActivity
from taskflow.core.models import TaskRecord, TaskStatus
from taskflow.core.running import sliced
from taskflow.execution.store import TaskStore

__all__ = ["Live", "look"]

LIVE = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING)


@dataclass(slots=True)
class Live:
    """The unfinished tasks of this process.

    Attributes:
        counts: how many, by name and state.
        since: by state, when the task entered it that has been there for longest; monotonic clock.
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
        """Seconds that the task has been in each state which has been there for longest."""
        now = time.monotonic()
        return {s.value: max(0.0, now - self.since[s]) if s in self.since else None for s in LIVE}


async def look(store: TaskStore, activity: Activity) -> Live:
    """Look through the records in memory."""
    live = Live()
    async for records in sliced(store.list()):
        for record in records:
            status = record.status  # once: the task may be in another thread
            if status in LIVE:
                live.add(status, record, activity.named(record.func_name, record.registered))
    return live
