"""Searching the text of tasks in SQLite by an index of all groups of three characters in it."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from taskflow.core.query import TaskQuery

__all__ = ["AMONG", "RARE", "few", "needle"]

GROUP: Final = 3
"""Characters of a group; a shorter text is in no group, and is searched for without the index."""

RARE: Final = 2_000
"""A text that fewer rows may have is looked up. One that many have is soon met from the newest row on."""

AMONG: Final = "seq IN (SELECT rowid FROM tasks_search WHERE tasks_search MATCH :needle)"
"""A condition that holds for every row that has the text, and for few others."""

COUNT = "SELECT count(*) FROM (SELECT 1 FROM tasks_search WHERE tasks_search MATCH :needle LIMIT :most)"


def needle(query: TaskQuery) -> str | None:
    """What the index is asked for: all groups that a matching row must have; ``None`` without any."""
    # A tag is part of the text, too, in lower case.
    wanted = [text.lower() for text in (query.q, query.tag) if text is not None]
    groups = {text[n : n + GROUP] for text in wanted for n in range(len(text) - GROUP + 1)}
    return " AND ".join('"' + group.replace('"', '""') + '"' for group in sorted(groups)) or None


def few(query: TaskQuery, connection: sqlite3.Connection) -> tuple[str, dict[str, Any]] | None:
    """`AMONG` with its parameters, if few rows have the groups; ``None`` if the index does not help."""
    groups = needle(query)
    if groups is None:
        return None
    (found,) = connection.execute(COUNT, {"needle": groups, "most": RARE}).fetchone()
    return (AMONG, {"needle": groups}) if found < RARE else None
