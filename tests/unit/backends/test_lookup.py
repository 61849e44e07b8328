"""Host names are looked up although the application has filled the loop's default pool."""

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskflow import PostgresBackend, RedisBackend
from taskflow.backends.lookup import addresses, is_name
from taskflow.core.exceptions import BackendUnavailableError
from tests.processes import PATIENCE


@pytest.fixture
async def full():
    """The default pool of the loop: it has no thread left."""
    release = threading.Event()
    pool = ThreadPoolExecutor(1)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(pool)
    held = loop.run_in_executor(None, release.wait)
    yield
    release.set()
    await held


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("db.internal", True),
        ("localhost", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("/run/postgresql", False),
        ("@taskflow", False),
        ("", False),
    ],
)
def test_only_names_are_looked_up(host, expected):
    assert is_name(host) is expected


async def test_a_name_is_looked_up_in_a_thread_of_its_own(full):
    async with asyncio.timeout(PATIENCE):
        assert {"127.0.0.1", "::1"} & set(await addresses("localhost", 80))


async def test_a_name_that_nobody_has_is_an_error():
    with pytest.raises(OSError, match=r"."):
        await addresses("nobody.invalid", 80)


@pytest.fixture
def silent_port():
    """Where somebody listens who says nothing, and takes down that somebody came."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_backend_whose_server_has_a_name_connects_while_the_default_pool_is_full(
    full, silent_port, kind
):
    port = silent_port.getsockname()[1]
    silent_port.settimeout(PATIENCE)
    if kind == "postgres":
        backend = PostgresBackend(f"postgresql://u:p@localhost:{port}/d", timeout=PATIENCE)
    else:
        backend = RedisBackend(f"redis://localhost:{port}/0", timeout=PATIENCE)
    opening = asyncio.create_task(backend.open())
    accepted = asyncio.get_running_loop().create_future()

    def accept():
        connection, _ = silent_port.accept()
        accepted.get_loop().call_soon_threadsafe(accepted.set_result, None)
        connection.close()

    threading.Thread(target=accept, daemon=True).start()
    async with asyncio.timeout(PATIENCE):
        await accepted
    opening.cancel()
    await asyncio.wait({opening})
    await backend.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda: PostgresBackend("postgresql://u:p@nobody.invalid/d"),
        lambda: RedisBackend("redis://nobody.invalid/0"),
    ],
    ids=["postgres", "redis"],
)
async def test_a_server_whose_name_nobody_has_is_away(make):
    backend = make()
    with pytest.raises(BackendUnavailableError, match=r"nobody\.invalid"):
        await backend.open()
    await backend.close()


async def test_of_several_hosts_the_one_that_has_an_address_is_asked(postgres):
    user = f"port={postgres.port} user=taskflow password=swordfish dbname=postgres"
    backend = PostgresBackend(f"host=nobody.invalid,localhost,127.0.0.1 {user}")
    await backend.open()
    await backend.close()
