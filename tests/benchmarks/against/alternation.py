"""``make bench ARGS='against COMMIT'``: each row with the older build and this one, in turn.

More words choose rows by the beginning of their names: ``against COMMIT http waiting``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from tests.benchmarks.against.build import commit_id, environment
from tests.benchmarks.against.rows import ROWS, Row
from tests.benchmarks.compare.report import table
from tests.benchmarks.table import heading

__all__ = ["Pair", "chosen", "report", "run"]

Pair = tuple[float, float]
"""What a row cost in one round, with the older build and with this one."""


def run(words: Sequence[str]) -> None:
    """Measure and print.

    Args:
        words: a commit, and which rows; all if there are no more.

    Raises:
        SystemExit: there is no such commit or row, or its environment cannot be made.
    """
    if not words:
        sys.exit("against which commit? make bench ARGS='against COMMIT'")
    commit = commit_id(words[0])
    rows = chosen(words[1:])
    old, new = environment(commit), environment(None)
    heading(f"This build against {commit[:12]}")
    found = _measure(rows, old, new)
    print(f"\n{report(found, commit[:12])}")


def chosen(words: Sequence[str]) -> Sequence[Row]:
    """The rows whose names begin with one of the words; all without any.

    Raises:
        SystemExit: a word begins no name.
    """
    for word in words:
        if not any(row.name.startswith(word) for row in ROWS):
            sys.exit(f"no row begins with {word!r}; there are:\n  " + "\n  ".join(row.name for row in ROWS))
    return [row for row in ROWS if not words or row.name.startswith(tuple(words))]


def _measure(rows: Sequence[Row], old: Path, new: Path) -> Mapping[Row, Sequence[Pair]]:
    """Every row with both builds in every round: what is compared was measured within the same minute.

    The order of the builds changes, so that neither always comes second.
    """
    found: dict[Row, list[Pair]] = {row: [] for row in rows}
    for number in range(max(row.rounds for row in rows)):
        for row in (row for row in rows if number < row.rounds):
            print(f"round {number + 1}: {row.name}", file=sys.stderr, flush=True)
            costs = {python: _cost(row, python) for python in ((old, new) if number % 2 else (new, old))}
            found[row].append((costs[old], costs[new]))
    return found


def _cost(row: Row, python: Path) -> float:
    """What the program prints: a process of its own, in an empty folder, with none of our variables."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with tempfile.TemporaryDirectory() as folder:
        command = [python, row.path, *row.arguments]
        ended = subprocess.run(command, cwd=folder, env=env, check=False, stdout=subprocess.PIPE, text=True)
    if ended.returncode:
        sys.exit(f"{row.name}: {row.program} has failed with {python}, see above")
    return float(ended.stdout)


def report(found: Mapping[Row, Sequence[Pair]], commit: str) -> str:
    """Tables as the documentation has them: medians, and the spread of the ratios."""
    titles = ["cost", commit, "this build", "unit", "new / old", "from – to", "target"]
    costs = table([titles, *(_line(row, pairs) for row, pairs in found.items())])
    names = {row.name: row for row in found}
    shares = [_share(row, found[names[row.against]], found[row]) for row in found if row.against in names]
    if not shares:
        return costs
    return f"{costs}\n\n{table([['times as fast', commit, 'this build'], *shares])}"


def _line(row: Row, pairs: Sequence[Pair]) -> list[str]:
    ratios = [new / old for old, new in pairs]
    costs = (median(side) for side in zip(*pairs, strict=True))
    return [
        row.name,
        *(f"{cost:,.1f}" for cost in costs),
        row.unit,
        f"{median(ratios):.2f} ×",
        f"{min(ratios):.2f} – {max(ratios):.2f}",
        "" if row.target is None else f"≤ {row.target:.2f} ×",
    ]


def _share(row: Row, base: Sequence[Pair], own: Sequence[Pair]) -> list[str]:
    """What the row does in the time of another one, with either build; compared within the rounds."""
    rounds = [
        [theirs / ours for theirs, ours in zip(*both, strict=True)] for both in zip(base, own, strict=False)
    ]
    return [
        f"{row.name}, against {row.against}",
        *(f"{median(side):.2f} ×" for side in zip(*rounds, strict=True)),
    ]
