"""One system in a process of its own: ``python -m tests.benchmarks.compare.program throughput Bare``.

It prints what it found as one line of JSON; ``serve`` runs until it is terminated.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import uvicorn

from tests.benchmarks.compare.system import System

MODULES = {
    "Bare": "bare",
    "Taskflow": "managed",
    "Taskiq": "taskiq_memory",
    "Huey": "huey_memory",
    "Peer": "peer",
}
"""Where each system is: a process imports the one that it measures, and no other."""

WARM_UP = 500


def make(name: str, folder: Path | None) -> System:
    """The system of that name."""
    module = import_module(f"tests.benchmarks.compare.{MODULES[name]}")
    system: System = getattr(module, name)(folder)
    return system


async def requests(system: System, count: int) -> None:
    """So many requests with one task each, one after the other."""
    for _ in range(count):
        await system.request()
    await system.settle()


async def throughput(system: System, tasks: int) -> dict[str, Any]:
    """Seconds for so many tasks, and what of them was exported as spans and written as lines."""
    await system.start()
    await requests(system, WARM_UP)
    spans, lines = system.exporter.spans, _lines(system.folder)
    gc.collect()
    gc.freeze()  # imported modules are no work of these tasks
    start, cpu = time.perf_counter(), time.process_time()
    await requests(system, tasks)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    found = {"spans": system.exporter.spans - spans, "lines": _lines(system.folder) - lines}
    await system.stop()
    return {"tasks": tasks, "seconds": seconds, "cpu_seconds": cpu, **found}


def _lines(folder: Path | None) -> int:
    files = folder.iterdir() if folder else ()
    return sum(path.read_bytes().count(b"\n") for path in files)


async def memory(system: System, tasks: int) -> dict[str, Any]:
    """Bytes that so many finished tasks keep, as tracemalloc counts them."""
    await system.start()
    await requests(system, WARM_UP)
    gc.collect()
    tracemalloc.start()
    await requests(system, tasks)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await system.stop()
    return {"tasks": tasks, "bytes": held}


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["throughput", "memory", "serve"])
    parser.add_argument("system", choices=MODULES)
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="observe everything, with the log files there")
    wanted = parser.parse_args()
    system = make(wanted.system, wanted.folder)
    if wanted.work == "serve":
        uvicorn.run(
            system.app(),
            host="127.0.0.1",
            port=wanted.port,
            log_level="warning",
            loop="uvloop",
            http="httptools",
        )
        return
    measure: Callable[..., Any] = {"throughput": throughput, "memory": memory}[wanted.work]
    print(json.dumps(asyncio.run(measure(system, wanted.tasks))))


if __name__ == "__main__":
    main()
