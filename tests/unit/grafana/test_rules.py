"""The recording rules and alerts: right to the minute, and each with a page that says what to do."""

from __future__ import annotations

import re
import subprocess
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests import grafana
from tests.processes import ROOT
from tests.promql import TARGET_LABELS, stored_series, unknown, uses

RUNBOOKS = "docs/alerts.md"
KNOWN = {**stored_series(), "up": TARGET_LABELS}

NAMES = pytest.mark.parametrize("name", grafana.alerts())


def promtool(executable, *arguments):
    command = [executable("promtool"), *arguments]
    run = subprocess.run(
        command, cwd=grafana.RULES.parent, capture_output=True, text=True, check=False, timeout=100
    )
    return run.returncode, run.stdout + run.stderr


def recorded():
    """The labels of the recorded series: at most those that they are grouped by, by name."""
    return {
        rule["record"]: frozenset[str]().union(*(use.labels for use in uses(rule["expr"])))
        for rule in grafana.rules()
        if "record" in rule
    }


def test_prometheus_accepts_the_rules(executable):
    code, output = promtool(executable, "check", "rules", grafana.RULES, grafana.ALERTS)
    assert (code, len(re.findall("SUCCESS", output))) == (0, 2), output


def test_each_alert_fires_when_it_should_and_says_what_it_should(executable):
    code, output = promtool(executable, "test", "rules", "tests.yaml")
    assert (code, "SUCCESS" in output) == (0, True), output


def test_every_alert_is_seen_firing_and_seen_silent_by_the_tests_of_the_rules():
    tests = yaml.safe_load((grafana.RULES.parent / "tests.yaml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if "exp_alerts" in case} == set(grafana.alerts())
    assert {case["alertname"] for case in cases if "exp_alerts" not in case} == set(grafana.alerts())


@pytest.mark.parametrize("rule", grafana.rules(), ids=lambda rule: rule.get("alert") or rule.get("record"))
def test_no_rule_names_a_metric_or_a_label_that_the_catalogue_does_not_have(rule):
    assert unknown(uses(rule["expr"]), KNOWN | recorded()) == []


def test_every_recorded_series_is_used_by_an_alert():
    used = {use.metric for rule in grafana.alerts().values() for use in uses(rule["expr"])}
    assert [series for series in recorded() if series not in used] == []


@NAMES
def test_an_alert_says_how_bad_it_is_and_what_has_happened(name):
    alert = grafana.alerts()[name]
    assert alert["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert list(alert["annotations"]) == ["summary", "description", "runbook_url", "dashboard"]


@NAMES
def test_an_alert_links_a_dashboard_and_sets_variables_that_it_has(name):
    link = urlsplit(grafana.alerts()[name]["annotations"]["dashboard"])
    pages = {f"/d/{page['uid']}": page for page in map(grafana.dashboard, grafana.DASHBOARDS)}
    variables = {f"var-{variable['name']}" for variable in pages[link.path]["templating"]["list"]}
    assert set(parse_qs(link.query)) <= variables


def test_each_alert_has_the_runbook_that_it_links_and_there_is_no_other():
    links = [alert["annotations"]["runbook_url"] for alert in grafana.alerts().values()]
    headings = re.findall(r"^### (\w+)$", (ROOT / RUNBOOKS).read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(grafana.alerts())
    # The anchor of a heading of one word is that word in small letters, on GitHub and in MkDocs.
    assert links == [f"{RUNBOOKS}#{heading.lower()}" for heading in headings]


@NAMES
def test_a_runbook_has_a_query_for_metrics_that_there_are(name):
    found = uses(grafana.runbook_query(grafana.runbooks()[name]))
    assert found
    assert unknown(found, KNOWN) == []


@NAMES
def test_a_runbook_names_panels_that_there_are(name):
    titles = {panel["title"] for page in grafana.DASHBOARDS for panel in grafana.panels(page)}
    rows = {
        panel["title"]
        for page in grafana.DASHBOARDS
        for panel in grafana.dashboard(page)["panels"]
        if panel["type"] == "row"
    }
    severity, *named = re.findall(r"(?<!\*)\*(\w[^*]*)\*(?!\*)", grafana.runbooks()[name])
    assert severity.lower() == grafana.alerts()[name]["labels"]["severity"] + "."
    assert set(named) - titles - rows == set()


def test_the_page_of_the_runbooks_names_every_limit_with_its_value():
    page = (ROOT / RUNBOOKS).read_text(encoding="utf-8")
    limits = [rule for rule in grafana.rules() if rule.get("record", "").startswith("taskflow:")]
    rows = [f"| `{rule['record']}` | {rule['expr'][len('vector(') : -1]} |" for rule in limits]
    assert [row for row in rows if row not in page] == []


def test_hurried_rules_are_the_same_rules_at_another_pace():
    given = """
        groups:
          - name: g
            rules:
              - record: taskflow:task_wait_seconds:limit
                expr: vector(300)
              - record: job:failed:ratio_rate5m
                expr: rate(failed[5m]) / rate(all[1h])
              - alert: Failing
                expr: job:failed:ratio_rate5m > 0.5
                for: 10m
    """
    (group,) = yaml.safe_load(grafana.hurried(given, pace=30))["groups"]
    assert group["rules"] == [
        {"record": "taskflow:task_wait_seconds:limit", "expr": "vector(300) / 30"},
        {"record": "job:failed:ratio_rate5m", "expr": "rate(failed[10000ms]) / rate(all[120000ms])"},
        {"alert": "Failing", "expr": "job:failed:ratio_rate5m > 0.5", "for": "20000ms"},
    ]
