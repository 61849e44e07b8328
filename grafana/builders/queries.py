"""PromQL out of the metric catalogue: a metric that does not exist cannot be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from taskflow.metrics.catalogue import TASKS_FINISHED, MetricDefinition

__all__ = ["RATE_WINDOW", "UP", "Scope", "ratio"]

RATE_WINDOW = "$__rate_interval"
"""Grafana's own: long enough for four scrapes, however far the dashboard is zoomed in."""

UP = MetricDefinition(
    name="up",
    kind="gauge",
    help="Prometheus's own: 1 if the last scrape of a target succeeded, else 0.",
    source="scrape",
    question="Which targets are down?",
    promql="up == 0",
)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a dashboard looks at: every selector is narrowed to what its variables choose.

    Attributes:
        task: the matcher of metrics that have the label ``task``.
    """

    task: str

    def select(self, metric: MetricDefinition, *matchers: str, suffix: str = "") -> str:
        """The series of a metric, further narrowed by ``matchers`` such as ``status="failed"``."""
        task = [self.task] if "task" in metric.labels else []
        chosen = ['job=~"$job"', 'instance=~"$instance"', *task, *matchers]
        return f"{metric.name}{suffix}{{{', '.join(chosen)}}}"

    def rate(self, metric: MetricDefinition, *matchers: str, by: str = "", suffix: str = "") -> str:
        """Events a second, summed."""
        return f"sum{_by(by)} (rate({self.select(metric, *matchers, suffix=suffix)}[{RATE_WINDOW}]))"

    def increase(
        self,
        metric: MetricDefinition,
        *matchers: str,
        by: str = "",
        suffix: str = "",
        window: str = "$__range",
    ) -> str:
        """Events of a window, by default of all the time that the dashboard shows, summed."""
        return f"sum{_by(by)} (increase({self.select(metric, *matchers, suffix=suffix)}[{window}]))"

    def quantile(
        self, rank: float, metric: MetricDefinition, *matchers: str, by: str = "", window: str = RATE_WINDOW
    ) -> str:
        """A quantile of a histogram: the value that a share ``rank`` of its observations does not exceed."""
        grouping = ", ".join(filter(None, ["le", by]))
        buckets = self.select(metric, *matchers, suffix="_bucket")
        return f"histogram_quantile({rank:g}, sum{_by(grouping)} (rate({buckets}[{window}])))"

    def success_ratio(self, by: str = "") -> str:
        """The share of tasks that succeeded, of those that succeeded or failed."""
        return self._finished_ratio("success", by)

    def failure_ratio(self, by: str = "") -> str:
        """The share of tasks that failed, of those that succeeded or failed."""
        return self._finished_ratio("failed", by)

    def _finished_ratio(self, status: str, by: str) -> str:
        part = self.rate(TASKS_FINISHED, f'status="{status}"', by=by)
        return ratio(part, self.rate(TASKS_FINISHED, 'status=~"success|failed"', by=by))

    def total(self, metric: MetricDefinition, *matchers: str, by: str = "") -> str:
        """A gauge, summed."""
        return f"sum{_by(by)} ({self.select(metric, *matchers)})"

    def highest(self, metric: MetricDefinition, *matchers: str, by: str = "") -> str:
        """A gauge whose values do not add up: the highest."""
        return f"max{_by(by)} ({self.select(metric, *matchers)})"


def ratio(part: str, whole: str) -> str:
    """One query as a share of another."""
    return f"{part} / {whole}"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""
