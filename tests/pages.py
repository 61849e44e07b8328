"""The pages of the documentation as programs: all their Python blocks, in order, as one module.

``python -m tests.pages docs/persistence.md`` runs one, in the folder that it is started in.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

from tests.processes import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

KEY = "bm90IGEgc2VjcmV0OiBvbmx5IGZvciB0aGUgdGVzdHM="
ENVIRONMENT = {
    "ADMIN_PASSWORD": "swordfish",
    "ADMIN_SECRET_KEY": "for-cookies",
    "METRICS_TOKEN": "for-prometheus",
    "SESSION_KEY": "for-cookies",
    "TASKFLOW_KEY": KEY,
    "TASKFLOW_KEYS": KEY,
    "TASKFLOW_OLD_KEY": KEY,
}
"""What the pages take from the environment."""

MISSING = "/var/log/shop/"
"""A folder that the pages take for granted: here it is the one that they run in."""


def every_page() -> list[Path]:
    """The pages that people read: those of the site, and those at the top of the repository."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("grafana/**/*.md")])


def blocks(page: Path) -> Iterator[str]:
    """The Python blocks of a page, moved down to the lines that they have there."""
    text = page.read_text(encoding="utf-8").replace(MISSING, "")
    for found in BLOCK.finditer(text):
        yield "\n" * text.count("\n", 0, found.start(1)) + found[1]


def program(page: Path) -> str:
    """All the Python of a page, as a file that can be served."""
    return "\n".join(block.lstrip("\n") for block in blocks(page))


def load(page: Path) -> Any:
    """Run a page, and return it as a module."""
    module = ModuleType(page.stem)
    with patch.dict(os.environ, ENVIRONMENT):
        for block in blocks(page):
            exec(compile(block, page, "exec", dont_inherit=True), module.__dict__)
    return module


if __name__ == "__main__":
    load(Path(sys.argv[1]))
