"""Builds in environments of their own, made once and kept in ``.bench/builds``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import venv
from importlib.metadata import distributions
from io import BytesIO
from pathlib import Path

from tests.benchmarks.table import WORKSHOP
from tests.processes import ROOT

__all__ = ["commit_id", "environment"]

NEEDED = (
    "httptools",
    "httpx",
    "opentelemetry-sdk",
    "prometheus-client",
    "psycopg[binary]",
    "redis",
    "uvicorn",
    "uvloop",
)
"""What the programs use besides the build."""


def commit_id(commit: str) -> str:
    """The full id of what ``commit`` names.

    Raises:
        SystemExit: this repository has no such commit.
    """
    found = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if found.returncode:
        sys.exit(f"this repository has no commit {commit!r}; `git log --oneline` lists those that there are")
    return found.stdout.decode().strip()


def environment(commit: str | None) -> Path:
    """The interpreter that has the build of a commit, given by its full id; of this folder if ``None``.

    The first call needs PyPI. All other packages have the versions of the environment that runs this, and
    there are no more of them than the programs need, so that only the builds differ.

    Raises:
        SystemExit: it could not be made; nothing of it is left.
    """
    name = "this" if commit is None else commit[:12]
    folder = WORKSHOP / "builds" / name
    python, receipt = folder / "env/bin/python", folder / "constraints.txt"
    wanted = _constraints()
    if receipt.exists() and receipt.read_text() == wanted:
        return python
    print(f"making an environment for {name} in {folder.relative_to(ROOT)}; this is done once …", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _install(folder, ROOT if commit is None else _unpacked(commit, folder / "source"), wanted)
    except BaseException:  # an interrupted one must not look like a whole one, nor stay
        shutil.rmtree(folder, ignore_errors=True)
        raise
    receipt.write_text(wanted)
    return python


def _unpacked(commit: str, folder: Path) -> Path:
    archive = _git("archive", "--format=tar", commit)
    archive.check_returncode()
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


def _install(folder: Path, source: Path, constraints: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    given = folder / "given.txt"
    given.write_text(constraints)
    venv.create(folder / "env", with_pip=True)
    pip = [folder / "env/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--constraint", given, "--editable", source, *NEEDED]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"pip could not install {folder.name}, see above: it needs the package index, this once")


def _constraints() -> str:
    """The versions of this environment, without this project's own, below a comment: what is used."""
    own = "fastapi-taskflow"
    found = {each.metadata["Name"].lower(): each.version for each in distributions()}
    versions = (f"{name}=={version}\n" for name, version in sorted(found.items()) if name != own)
    return f"# {' '.join(NEEDED)}\n" + "".join(versions)


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True)
