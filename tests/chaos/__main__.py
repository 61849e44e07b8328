"""``make chaos``: the long run. ``ARGS="sqlite=20 redis=5 --seed=7"`` makes it another one, and
``ARGS=servers`` runs all of `tests/integration/test_servers.py` instead.

``ARGS="postgres-outages=3 redis-outages=3 --longest=8"`` takes the store away, in about two minutes.

Ends with 1 if anything is not as it must be, and then tells all about it. What happens when is up to the
seed; how far everything has come by then is not, so that the same seed finds the same as a rule only.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cryptography.fernet import Fernet

from tests.chaos.campaign import Campaign
from tests.chaos.outage import Outages, Server
from tests.chaos.place import Place
from tests.chaos.report import Summary
from tests.conftest import SEARCH_PATH
from tests.postgres import running_postgres
from tests.redis_server import running_redis

KILLS = {"sqlite": 200, "postgres": 50, "redis": 50}

OUTAGES = {"postgres-outages": 9, "redis-outages": 9}

LEASE = 3.0
"""Seconds of a lease while the store goes away: shorter than the shortest outage."""

INSTANCES = {"sqlite": 1, "postgres": 2, "redis": 2}


SERVER_TESTS = "tests/integration/test_servers.py"


def main() -> None:
    """Run the campaigns that the command line names, or all."""
    if sys.argv[1:2] == ["servers"]:
        # In a process of its own: pytest wants to load first what this one has loaded.
        command = [sys.executable, "-m", "pytest", SERVER_TESTS, *sys.argv[2:]]
        os.execve(sys.executable, command, {**os.environ, "TASKFLOW_ALL_SERVERS": "1"})
    parser = argparse.ArgumentParser(prog="make chaos", description="Kill instances and count the tasks.")
    parser.add_argument("kills", nargs="*", metavar="BACKEND=KILLS", help="as sqlite=200; else all of them")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--instances", type=int, help="that live at once; else one for sqlite, two for others"
    )
    parser.add_argument("--shortest", type=float, default=5.0, help="seconds of an outage; 5 if not given")
    parser.add_argument("--longest", type=float, default=90.0, help="seconds of an outage; 90 if not given")
    arguments = parser.parse_args()
    try:
        wanted = dict(_kills(text) for text in arguments.kills) or KILLS | OUTAGES
    except ValueError as error:
        parser.error(str(error))
    print(f"seed {arguments.seed}")
    found = {kind: _run(kind, times, arguments) for kind, times in wanted.items()}
    print(f"\n{'':>16} {Summary.heading()}")
    for kind, (summary, _) in found.items():
        print(f"{kind:>16} {summary}")
    wrong = [f"{kind}: {fault}" for kind, (_, faults) in found.items() for fault in faults]
    print(*wrong, sep="\n", end="" if not wrong else "\n")
    sys.exit(f"{len(wrong)} faults with seed {arguments.seed}" if wrong else 0)


def _kills(text: str) -> tuple[str, int]:
    kind, _, times = text.partition("=")
    known = KILLS | OUTAGES
    if kind not in known or not times.isdigit():
        raise ValueError(f"{text!r}: must be one of {', '.join(known)}, and a number: sqlite=20")
    return kind, int(times)


def _run(kind: str, times: int, arguments: argparse.Namespace) -> tuple[Summary, list[str]]:
    folder = Path(tempfile.mkdtemp(prefix="taskflow-chaos-"))
    run = _take_away if kind in OUTAGES else _kill
    summary, wrong = run(kind.removesuffix("-outages"), times, folder, arguments)
    if wrong:
        print(f"\nall traces are in {folder}")
    else:
        shutil.rmtree(folder)
    return summary, wrong


def _kill(kind: str, kills: int, folder: Path, arguments: argparse.Namespace) -> tuple[Summary, list[str]]:
    instances = arguments.instances or INSTANCES[kind]
    with _place(kind, folder) as (place, _):
        return Campaign(place, arguments.seed, instances=instances, say=_say).run(kills)


def _take_away(
    kind: str, outages: int, folder: Path, arguments: argparse.Namespace
) -> tuple[Summary, list[str]]:
    with _place(kind, folder) as (place, server):
        assert server is not None
        patient = replace(place, lease=LEASE, look=LEASE / 6)
        bounds = {"shortest": arguments.shortest, "longest": arguments.longest}
        return Outages(patient, server, arguments.seed, say=_say, **bounds).run(outages)


def _say(text: str) -> None:
    print(f"\r{text} ", end="", flush=True)


@contextmanager
def _place(kind: str, folder: Path) -> Iterator[tuple[Place, Server | None]]:
    """A place of that kind, on a server of its own."""
    data = folder / "server"
    data.mkdir()
    key = Fernet.generate_key()
    if kind == "sqlite":
        yield Place(kind, folder), None
    elif kind == "postgres":
        folder.chmod(0o711)  # the server's user must get to its data
        with running_postgres(_program("initdb").parent, data) as postgres:
            yield Place(kind, folder, postgres.dsn, key=key), postgres
    else:
        # As a rule `everysec` would do: but a server that is killed may have promised what it forgets.
        options = ("--appendonly", "yes", "--appendfsync", "always")
        with running_redis(_program("redis-server"), data, *options) as redis:
            yield Place(kind, folder, redis.url, key=key), redis


def _program(name: str) -> Path:
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        sys.exit(f"make chaos needs the program {name!r}")
    return Path(found)


if __name__ == "__main__":
    main()
