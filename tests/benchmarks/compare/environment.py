"""Environments of their own for both sides: the published `fastapi-taskflow` has our distribution's name.

So each side has what it needs and the same versions of the rest, among it the event loop and the parser
that `fastapi[standard]` brings: what a request costs beside the tasks is then as little as in production.
"""

from __future__ import annotations

import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.table import WORKSHOP
from tests.processes import ROOT

__all__ = ["PEER", "SERVER", "SHARED", "interpreter"]

PEER = "fastapi-taskflow==0.12.1"

SERVER = ("httptools==0.9.0", "uvloop==0.23.0")
"""What uvicorn parses requests with, and runs on."""

SHARED = (
    "anyio",
    "fastapi",
    "opentelemetry-api",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-sdk",
    "prometheus-client",
    "pydantic",
    "starlette",
    "uvicorn",
)
"""What must be of the same version on both sides as where the benchmarks are run."""

OTHERS = ("huey", "taskiq")


def interpreter(system: str) -> Path:
    """The interpreter of the system's environment, which is made at the first call; that needs PyPI.

    Raises:
        CalledProcessError: pip could not install it.
    """
    if system == "Peer":
        return _environment("peer", [PEER])
    return _environment("ours", ["--editable", str(ROOT), *map(_pinned, OTHERS)])


def _pinned(name: str) -> str:
    return f"{name}=={version(name)}"


def _environment(name: str, own: list[str]) -> Path:
    folder = WORKSHOP / name
    python, receipt = folder / "bin" / "python", folder / "requirements.txt"
    requirements = [*own, *SERVER, *map(_pinned, SHARED)]
    wanted = "\n".join(requirements)
    if not receipt.exists() or receipt.read_text() != wanted:
        print(
            f"installing {own[0] if name == 'peer' else 'the others'} in an environment of its own …",
            flush=True,
        )
        venv.create(folder, clear=True, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True)
        receipt.write_text(wanted)  # last, so that an interrupted installation starts again
    return python
