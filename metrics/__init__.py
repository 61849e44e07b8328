"""The metric catalogue, the saturation collector and the /metrics endpoint."""

from __future__ import annotations

from taskflow.metrics.catalogue import CATALOGUE, MetricDefinition
from taskflow.metrics.endpoint import metrics_route, mount_metrics
from taskflow.metrics.persistence import PersistenceMetrics

__all__ = ["CATALOGUE", "MetricDefinition", "PersistenceMetrics", "metrics_route", "mount_metrics"]
