"""The configurations of log shippers fit the lines that they read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from taskflow.core.events import LifecycleEvent, LogEvent
from taskflow.core.models import TaskStatus
from taskflow.observers.formatting import FORMATS
from tests.shipping import LOGS, SHIPPED

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
TASK_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"

LOG = LogEvent(task_id=TASK_ID, func_name="send_email", message="sent", level="info", timestamp=NOW)
FAILED = LifecycleEvent(
    task_id=TASK_ID,
    func_name="send_email",
    status=TaskStatus.FAILED,
    timestamp=NOW,
    duration=0.5,
    attempt_duration=0.5,
    queue_duration=0.1,
    slot_wait=0.0,
    next_delay=1.0,
    error="refused",
    error_type="OSError",
    stacktrace="Traceback ...",
    reason="poison",
    retry_of=TASK_ID,
)


def text_of(path: str) -> str:
    return (SHIPPED / path).read_text(encoding="utf-8")


def block(text: str, start: str) -> str:
    """What stands between ``start`` and the next closing brace."""
    return text.partition(start)[2].partition("}")[0]


def keys_of(text: str) -> set[str]:
    return set(re.findall(r'^\s*"?(\w+)"?\s*[=:]', text.replace(",", "\n"), re.MULTILINE))


# ---- which fields each one reads, and what it makes a label in Loki ----


def alloy_fields() -> set[str]:
    return keys_of(block(text_of("alloy/config.alloy"), "expressions = {"))


def alloy_labels() -> set[str]:
    config = text_of("alloy/config.alloy")
    kept = keys_of(block(config, "stage.structured_metadata {\n\t\tvalues = {"))
    of_targets = keys_of(block(config, "path_targets = [{")) - {"__path__"}
    return (of_targets | {"filename"} | keys_of(block(config, "stage.labels {\n\t\tvalues = {"))) - kept


def fluent_bit(section: str) -> dict[str, str]:
    """One of its sections; there is one of each."""
    config = yaml.safe_load(text_of("fluent-bit/fluent-bit.yaml"))
    (found,) = {**config, **config["pipeline"]}[section]
    return dict(found)


def fluent_bit_fields() -> set[str]:
    lua, loki = fluent_bit("filters"), fluent_bit("outputs")
    named = re.findall(r'record\["(\w+)"\]', lua["code"]) + lua["type_int_key"].split()
    sent = re.findall(r"\$(\w+)", f"{loki['labels']} {loki['structured_metadata']}")
    return {fluent_bit("parsers")["time_key"], *named, *sent}


def fluent_bit_labels() -> set[str]:
    return keys_of(fluent_bit("outputs")["labels"])


def vector() -> dict[str, dict[str, dict[str, str]]]:
    config: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(text_of("vector/vector.yaml"))
    return config


def vector_fields() -> set[str]:
    return set(re.findall(r"\bline\.(\w+)", vector()["transforms"]["taskflow"]["source"]))


def vector_labels() -> set[str]:
    labels = dict(vector()["sinks"]["loki"]["labels"])
    assert labels.pop("*") == "{{ labels }}"
    return set(labels) | keys_of(block(vector()["transforms"]["taskflow"]["source"], ".labels = compact({"))


def rsyslog_fields() -> set[str]:
    return set(re.findall(r"\$!(\w+)", text_of("rsyslog/taskflow.conf")))


def filebeat_fields() -> set[str]:
    assert yaml.safe_load(text_of("filebeat/filebeat.yml"))["filebeat.inputs"]
    return set(re.findall(r"\btaskflow\.(\w+)", text_of("filebeat/filebeat.yml")))


FIELDS = {
    "alloy": alloy_fields,
    "filebeat": filebeat_fields,
    "fluent-bit": fluent_bit_fields,
    "rsyslog": rsyslog_fields,
    "vector": vector_fields,
}
LABELS = {"alloy": alloy_labels, "fluent-bit": fluent_bit_labels, "vector": vector_labels}


@pytest.mark.parametrize("shipper", FIELDS)
def test_every_field_that_a_configuration_reads_is_in_the_lines(shipper: str) -> None:
    lines = FORMATS["json"].log(LOG), FORMATS["json"].lifecycle(FAILED)
    in_lines = {key for line in lines for key in yaml.safe_load(line)}

    assert FIELDS[shipper]() - in_lines == set()


@pytest.mark.parametrize("shipper", FIELDS)
def test_every_configuration_reads_the_time_the_level_and_the_ids(shipper: str) -> None:
    assert {"timestamp", "level", "task_id", "trace_id", "span_id"} - FIELDS[shipper]() == set()


@pytest.mark.parametrize("shipper", LABELS)
def test_labels_have_few_values_and_are_the_same_from_every_shipper(shipper: str) -> None:
    assert {"job", "service_name", "level", "func_name"} == LABELS[shipper]()


@pytest.mark.parametrize("shipper", [*FIELDS, "logrotate"])
def test_every_configuration_has_the_files_in_the_same_place(shipper: str) -> None:
    (configuration,) = (SHIPPED / shipper).iterdir()

    # Not followed by more, such as the ".1" of a rotated file.
    assert re.search(rf"{LOGS}/\*\.log(?![.\w])", configuration.read_text(encoding="utf-8"))


# ---- the language of Alloy ----


def check_alloy(binary: Path, configuration: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([binary, configuration], capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def alloy_syntax(executable: Callable[..., Path]) -> Path:
    return executable("alloy-syntax", variable="ALLOY_SYNTAX_BIN")


def test_alloy_parses_its_configuration_and_would_not_format_it_otherwise(alloy_syntax: Path) -> None:
    done = check_alloy(alloy_syntax, SHIPPED / "alloy/config.alloy")

    assert (0, "") == (done.returncode, done.stderr)


def test_the_check_of_alloy_finds_an_error(alloy_syntax: Path, tmp_path: Path) -> None:
    broken = tmp_path / "config.alloy"
    broken.write_text(text_of("alloy/config.alloy").replace("{", "(", 1), encoding="utf-8")

    done = check_alloy(alloy_syntax, broken)

    assert done.returncode == 1
    assert f"{broken}:5:29: expected block body, got (" in done.stderr


def test_the_check_of_alloy_finds_what_is_not_formatted(alloy_syntax: Path, tmp_path: Path) -> None:
    untidy = tmp_path / "config.alloy"
    untidy.write_text(text_of("alloy/config.alloy").replace("\t", "  "), encoding="utf-8")

    done = check_alloy(alloy_syntax, untidy)

    assert done.returncode == 1
    assert f"{untidy}: not formatted" in done.stderr
