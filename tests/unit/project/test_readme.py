"""The README is the first thing that is tried: what it says must be so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.pages import load
from tests.processes import ROOT

README = ROOT / "README.md"


def test_the_first_example_adds_a_task_that_runs_and_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = load(README)
    with TestClient(example.app) as client:
        task_id = client.post("/signups", params={"email": "ada@example.com"}).json()

    record = example.manager.store.get(task_id)
    assert record.status == "success"
    assert [line.partition(" INFO ")[2] for line in record.logs] == ["sent to ada@example.com"]


def test_it_says_what_it_is_not_related_to_and_how_it_is_licensed() -> None:
    text = README.read_text()
    assert "OpenStack's TaskFlow" in text
    assert "[MIT](LICENSE)" in text


def test_the_commands_that_it_lists_are_those_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)) - {"help"}
    rows = re.findall(r"^\| `make (\w+)` \|", README.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(targets)
