"""``make dashboards``: write ``grafana/dashboards/*.json``."""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.builders.overview import overview
from grafana.builders.task import task

__all__ = ["DASHBOARDS", "render"]

FOLDER = Path(__file__).parent / "dashboards"

DASHBOARDS = {"overview.json": overview, "task.json": task}
"""What makes each file."""


def render(dashboard: Dashboard) -> str:
    """The JSON that Grafana imports."""
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(dashboard) + "\n"


def main() -> None:
    """Write the files."""
    for name, make in DASHBOARDS.items():
        (FOLDER / name).write_text(render(make()), encoding="utf-8")


if __name__ == "__main__":
    main()
