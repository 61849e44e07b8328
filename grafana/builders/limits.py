"""What is too much: read from the recording rules, so that panels turn red where alerts fire."""

from __future__ import annotations

from pathlib import Path

import yaml

__all__ = ["ERROR_BUDGET", "FAILURE_RATIO", "LOOP_LAG", "SUCCESS_OBJECTIVE", "TASK_WAIT"]

RULES = Path(__file__).parents[1] / "prometheus" / "rules.yaml"


def read_limits(rules: str) -> dict[str, float]:
    """The numbers of the group ``taskflow-limits``, by the name of the recorded series."""
    groups = {group["name"]: group["rules"] for group in yaml.safe_load(rules)["groups"]}
    return {
        rule["record"]: float(rule["expr"].removeprefix("vector(").removesuffix(")"))
        for rule in groups["taskflow-limits"]
    }


_LIMITS = read_limits(RULES.read_text(encoding="utf-8"))

SUCCESS_OBJECTIVE = _LIMITS["taskflow:task_success_ratio:objective"]
"""The share of tasks that should succeed, 0 to 1."""

ERROR_BUDGET = round(1 - SUCCESS_OBJECTIVE, 9)
"""The share of tasks that may fail, 0 to 1."""

FAILURE_RATIO = _LIMITS["taskflow:task_failure_ratio:limit"]
"""The share of one task's runs that may fail, 0 to 1."""

TASK_WAIT = _LIMITS["taskflow:task_wait_seconds:limit"]
"""How long a task may wait for its first start, in seconds."""

LOOP_LAG = _LIMITS["taskflow:event_loop_lag_seconds:limit"]
"""How late the event loop may run at the 99th percentile, in seconds."""
