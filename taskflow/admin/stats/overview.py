"""The numbers of the dashboard, and the totals of the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from taskflow.admin.stats.activity import BUCKET_SECONDS, BUCKETS, Activity, status_counts
from taskflow.admin.stats.health import health
from taskflow.admin.stats.latencies import QUANTILES
from taskflow.admin.stats.unfinished import Unfinished, count_unfinished
from taskflow.core.clock import utcnow
from taskflow.core.exceptions import BackendError
from taskflow.core.models import TERMINAL, TaskStatus
from taskflow.manager import TaskManager
from taskflow.persistence.backend import StatusTotal

__all__ = ["Overview"]

Totals = Mapping[TaskStatus, StatusTotal]


class Overview:
    """Collects the numbers of a manager, of its history and of its event stream.

    Args:
        task_manager: the manager.
        activity: the numbers from its event stream.
    """

    def __init__(self, task_manager: TaskManager, activity: Activity) -> None:
        self._manager = task_manager
        self._activity = activity
        self._counted: Totals = {}
        self._own_when_counted: Counter[TaskStatus] = Counter()

    async def current(self) -> dict[str, Any]:
        """The numbers as of now. If the backend does not answer, those of this process."""
        unfinished = await count_unfinished(self._manager.store, self._activity)
        counts = await self._counts(unfinished)
        error = self._manager.backend_error
        return {
            "now": utcnow().isoformat(),
            "counts": counts,
            "success_rate": _success_rate(counts),
            "pools": self._pools(),
            "tasks": self._by_name(unfinished),
            "bucket_seconds": BUCKET_SECONDS,
            "buckets": BUCKETS,
            "oldest": unfinished.oldest(),
            "observers": self._observers(),
            "backend": None if error is None else {"error": error},
            "health": health(self._manager),
        }

    async def metrics(self) -> dict[str, Any]:
        """Totals of the history.

        Raises:
            BackendError: the backend does not answer.
        """
        unfinished = await count_unfinished(self._manager.store, self._activity)
        totals = await self._totals(self._own(unfinished))
        counts = _counts(totals)
        timed = sum(total.timed for total in totals.values())
        seconds = sum(total.seconds for total in totals.values())
        return {
            "total": sum(counts.values()),
            **counts,
            "success_rate": _success_rate(counts),
            "avg_duration_seconds": seconds / timed if timed else None,
            "percentiles": self._activity.percentiles(),
            "per_task": [_task_metrics(report) for report in self._by_name(unfinished)],
        }

    def _by_name(self, unfinished: Unfinished) -> list[dict[str, Any]]:
        registered = [entry.name for entry in self._manager.registry]
        return self._activity.by_name(unfinished.counts, registered)

    async def _counts(self, unfinished: Unfinished) -> dict[str, int]:
        """Tasks of the history in each state; without the backend, those of this process since its start."""
        own = self._own(unfinished)
        try:
            totals = _counts(await self._totals(own))
        except BackendError:
            return status_counts(own)
        # The backend is not counted each time: what this process did since the last count is added.
        return {s.value: max(0, totals[s.value] + own[s] - self._own_when_counted[s]) for s in TaskStatus}

    def _own(self, unfinished: Unfinished) -> Counter[TaskStatus]:
        """How many tasks of this process are in each state now, or have ended in it since its start."""
        return Counter({**self._activity.ended(), **unfinished.totals()})

    async def _totals(self, own: Counter[TaskStatus]) -> Totals:
        totals = await self._manager.history.totals()
        if totals is not self._counted:
            self._counted, self._own_when_counted = totals, own
        return totals

    def _pools(self) -> list[dict[str, Any]]:
        return [
            {"pool": pool.name, "slots": pool.size, "in_use": pool.in_use, "waiting": pool.waiting}
            for pool in self._manager.pools
        ]

    def _observers(self) -> list[dict[str, Any]]:
        levels = () if self._manager.logger is None else self._manager.logger.stats()
        return [
            {"name": o.observer, "errors": o.errors, "dropped": o.dropped, "queue": o.queue_size}
            for o in levels
        ]


def _counts(totals: Totals) -> dict[str, int]:
    return status_counts({status: total.count for status, total in totals.items()})


def _success_rate(counts: Mapping[str, int]) -> float | None:
    finished = sum(counts[status.value] for status in TERMINAL)
    return counts[TaskStatus.SUCCESS.value] / finished if finished else None


def _task_metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "func_name": report["func_name"],
        "registered": report["registered"],
        **report["counts"],
        "success_rate": _success_rate(report["counts"]),
        "percentiles": {name: report[name] for name in QUANTILES},
    }
