"""The tasks that have not ended: how many, and for how long."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from taskflow.admin.stats.activity import Activity, NamedActivity
from taskflow.core.models import TaskStatus
from taskflow.execution.indexes.levels import Level
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

    def add(self, level: Level, named: NamedActivity) -> None:
        """Count the tasks of one name in one state."""
        self.counts[named][level.status] += level.count
        if level.since is not None:
            self.since[level.status] = min(level.since, self.since.get(level.status, level.since))

    def totals(self) -> Counter[TaskStatus]:
        """How many, by state."""
        return sum(self.counts.values(), Counter())

    def oldest(self) -> dict[str, float | None]:
        """For each state, the seconds that one task has been in it for longest; ``None`` without a task."""
        now = time.monotonic()
        return {s.value: max(0.0, now - self.since[s]) if s in self.since else None for s in UNFINISHED}


def count_unfinished(store: TaskStore, activity: Activity) -> Unfinished:
    """The unfinished tasks of a store: what it has counted, however many they are."""
    unfinished = Unfinished()
    for level in store.levels().read():
        if level.count:
            unfinished.add(level, activity.named(level.func_name, level.registered))
    return unfinished
