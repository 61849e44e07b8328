"""What is installed: everything that `taskflow` needs, and nothing beside it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PROBE = """
import taskflow, taskflow.metrics, taskflow.observers.base, taskflow.version
print(taskflow.__path__[0], taskflow.observers.base.__file__, taskflow.version.__version__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and with the wheel that was built from that sdist."""
    folder = tmp_path_factory.mktemp("built")
    build("--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture
def unpacked(built: Path, tmp_path: Path) -> Path:
    python("-m", "tarfile", "-e", next(built.glob("*.tar.gz")), tmp_path)
    return next(tmp_path.iterdir())


def build(*args: str | Path) -> None:
    # Without isolation: the backend is a development dependency, so no network is needed.
    python("-m", "build", "--no-isolation", *args)


def python(*args: str | Path, **options: object) -> str:
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def source_files() -> set[str]:
    folders = [(ROOT / "taskflow", "taskflow")]
    folders += [(ROOT / name, f"taskflow/{name}") for name in ("observers", "metrics")]
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}"
        for folder, prefix in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_has_no_top_level_package_but_taskflow(wheel: Path) -> None:
    top_level = {name.split("/")[0] for name in names(wheel)}
    assert {name for name in top_level if not name.endswith(".dist-info")} == {"taskflow"}


def test_the_wheel_has_every_file_of_the_engine_the_observers_and_the_metrics(wheel: Path) -> None:
    assert {name for name in names(wheel) if name.startswith("taskflow/")} == source_files()


def test_the_wheel_says_that_it_is_typed(wheel: Path) -> None:
    assert "taskflow/py.typed" in names(wheel)


def test_the_wheel_is_the_same_from_the_checkout_as_from_the_sdist(wheel: Path, tmp_path: Path) -> None:
    build("--wheel", "--outdir", tmp_path, ROOT)
    assert names(next(tmp_path.glob("*.whl"))) == names(wheel)


def test_an_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    package, observer, version = python(
        "-c", PROBE, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}
    ).split()
    assert Path(package) == site / "taskflow"
    assert Path(observer) == site / "taskflow/observers/base.py"
    assert version == wheel.name.split("-")[1]


def test_an_unpacked_sdist_works_from_its_own_root(unpacked: Path) -> None:
    package, observer, _ = python("-c", PROBE, cwd=unpacked, env=os.environ | {"PYTHONPATH": "."}).split()
    assert Path(package).resolve() == unpacked / "taskflow"
    assert Path(observer).resolve() == unpacked / "taskflow/observers/base.py"


def test_every_third_party_import_is_a_declared_dependency_or_brought_by_one() -> None:
    optional = [*extra("encryption"), *extra("redis"), *extra("postgres")]
    needed = third_party_distributions(engine_modules())
    assert needed <= brought_by([*dependencies(), *extra("otlp")]) | named(optional)


def test_every_listed_dependency_is_imported() -> None:
    assert named(dependencies()) <= third_party_distributions(engine_modules())


def test_the_demo_and_the_tutorial_need_nothing_beyond_the_extra_of_that_name() -> None:
    examples = list((ROOT / "docs/examples").rglob("*.py"))
    own = {path.stem for path in examples} | {path.parent.name for path in examples}
    needed = third_party_distributions(examples) - own
    sdk = {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"}
    assert extra("demo")[0] == "fastapi[opentelemetry]"
    assert sdk <= named(requires("fastapi") or [], "opentelemetry")
    assert needed | {"uvicorn"} <= brought_by(dependencies()) | named(extra("demo"))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def dependencies() -> list[str]:
    return project()["dependencies"]


def extra(name: str) -> list[str]:
    return project()["optional-dependencies"][name]


def named(requirements: Iterable[str], extra: str = "") -> set[str]:
    """The names of the requirements that hold with an extra; without one, of those that always hold."""
    wanted = [Requirement(text) for text in requirements]
    return {
        canonical(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})
    }


def brought_by(requirements: Iterable[str]) -> set[str]:
    """The requirements, and what these and theirs in turn always need, as far as it is installed here."""
    found: set[str] = set()
    waiting = named(requirements)
    while waiting:
        found |= waiting
        waiting = {name for one in waiting for name in named(requires(one) or [])} - found
    return found


def third_party_distributions(paths: Iterable[Path]) -> set[str]:
    # One namespace, many distributions: the SDK is the application's choice, the API is ours.
    owners = packages_distributions() | {"opentelemetry": ["opentelemetry-api"]}
    modules = {name for path in paths for name in imported_modules(path)}
    standard = sys.stdlib_module_names | {"annotationlib"}  # new in Python 3.14
    foreign = modules - standard - {"taskflow"}
    return {canonical(owners.get(name, [name])[0]) for name in foreign}


def engine_modules() -> list[Path]:
    return [path for folder in ("taskflow", "observers", "metrics") for path in (ROOT / folder).rglob("*.py")]


def imported_modules(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    dotted = [alias.name for node in imports for alias in node.names] + [str(node.module) for node in froms]
    return {name.split(".")[0] for name in dotted}


def canonical(name: str) -> str:
    return name.lower().replace("_", "-")
