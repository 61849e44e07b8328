"""The catalogue against the design, the documentation, and Prometheus's own parser."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from taskflow.metrics.catalogue import CATALOGUE, MetricDefinition, definition_of

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"

PROMISED = {
    "taskflow_tasks_enqueued_total": ("counter", ("task",)),
    "taskflow_tasks_finished_total": ("counter", ("task", "status")),
    "taskflow_task_retries_total": ("counter", ("task",)),
    "taskflow_task_errors_total": ("counter", ("task", "error_type")),
    "taskflow_task_logs_total": ("counter", ("task", "level")),
    "taskflow_tasks_recovered_total": ("counter", ("task", "reason")),
    "taskflow_task_duration_seconds": ("histogram", ("task", "status")),
    "taskflow_task_attempt_duration_seconds": ("histogram", ("task", "outcome")),
    "taskflow_task_queue_seconds": ("histogram", ("task",)),
    "taskflow_tasks": ("gauge", ("task", "state")),
    "taskflow_oldest_task_seconds": ("gauge", ("task", "state")),
    "taskflow_pool_slots": ("gauge", ("pool",)),
    "taskflow_pool_slots_in_use": ("gauge", ("pool",)),
    "taskflow_pool_waiting": ("gauge", ("pool",)),
    "taskflow_pool_wait_seconds": ("histogram", ("pool",)),
    "taskflow_event_loop_lag_seconds": ("histogram", ()),
    "taskflow_observer_errors_total": ("counter", ("observer",)),
    "taskflow_observer_dropped_events_total": ("counter", ("observer",)),
    "taskflow_observer_queue_size": ("gauge", ("observer",)),
    "taskflow_snapshot_duration_seconds": ("histogram", ()),
    "taskflow_snapshot_records_total": ("counter", ()),
    "taskflow_snapshot_failures_total": ("counter", ()),
    "taskflow_snapshot_last_success_timestamp_seconds": ("gauge", ()),
    "taskflow_backend_operation_seconds": ("histogram", ("backend", "operation", "outcome")),
    "taskflow_build_info": ("info", ("version", "python")),
}

FED_BY = {
    "events": "events",
    "scrape": "read at scrape",
    "timer": "sampled",
    "persistence": "backend",
}


def reference_row(definition: MetricDefinition) -> str:
    """The line of the reference table in docs/metrics.md."""
    labels = ", ".join(definition.labels) or "–"
    return (
        f"| `{definition.name}` | {definition.help} | {definition.kind} | {labels} "
        f"| {FED_BY[definition.source]} |"
    )


def question_row(definition: MetricDefinition) -> str:
    """The line of the table of questions in docs/metrics.md."""
    return f"| {definition.question} | `{definition.promql}` |"


def rows_of(heading: str) -> list[str]:
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("|")][2:]


def test_the_catalogue_is_the_one_that_was_promised():
    assert {d.name: (d.kind, d.labels) for d in CATALOGUE} == PROMISED


def test_the_page_has_one_row_per_metric_as_the_catalogue_defines_it():
    assert rows_of("Reference") == [reference_row(definition) for definition in CATALOGUE]


def test_the_page_has_one_question_per_metric_with_its_query():
    assert rows_of("One question per metric") == [question_row(definition) for definition in CATALOGUE]


def test_the_buckets_of_waiting_times_reach_half_an_hour():
    waits = ("taskflow_task_queue_seconds", "taskflow_pool_wait_seconds")
    assert [definition_of(name).buckets[-1] for name in waits] == [1800.0, 1800.0]


def test_only_histograms_have_buckets():
    assert [d.name for d in CATALOGUE if bool(d.buckets) != (d.kind == "histogram")] == []


@pytest.mark.parametrize("definition", CATALOGUE, ids=lambda definition: definition.name)
def test_each_query_asks_for_its_own_metric_by_labels_that_it_has(definition: MetricDefinition):
    assert re.search(rf"\b{definition.name}(_bucket)?\b", definition.promql)
    selected = set(re.findall(r"[{,](\w+)=", definition.promql))
    grouped = {
        name.strip()
        for group in re.findall(r"by \(([^)]*)\)", definition.promql)
        for name in group.split(",")
    }
    assert (selected | grouped) - {"le"} <= set(definition.labels)


def test_prometheus_can_parse_every_query(executable, tmp_path):
    rules = [f"  - record: question:{i}\n    expr: '{d.promql}'" for i, d in enumerate(CATALOGUE)]
    path = tmp_path / "questions.yml"
    path.write_text("groups:\n- name: questions\n  rules:\n" + "\n".join(rules) + "\n", encoding="utf-8")
    run = subprocess.run(
        [executable("promtool"), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert (run.returncode, f"SUCCESS: {len(CATALOGUE)} rules found" in run.stdout) == (0, True), run.stderr
