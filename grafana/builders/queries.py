"""PromQL out of the metric catalogue: a metric that does not exist cannot be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from taskflow.metrics.catalogue import MetricDefinition

__all__ = ["Scope", "ratio"]

RATE_WINDOW = "$__rate_interval"
"""Grafana's own: long enough for four scrapes, however far the dashboard is zoomed in."""


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
