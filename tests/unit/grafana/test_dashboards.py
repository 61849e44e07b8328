"""The dashboards: made by their code, complete, laid out well, and asking for what there is."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import product
from urllib.parse import parse_qs, urlsplit

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builders.limits import read_limits
from grafana.generate import DASHBOARDS, render
from taskflow.metrics import CATALOGUE
from taskflow.metrics.catalogue import definition_of
from tests import grafana
from tests.promql import TARGET_LABELS, stored_series, unknown, uses, uses_of_variable

ANY = pytest.mark.parametrize("name", sorted(DASHBOARDS))
QUERIES = [
    pytest.param(target, id=f"{name}: {title} {target['refId']}")
    for name in grafana.DASHBOARDS
    for title, target in grafana.targets(name)
]

KNOWN = {**stored_series(), "up": TARGET_LABELS, "ALERTS": TARGET_LABELS | {"alertname", "alertstate"}}

COLUMNS = 24


def cells(panel: grafana.Json) -> set[tuple[int, int]]:
    """The squares of the grid that a panel covers."""
    place = panel["gridPos"]
    columns = range(place["x"], place["x"] + place["w"])
    return set(product(columns, range(place["y"], place["y"] + place["h"])))


def links(panel: grafana.Json) -> list[str]:
    """The addresses that a click on a value of a panel offers."""
    options = panel["fieldConfig"]
    of_cells = [
        link
        for override in options["overrides"]
        for setting in override["properties"]
        if setting["id"] == "links"
        for link in setting["value"]
    ]
    return [link["url"] for link in [*options["defaults"].get("links", []), *of_cells]]


def test_every_dashboard_has_a_file_and_every_file_a_dashboard():
    assert list(grafana.DASHBOARDS) == sorted(DASHBOARDS)


@ANY
def test_generating_a_dashboard_again_changes_nothing(name):
    assert render(DASHBOARDS[name]()) == grafana.DASHBOARDS[name].read_text(encoding="utf-8")


@ANY
def test_the_models_of_grafana_read_a_dashboard_without_losing_anything(name):
    read = Dashboard.from_json(grafana.dashboard(name))
    assert json.loads(render(read)) == grafana.dashboard(name)


@ANY
def test_panels_cover_the_grid_without_holes_and_without_overlap(name):
    shown = grafana.dashboard(name)["panels"]
    covered = [cell for panel in shown for cell in cells(panel)]
    height = max(y for _, y in covered) + 1
    assert sorted(covered) == sorted(product(range(COLUMNS), range(height)))


@ANY
def test_every_panel_has_a_title_of_its_own_a_description_a_unit_and_thresholds(name):
    shown = grafana.panels(name)
    assert len({panel["title"] for panel in shown}) == len(shown)
    incomplete = [
        panel["title"]
        for panel in shown
        if not panel["description"].endswith(".")
        or not panel["fieldConfig"]["defaults"]["unit"]
        or not panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    ]
    assert incomplete == []


@ANY
def test_panels_have_ids_of_their_own(name):
    shown = grafana.dashboard(name)["panels"]
    assert [panel["id"] for panel in shown] == list(range(1, len(shown) + 1))


@ANY
def test_a_dashboard_can_be_told_what_to_look_at(name):
    variables = grafana.dashboard(name)["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["datasource", "job", "instance", "task"]
    assert (variables[0]["type"], variables[0]["query"]) == ("datasource", "prometheus")


@ANY
def test_every_panel_and_every_query_uses_the_chosen_data_source(name):
    shown = grafana.panels(name)
    used = [part["datasource"] for panel in shown for part in [panel, *panel["targets"]]]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert [source for source in used if source != chosen] == []


@pytest.mark.parametrize("target", QUERIES)
def test_no_query_names_a_metric_or_a_label_that_the_catalogue_does_not_have(target):
    found = uses(target["expr"])
    assert found
    assert unknown(found, KNOWN) == []


@pytest.mark.parametrize("target", QUERIES)
def test_every_label_of_a_legend_is_one_of_the_metrics(target):
    shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert [use for use in uses(target["expr"]) if not shown <= KNOWN[use.metric]] == []


@ANY
def test_no_variable_and_no_annotation_names_what_the_catalogue_does_not_have(name):
    page = grafana.dashboard(name)
    found = {
        use
        for variable in page["templating"]["list"]
        if variable["type"] == "query"
        for use in uses_of_variable(variable["query"])
    }
    found |= {use for mark in page["annotations"]["list"] for use in uses(mark["expr"])}
    assert unknown(found, KNOWN) == []


def test_every_metric_of_the_catalogue_is_on_a_dashboard():
    shown = {use.metric for target in QUERIES for use in uses(target.values[0]["expr"])}
    missing = [metric.name for metric in CATALOGUE if not any(name.startswith(metric.name) for name in shown)]
    assert missing == []


@ANY
def test_graphs_of_what_tasks_waited_and_took_show_exemplars(name):
    graphs = [panel for panel in grafana.panels(name) if panel["type"] in ("timeseries", "heatmap")]
    buckets = [
        (use.metric.removesuffix("_bucket"), target["exemplar"])
        for panel in graphs
        for target in panel["targets"]
        for use in uses(target["expr"])
        if use.metric.endswith("_bucket")
    ]
    assert buckets
    expected = [(metric, definition_of(metric).source == "events") for metric, _ in buckets]
    assert buckets == expected


def test_links_open_the_dashboard_of_the_task_that_was_clicked_with_the_same_choices():
    offered = {url for panel in grafana.panels("overview.json") for url in links(panel)}
    kept = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${__url_time_range}"
    uid = grafana.dashboard("task.json")["uid"]
    assert {urlsplit(url).path for url in offered} == {f"/d/{uid}"}
    assert {parse_qs(urlsplit(url).query)["var-task"][0] for url in offered} == {
        "${__field.labels.task:percentencode}",
        "${__value.text:percentencode}",
    }
    assert [url for url in offered if not url.endswith("&" + kept)] == []


def test_every_line_that_a_click_follows_has_the_label_task():
    by_line = [
        panel for panel in grafana.panels("overview.json") if panel["fieldConfig"]["defaults"].get("links")
    ]
    assert len(by_line) == 5
    grouped = [set().union(*(use.labels for use in uses(panel["targets"][0]["expr"]))) for panel in by_line]
    assert [labels for labels in grouped if "task" not in labels] == []


@ANY
def test_units_and_thresholds_of_a_table_are_set_for_the_columns_that_it_shows(name):
    for panel in [panel for panel in grafana.panels(name) if panel["type"] == "table"]:
        letters = [target["refId"] for target in panel["targets"]]
        # So Grafana calls the values: with their letter only if there is more than one query.
        values = ["Value"] if len(letters) == 1 else [f"Value #{letter}" for letter in letters]
        (renamed,) = [
            step["options"]["renameByName"] for step in panel["transformations"] if step["id"] == "organize"
        ]
        with_units = [
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            if any(setting["id"] == "unit" for setting in override["properties"])
        ]
        assert [renamed.get(value) for value in values] == with_units


def test_the_limits_of_the_panels_are_those_of_the_recording_rules():
    text = grafana.RULES.read_text(encoding="utf-8").replace("vector(300)", "vector(42)")
    assert read_limits(text) == {
        "taskflow:task_success_ratio:objective": 0.99,
        "taskflow:tasks_failed:minimum": 5.0,
        "taskflow:task_failure_ratio:limit": 0.2,
        "taskflow:task_wait_seconds:limit": 42.0,
        "taskflow:event_loop_lag_seconds:limit": 1.0,
    }


@ANY
def test_the_linter_of_grafana_finds_nothing(name, executable):
    linter = executable("dashboard-linter", variable="DASHBOARD_LINTER_BIN")
    command = [linter, "lint", "--strict", "--verbose", grafana.DASHBOARDS[name]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, re.findall("Error|Warning", run.stdout)) == (0, []), run.stdout + run.stderr
