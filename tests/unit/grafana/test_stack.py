"""The compose stack and the provisioning: every name that one file uses, another one gives."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.grafana import DASHBOARDS, FOLDER
from tests.processes import ROOT

COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
PROMETHEUS = yaml.safe_load((FOLDER / "compose" / "prometheus.yaml").read_text(encoding="utf-8"))
SOURCES = {
    source["uid"]: source
    for source in yaml.safe_load(
        (FOLDER / "provisioning" / "datasources" / "taskflow.yaml").read_text(encoding="utf-8")
    )["datasources"]
}


def mounts(service: str) -> dict[str, str]:
    """What is mounted into a service: the source by where it appears."""
    volumes = [volume.split(":") for volume in SERVICES[service].get("volumes", [])]
    return {place: source for source, place, *_ in volumes}


def urls(node: object) -> list[str]:
    """Every address in a part of a file."""
    if isinstance(node, dict):
        return [url for value in node.values() for url in urls(value)]
    if isinstance(node, list):
        return [url for value in node for url in urls(value)]
    return re.findall(r"https?://[^'\s]+", str(node))


@pytest.mark.parametrize("service", SERVICES)
def test_every_file_that_is_mounted_is_there(service):
    files = [source for source in mounts(service).values() if source not in COMPOSE["volumes"]]
    assert [file for file in files if not (FOLDER / file).exists()] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_address_is_one_of_the_stack(service):
    hosts = {urlsplit(url).hostname for url in urls(SERVICES[service])}
    assert hosts <= set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_images_have_a_version_and_ports_are_open_to_this_machine_only(service):
    image = SERVICES[service]["image"]
    assert image == "taskflow-demo" or re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", image)
    assert [port for port in SERVICES[service].get("ports", []) if not port.startswith("127.0.0.1:")] == []


def test_what_a_service_is_said_to_need_is_a_service():
    needed = {name for service in SERVICES.values() for name in service.get("depends_on", [])}
    assert needed <= set(SERVICES)


def test_the_shop_reads_the_variables_that_it_is_given():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/examples/shop").glob("*.py"))
    given = [name for name in SERVICES["shop"]["environment"] if name.startswith("SHOP_")]
    assert given
    assert [name for name in given if f'"{name}"' not in source] == []


def test_alloy_reads_the_files_that_the_shop_writes():
    written = Path(SERVICES["shop"]["environment"]["SHOP_JSON_LOG_FILE"])
    assert written.match(SERVICES["alloy"]["environment"]["TASKFLOW_LOGS"])
    shared = str(written.parent)
    assert (mounts("shop")[shared], mounts("alloy")[shared]) == ("logs", "logs")


def test_alloy_reads_the_variables_that_it_is_given():
    config = (FOLDER / mounts("alloy")["/etc/alloy/config.alloy"]).read_text(encoding="utf-8")
    assert set(re.findall(r'sys\.env\("(\w+)"\)', config)) == set(SERVICES["alloy"]["environment"])


def test_prometheus_keeps_exemplars_and_loads_the_rules_that_are_mounted():
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]
    assert [file for file in PROMETHEUS["rule_files"] if file not in mounts("prometheus")] == []


def test_prometheus_scrapes_services_of_the_stack():
    targets = [
        target
        for job in PROMETHEUS["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]
    assert targets == ["shop:8000"]


def test_prometheus_accepts_its_configuration(executable):
    command = [executable("promtool"), "check", "config", "--syntax-only", "compose/prometheus.yaml"]
    run = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_rate_interval_is_made_from_the_interval_of_the_scrapes():
    told = SOURCES["taskflow-prometheus"]["jsonData"]["timeInterval"]
    assert told == PROMETHEUS["global"]["scrape_interval"]


def test_grafana_asks_services_of_the_stack():
    assert {urlsplit(source["url"]).hostname for source in SOURCES.values()} == {
        "prometheus",
        "jaeger",
        "loki",
    }


def test_exemplars_and_log_lines_lead_to_the_traces_and_traces_to_the_lines():
    destinations = SOURCES["taskflow-prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    derived = SOURCES["taskflow-loki"]["jsonData"]["derivedFields"]
    assert [(link["name"], link["datasourceUid"]) for link in destinations] == [
        ("trace_id", "taskflow-jaeger")
    ]
    assert [(link["matcherRegex"], link["datasourceUid"]) for link in derived] == [
        ("trace_id", "taskflow-jaeger")
    ]
    assert SOURCES["taskflow-jaeger"]["jsonData"]["tracesToLogsV2"]["datasourceUid"] == "taskflow-loki"
    assert {source["type"] for source in SOURCES.values()} == {"prometheus", "jaeger", "loki"}


def test_grafana_finds_the_dashboards_where_they_are_mounted():
    path = FOLDER / "provisioning" / "dashboards" / "taskflow.yaml"
    (provider,) = yaml.safe_load(path.read_text(encoding="utf-8"))["providers"]
    place = provider["options"]["path"]
    assert mounts("grafana")[place] == "./dashboards"
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (str(home.parent), home.name in DASHBOARDS) == (place, True)
