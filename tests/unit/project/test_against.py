"""`make bench ARGS='against COMMIT'`: what it says, and what it leaves behind if it cannot."""

import subprocess

import pytest

from tests.benchmarks.against import build
from tests.benchmarks.against.alternation import chosen, report, run
from tests.benchmarks.against.rows import ROWS, Row

PLAIN = Row("plain", "µs", "plain_tasks.py", target=0.75)
FAST = Row("fast", "µs", "plain_tasks.py", against="plain")


def test_every_row_has_its_program():
    assert [] == [row.name for row in ROWS if not row.path.is_file()]


def test_what_a_row_is_compared_with_is_a_row():
    assert {row.against for row in ROWS} - {None} <= {row.name for row in ROWS}


def test_ratios_are_taken_within_the_rounds():
    text = report({PLAIN: [(10.0, 5.0), (20.0, 20.0), (40.0, 30.0)]}, "c04eab8")

    line = text.splitlines()[-1].split("|")
    assert ["plain", "20.0", "20.0", "µs", "0.75 ×", "0.50 – 1.00", "≤ 0.75 ×"] == [
        cell.strip() for cell in line[1:-1]
    ]


def test_a_row_is_compared_with_another_one_of_the_same_build():
    text = report({PLAIN: [(10.0, 8.0)], FAST: [(20.0, 10.0)]}, "c04eab8")

    assert "| fast, against plain |  0.50 × |     0.80 × |" == text.splitlines()[-1]


def test_words_choose_rows_by_how_their_names_begin():
    assert ["http"] * 3 == [row.name.partition(":")[0] for row in chosen(["http"])]
    assert ROWS == chosen([])


def test_an_unknown_row_is_told_with_those_that_there_are():
    with pytest.raises(SystemExit, match=r"no row begins with 'nonsense'.*\n  nothing observed"):
        chosen(["nonsense"])


@pytest.mark.parametrize(("words", "message"), [([], "against which commit"), (["zzz"], "no commit 'zzz'")])
def test_a_commit_is_needed(words, message):
    with pytest.raises(SystemExit, match=message):
        run(words)


def test_an_environment_that_could_not_be_made_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "WORKSHOP", tmp_path)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build.venv, "create", lambda *_, **__: None)
    monkeypatch.setattr(build.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))

    with pytest.raises(SystemExit, match="needs the package index"):
        build.environment(None)
    assert [] == list((tmp_path / "builds").iterdir())
