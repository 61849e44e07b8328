"""The shipped configurations under `grafana/logs`, with the paths and addresses of a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.processes import ROOT

SHIPPED = ROOT / "grafana/logs"

LOGS = "/var/log/shop"
"""The folder of the log files in all of them."""


def shipped(path: str, changes: Mapping[str, object]) -> str:
    """The configuration at ``path`` with ``changes``: what its user must change, by what it is to become."""
    text = (SHIPPED / path).read_text(encoding="utf-8")
    for old, new in changes.items():
        assert old in text, f"{path} does not name {old}"
        text = text.replace(old, str(new))
    return text


def write_shipped(path: str, folder: Path, changes: Mapping[str, object]) -> Path:
    """Write `shipped` into ``folder``, under the same file name; gives its path."""
    target = folder / Path(path).name
    target.write_text(shipped(path, changes), encoding="utf-8")
    return target
