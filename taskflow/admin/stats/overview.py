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

    async def current(self) -> dict[str, Any]:
        """The numbers as of now. If the backend does not answer, those of this process."""
        counts = await self._counts()
        unfinished = self._unfinished()
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
        counts, mean = await self._totals()
        return {
            "total": sum(counts.values()),
            **counts,
            "success_rate": _success_rate(counts),
            "avg_duration_seconds": mean,
            "percentiles": self._activity.percentiles(),
            "per_task": [_task_metrics(report) for report in self._by_name(self._unfinished())],
        }

    def _unfinished(self) -> Unfinished:
        return count_unfinished(self._manager.store, self._activity)

    async def _totals(self) -> tuple[dict[str, int], float | None]:
        """Tasks in each state, and the mean duration; without a backend, those of this process."""
        if not self._manager.history.stored:
            return status_counts(self._own()), self._activity.mean()
        totals, _ = await self._manager.history.counted(self._own)
        timed = sum(total.timed for total in totals.values())
        seconds = sum(total.seconds for total in totals.values())
        return _counts(totals), seconds / timed if timed else None

    def _by_name(self, unfinished: Unfinished) -> list[dict[str, Any]]:
        registered = [entry.name for entry in self._manager.registry]
        return self._activity.by_name(unfinished.counts, registered)

    async def _counts(self) -> dict[str, int]:
        """Tasks of the history in each state; without a backend that answers, those of this process."""
        if not self._manager.history.stored:
            return status_counts(self._own())
        try:
            totals, then = await self._manager.history.counted(self._own)
        except BackendError:
            return status_counts(self._own())
        # The backend is not counted each time: what this process did since the last count is added.
        counts, own = _counts(totals), self._own()
        return {
            status.value: max(0, counts[status.value] + own[status] - then[status]) for status in TaskStatus
        }

    def _own(self) -> Counter[TaskStatus]:
        """How many tasks of this process are in each state now, or have ended in it since its start."""
        return Counter({**self._activity.ended(), **self._unfinished().totals()})

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
