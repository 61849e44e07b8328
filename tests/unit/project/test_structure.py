"""The folders of the package stay small, and the scripts of the dashboard import one way."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STATIC = ROOT / "taskflow" / "admin" / "pages" / "static"

MOST = 15
MODULES = {".py", ".js", ".css", ".html"}

# Each room may import from those to the right of it, and from itself.
ROOMS = {
    "shell": {"overview", "tasks", "detail", "server", "core"},
    "overview": {"core"},
    "tasks": {"server", "core"},
    "detail": {"server", "core"},
    "server": set(),
    "core": set(),
}

IMPORT = re.compile(r"""^(?:(?:import|export|\})[^"'=;]*\bfrom|import)\s*["'](.+?)["'];$""", re.MULTILINE)


def crowded(folder: Path) -> dict[str, int]:
    """The folders below one that hold more modules than a reader can keep in mind."""
    modules = (path for path in folder.rglob("*") if path.suffix in MODULES and path.name != "__init__.py")
    counts = Counter(path.parent.relative_to(folder).as_posix() for path in modules)
    return {name: count for name, count in counts.items() if count > MOST}


@pytest.mark.parametrize("package", ["taskflow", "observers", "metrics"])
def test_no_folder_of_the_package_holds_more_than_fifteen_modules(package: str) -> None:
    assert crowded(ROOT / package) == {}


def test_the_dashboard_has_no_room_without_a_place() -> None:
    rooms = {path.parent.relative_to(STATIC).as_posix() for path in STATIC.rglob("*.js")}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_scripts_of_the_dashboard_import_by_relative_paths_and_from_lower_rooms_alone(room: str) -> None:
    refused = []
    for script in (STATIC / room).glob("*.js"):
        for target in IMPORT.findall(script.read_text(encoding="utf-8")):
            path = (script.parent / target).resolve()
            allowed = {room} | ROOMS[room]
            if not target.startswith(".") or not path.is_file() or path.parent.name not in allowed:
                refused.append(f"{script.name} imports {target}")
    assert refused == []


def test_scripts_of_the_dashboard_do_not_import_each_other_in_a_circle() -> None:
    imports = {
        script.resolve(): {
            (script.parent / target).resolve() for target in IMPORT.findall(script.read_text("utf-8"))
        }
        for script in STATIC.rglob("*.js")
    }
    while free := [script for script, targets in imports.items() if not targets & imports.keys()]:
        for script in free:
            del imports[script]
    assert [script.name for script in imports] == []
