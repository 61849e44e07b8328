"""An environment of its own for the published `fastapi-taskflow`: it has the name of our distribution."""

from __future__ import annotations

import subprocess
import venv
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks.table import WORKSHOP

__all__ = ["PEER", "peer_python"]

PEER = "fastapi-taskflow==0.12.1"

SHARED = (
    "anyio",
    "fastapi",
    "h11",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "prometheus-client",
    "pydantic",
    "starlette",
    "uvicorn",
)
"""What must be of the same version on both sides."""


def peer_python() -> Path:
    """The interpreter of that environment, which is made at the first call; that needs PyPI.

    Raises:
        CalledProcessError: pip could not install it.
    """
    folder = WORKSHOP / "peer"
    python, receipt = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join([PEER, *(f"{name}=={version(name)}" for name in SHARED)])
    if not receipt.exists() or receipt.read_text() != wanted:
        print(f"installing {PEER} in an environment of its own …", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted.splitlines()], check=True)
        receipt.write_text(wanted)  # last, so that an interrupted installation starts again
    return python
