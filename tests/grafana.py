"""The files of ``grafana/`` for tests: dashboards, rules, and the same rules at another pace."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import yaml

from tests.processes import ROOT

FOLDER = ROOT / "grafana"
DASHBOARDS = {path.name: path for path in sorted((FOLDER / "dashboards").glob("*.json"))}
RUNBOOKS = ROOT / "docs" / "alerts.md"
RULES, ALERTS = (FOLDER / "prometheus" / name for name in ("rules.yaml", "alerts.yaml"))

Json = dict[str, Any]


def dashboard(name: str) -> Json:
    """One dashboard, by the name of its file."""
    return json.loads(DASHBOARDS[name].read_text(encoding="utf-8"))


def panels(name: str) -> list[Json]:
    """What a dashboard shows, without the headings of its rows."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def targets(name: str) -> Iterator[tuple[str, Json]]:
    """Every query of a dashboard, with the title of its panel."""
    for panel in panels(name):
        for target in panel["targets"]:
            yield panel["title"], target


def rules() -> list[Json]:
    """Recording and alerting rules, in the order of the files."""
    loaded = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (RULES, ALERTS)]
    return [rule for file in loaded for group in file["groups"] for rule in group["rules"]]


def alerts() -> dict[str, Json]:
    """The alerting rules by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def runbooks() -> dict[str, str]:
    """The runbook of each alert: what stands under the heading with its name."""
    sections = re.split(r"^##+ (.+)$", RUNBOOKS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text for name, text in zip(sections[1::2], sections[2::2], strict=True) if name in alerts()}


def runbook_query(text: str) -> str:
    """The query of a runbook."""
    (query,) = re.findall(r"^```promql\n(.+?)\n```$", text, re.DOTALL | re.MULTILINE)
    return str(query)


def hurried(text: str, pace: int) -> str:
    """The rules of a file ``pace`` times as fast: every duration, and every limit of waiting, divided.

    An event loop or a failure ratio is the same at any pace: their limits stay.
    """
    file = yaml.safe_load(text)
    for group in file["groups"]:
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"(?<=\[)\w+(?=\])", lambda found: faster(found[0], pace), rule["expr"])
            if "for" in rule:
                rule["for"] = faster(rule["for"], pace)
            if rule.get("record") == "taskflow:task_wait_seconds:limit":
                rule["expr"] += f" / {pace}"
    return yaml.safe_dump(file)


def faster(duration: str, pace: int) -> str:
    """A duration as Prometheus writes it, divided."""
    return f"{round(promql_parser.parse_duration(duration).total_seconds() * 1000 / pace)}ms"
