"""The reasons of events are told in four places, which must agree."""

from __future__ import annotations

import re
from pathlib import Path

from taskflow import LifecycleEvent, admin

ROOT = Path(__file__).parents[3]


def documented() -> set[str]:
    _, _, text = (LifecycleEvent.__doc__ or "").partition(" reason: ")
    text, _, _ = text.partition("retry_of:")
    return set(re.findall("``([a-z_]+)``", text))


def test_the_dashboard_has_a_sentence_for_every_reason():
    script = (Path(admin.__file__).parent / "pages" / "static" / "detail" / "facts.js").read_text()
    _, _, table = script.partition("const REASONS = {")
    table, _, _ = table.partition("};")
    assert documented() == set(re.findall(r"^  (\w+):", table, re.MULTILINE))


def test_the_page_on_file_logs_names_every_reason():
    (row,) = re.findall(r"^\| `reason` \|.*$", (ROOT / "docs" / "file-logs.md").read_text(), re.MULTILINE)
    assert documented() == set(re.findall("`([a-z_]+)`", row)) - {"reason"}


def test_the_glossary_explains_every_reason():
    table = (ROOT / "docs" / "glossary.md").read_text().partition("## Reasons")[2]
    assert documented() - set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set()
