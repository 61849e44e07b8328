"""Reads the SQL of a backend from ``sql/<kind>/<name>.sql``, and its numbered migrations."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from importlib.resources import files
from typing import Final

from taskflow.persistence.rows import LEFT_OUT, TaskRow

__all__ = ["COLUMNS", "LISTED", "migrations", "statement"]

COLUMNS: Final = tuple(field.name for field in fields(TaskRow))
"""The columns of the table of tasks, in order."""

LISTED: Final = ", ".join(f"NULL AS {name}" if name in LEFT_OUT else name for name in COLUMNS)
"""The same in SQL, as a list has them."""

FOLDER = files("taskflow.backends") / "sql"


@cache
def statement(kind: str, name: str, **parts: str) -> str:
    """The statement ``name`` of a backend, with each ``{part}`` replaced by the argument of that name."""
    return (FOLDER / kind / f"{name}.sql").read_text(encoding="utf-8").format(**parts)


@cache
def migrations(kind: str) -> tuple[str, ...]:
    """The scripts ``0001_….sql``, ``0002_….sql`` …: number n migrates from version n - 1 to n."""
    scripts = [file for file in (FOLDER / kind).iterdir() if file.name[:4].isdigit()]
    return tuple(file.read_text(encoding="utf-8") for file in sorted(scripts, key=lambda file: file.name))
