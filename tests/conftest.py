"""What every test may rely on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from taskflow.observers.otel import choice
from tests.postgres import Postgres, running_postgres
from tests.redis_server import RedisServer, running_redis

# A deadline is a timing assertion: it fails on a busy machine.
settings.register_profile("taskflow", deadline=None)
settings.load_profile("taskflow")

# Debian keeps daemons and logrotate in folders that are not on an ordinary user's PATH.
SEARCH_PATH = os.pathsep.join([
    os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin",
    *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)),
])  # fmt: skip


def require(condition: object, what: str) -> None:
    """Skip the test if something outside Python is missing; fail it where CI promised to have it."""
    if condition:
        return
    if os.environ.get("TASKFLOW_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is missing, and TASKFLOW_REQUIRE_SERVICES=1 promises it", pytrace=False)
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def executable() -> Callable[[str], Path]:
    """Find a program by its name, or by the environment variable that names its path (``JAEGER_BIN``)."""

    def find(name: str, *, variable: str | None = None) -> Path:
        given = os.environ.get(variable) if variable else None
        found = given or shutil.which(name, path=SEARCH_PATH)
        require(found, f"the program {name!r}")
        return Path(str(found))

    return find


@pytest.fixture(scope="session")
def postgres(executable: Callable[[str], Path]) -> Iterator[Postgres]:
    """One PostgreSQL for all tests: each takes a schema of its own."""
    programs = executable("initdb").parent
    # Not a folder of pytest's: the server's user cannot enter those.
    with (
        tempfile.TemporaryDirectory(prefix="taskflow-postgres-") as folder,
        running_postgres(programs, Path(folder)) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def redis_server(
    executable: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    """One Redis for all tests, which keeps its data when it crashes: each takes a prefix of its own."""
    folder = tmp_path_factory.mktemp("redis")
    # With its default, `everysec`, Redis answers up to two seconds before it writes while the disk is busy.
    # Without fsync it writes first: only a crash of the machine would lose that.
    options = ("--appendonly", "yes", "--appendfsync", "no")
    with running_redis(executable("redis-server"), folder, *options) as running:
        yield running


@pytest.fixture(params=["lean", "ordinary"])
def both_kinds_of_spans(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with lean spans, and once more as under an OpenTelemetry SDK that Taskflow does not know."""
    monkeypatch.setattr(choice, "_is_known", lambda: request.param == "lean")
