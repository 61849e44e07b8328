"""What `docs/performance.md` shows is what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.compare.report import OURS, PAGE, RAW, SECTION, publish, ratios, report
from tests.benchmarks.compare.results import Comparison, Results


def results(seconds: float, requests: float) -> Results:
    rounds = [{"tasks": 100, "seconds": seconds * busy} for busy in (1, 2, 9)]
    return Results(rounds, rounds, {"tasks": 10, "bytes": 5_000}, [requests] * 3, [(1.0, 4.0)] * 3)


@pytest.fixture
def comparison() -> Comparison:
    versions = dict.fromkeys(Comparison.load(RAW).versions, "1.0")
    found = {"another": results(0.02, 500), OURS: results(0.01, 1_000)}
    return Comparison("2026-01-02T03:04:05+00:00", "a machine", versions, found)


def test_the_tables_of_the_page_are_those_of_its_raw_results():
    (shown,) = SECTION.findall(PAGE.read_text())
    assert report(Comparison.load(RAW)) == shown


def test_every_system_has_all_of_its_rounds_in_the_raw_results():
    found = Comparison.load(RAW).results
    assert len(found) == 5
    for system in found.values():
        assert len(system.plain) == len(system.observed) == len(found[OURS].plain) >= 5
        assert len(system.requests) == len(system.latencies) == len(found[OURS].requests) >= 5


def test_what_is_saved_can_be_read_again(comparison: Comparison, tmp_path: Path):
    comparison.save(tmp_path / "found" / "run.json")
    assert report(comparison) == report(Comparison.load(tmp_path / "found" / "run.json"))


def test_the_report_names_the_machine_and_has_figures_and_ratios(comparison: Comparison):
    text = report(comparison)
    assert text.startswith("Measured on 2026-01-02 with a machine; fastapi 1.0, ")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert [OURS, "5,000", "200.0", "500", "5,000", "200.0", "1,000", "1.0", "4.0"] in cells
    assert ["another", "2.00 ×", "2.00 ×", "2.00 ×"] in cells


def test_a_ratio_is_taken_within_each_round():
    ours, theirs = results(0.01, 1_000), results(0.01, 1_000)
    ours.plain.reverse()  # busy in other rounds
    assert ratios(ours, theirs)["nothing observed"] == 1


def test_publishing_replaces_the_section_and_the_raw_results(comparison: Comparison, tmp_path: Path):
    run, page, raw = tmp_path / "run.json", tmp_path / "page.md", tmp_path / "raw.json"
    comparison.save(run)
    page.write_text("before\n\n<!-- comparison -->\n\nold\n\n<!-- end of the comparison -->\n\nafter\n")
    publish(run, page, raw)
    assert page.read_text() == (
        f"before\n\n<!-- comparison -->\n\n{report(comparison)}\n\n<!-- end of the comparison -->\n\nafter\n"
    )
    assert raw.read_text() == run.read_text()
