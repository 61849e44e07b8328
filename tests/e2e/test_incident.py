"""The shipped rules and dashboards in thirteen situations at once, each an application of its own.

The rules run thirty times as fast as shipped; `tests.grafana.hurried` says what that changes.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from grafana.builders.limits import LOOP_LAG
from tests import grafana
from tests.processes import eventually, free_port
from tests.prometheus import Prometheus, configured_prometheus, running_app
from tests.promql import fill_in

# The first test waits for the whole incident.
pytestmark = pytest.mark.timeout(240)

APP = "tests.e2e.incident_app:app"

PACE = 30

FIRES = {
    "idle": set(),
    "healthy": set(),
    "one-task-fails": {"TaskflowHighFailureRatio"},
    # What burns fast burns too much, too.
    "a-tenth-fails": {"TaskflowErrorBudgetBurnsFast", "TaskflowErrorBudgetBurnsSlowly"},
    "a-thirtieth-fails": {"TaskflowErrorBudgetBurnsSlowly"},
    "one-waits": {"TaskflowTasksWaiting"},
    "all-wait": {"TaskflowStalled"},
    "too-many": {"TaskflowPoolSaturated"},
    "loop-blocked": {"TaskflowEventLoopBlocked"},
    "observer-stuck": {"TaskflowObserverDropsEvents"},
    "observer-raises": {"TaskflowObserverRaises"},
    "snapshots-fail": {"TaskflowSnapshotsFail"},
    "down": {"TaskflowTargetDown"},
}
"""The alerts of each incident: exactly these, and nothing before it."""

FOREIGN = "not-taskflow"
"""The job of a target that is down as well, and never had Taskflow on it: nobody's business."""

STEADY = 10
"""Seconds that an alert is seen firing before it counts."""

CHOICES = {"$job": ".+", "$instance": ".+", "$__rate_interval": "10s", "$__range": "1m"}
TASK_CHOICES = {"overview.json": {"$task": ".+"}, "task.json": {"$task": "work"}}

QUERIES = [
    pytest.param(
        fill_in(target["expr"], CHOICES | TASK_CHOICES[name]), target, id=f"{name}: {title} {target['refId']}"
    )
    for name in grafana.DASHBOARDS
    for title, target in grafana.targets(name)
]


def configuration(hosts: dict[str, str], rules: list[str]) -> grafana.Json:
    """Prometheus's: one job per incident. A scrape may take longer than the loop is blocked at once."""
    scrapes = [
        {"job_name": name, "metrics_path": f"/{name}/metrics", "static_configs": [{"targets": [hosts[name]]}]}
        for name in FIRES
    ]
    scrapes.append({"job_name": FOREIGN, "static_configs": [{"targets": [f"127.0.0.1:{free_port()}"]}]})
    timing = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    return {"global": timing, "rule_files": rules, "scrape_configs": scrapes}


def hurried_rules(folder: Path) -> list[str]:
    """The paths of the shipped rules at the pace of the tests."""
    paths = {path: folder / path.name for path in (grafana.RULES, grafana.ALERTS)}
    for shipped, hurried in paths.items():
        hurried.write_text(grafana.hurried(shipped.read_text(encoding="utf-8"), PACE), encoding="utf-8")
    return list(map(str, paths.values()))


def fired(prometheus: Prometheus, seconds: int = 0) -> dict[str, set[str]]:
    """The alerts that were ever firing, for more than so many seconds in all, by job."""
    found: dict[str, set[str]] = defaultdict(set)
    for series in prometheus.series(f'count_over_time(ALERTS{{alertstate="firing"}}[1h]) > {seconds}'):
        found[series["metric"]["job"]].add(series["metric"]["alertname"])
    return {name: found[name] for name in [*FIRES, FOREIGN]}


def have_fired(prometheus: Prometheus, seconds: int = 0) -> bool:
    """Whether every alert that should fire has, for so long."""
    found = fired(prometheus, seconds)
    return all(alerts <= found[name] for name, alerts in FIRES.items())


@pytest.fixture(scope="module")
def prometheus(executable, tmp_path_factory) -> Iterator[Prometheus]:
    """A Prometheus that has seen every incident long enough for every alert."""
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack, ExitStack() as doomed:
        hosts = dict.fromkeys(FIRES, stack.enter_context(running_app(APP, tmp_path_factory.mktemp("shared"))))
        # These take their whole process with them.
        hosts["loop-blocked"] = stack.enter_context(running_app(APP, tmp_path_factory.mktemp("blocked")))
        hosts["down"] = doomed.enter_context(running_app(APP, tmp_path_factory.mktemp("down")))
        config = configuration(hosts, hurried_rules(folder))
        server = stack.enter_context(configured_prometheus(executable("prometheus"), folder, config))
        # Counters must have been seen at zero.
        eventually(lambda: len(server.series("count_over_time(taskflow_build_info[1m]) > 2")) == len(FIRES))
        for name, host in hosts.items():
            httpx.post(f"http://{host}/{name}").raise_for_status()
        doomed.close()
        eventually(lambda: have_fired(server))
        eventually(lambda: have_fired(server, STEADY))
        yield server


@pytest.mark.parametrize("name", FIRES)
def test_each_alert_fires_in_its_incident_and_in_no_other(prometheus, name):
    assert fired(prometheus)[name] == FIRES[name]


def test_no_alert_fires_for_a_target_without_taskflow(prometheus):
    assert fired(prometheus)[FOREIGN] == set()


def test_every_alert_has_its_incident():
    assert set().union(*FIRES.values()) == set(grafana.alerts())


@pytest.mark.parametrize(("query", "target"), QUERIES)
def test_every_query_of_every_panel_returns_data_with_what_its_legend_names(prometheus, query, target):
    if target["instant"]:
        series = [(found["metric"], [found["value"]]) for found in prometheus.series(query)]
    else:
        series = [(found["metric"], found["values"]) for found in prometheus.graph(query, seconds=20)]
    numbers = [float(value) for _, values in series for _, value in values]
    assert any(math.isfinite(number) for number in numbers)
    shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert [labels for labels, _ in series if not shown <= set(labels)] == []


def number(prometheus, title):
    """What one of the numbers at the top of the overview says of all jobs together."""
    (found,) = [query.values[0] for query in QUERIES if query.id == f"overview.json: {title} A"]
    return prometheus.value(found)


def test_the_number_of_targets_that_are_down_counts_those_with_taskflow_only(prometheus):
    assert number(prometheus, "Targets down") == 1


def test_one_blocked_event_loop_among_many_turns_the_number_at_the_top_red(prometheus):
    assert number(prometheus, "Event loop lag p99") > LOOP_LAG


@pytest.mark.parametrize(
    ("job", "alert"), [(job, alert) for job, alerts in FIRES.items() for alert in alerts]
)
def test_the_query_of_a_runbook_shows_where_the_alert_fires(prometheus, job, alert):
    found = prometheus.series(grafana.runbook_query(grafana.runbooks()[alert]))
    assert any(
        series["metric"]["job"] == job and math.isfinite(float(series["value"][1])) for series in found
    )


@pytest.mark.parametrize(("query", "target"), [query for query in QUERIES if query.values[1]["exemplar"]])
def test_every_query_with_exemplars_finds_some(prometheus, query, target):
    assert prometheus.exemplars(query)


@pytest.mark.parametrize("name", grafana.DASHBOARDS)
def test_every_variable_has_values(prometheus, name):
    variables = [v for v in grafana.dashboard(name)["templating"]["list"] if v["type"] == "query"]
    for variable in variables:
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()
        assert prometheus.label_values(label, fill_in(selector, CHOICES))


@pytest.mark.parametrize("name", grafana.DASHBOARDS)
def test_the_alerts_are_marked_on_the_graphs(prometheus, name):
    (marks,) = grafana.dashboard(name)["annotations"]["list"]
    assert prometheus.graph(fill_in(marks["expr"], CHOICES), seconds=20)
