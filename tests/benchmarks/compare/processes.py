"""Starting `program` for a system, with the interpreter that has it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.compare.environment import interpreter
from tests.benchmarks.http import wait_for
from tests.processes import ROOT, free_port

__all__ = ["answer", "serving"]


def answer(work: str, system: str, *, observed: bool = False) -> dict[str, Any]:
    """What the program found: a fresh process each time, so that no round pays for the one before."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--folder", folder] if observed else []
        command = _command(work, system, *options)
        found = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    parsed: dict[str, Any] = json.loads(found.stdout)
    return parsed


@contextmanager
def serving(system: str) -> Iterator[int]:
    """uvicorn with the system's application; gives its port."""
    port = free_port()
    with subprocess.Popen(_command("serve", system, f"--port={port}"), cwd=ROOT) as process:
        try:
            wait_for(port)
            yield port
        finally:
            process.terminate()


def _command(work: str, system: str, *options: str) -> list[str | Path]:
    return [interpreter(system), "-m", "tests.benchmarks.compare.program", work, system, *options]
