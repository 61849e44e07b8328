"""What is special about Redis. What it shares with every backend is in `test_backends.py`."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from redis import Redis

from taskflow.backends.redis import RedisBackend
from taskflow.core.exceptions import BackendFormatError, BackendUnavailableError, ConfigurationError
from taskflow.core.models import TaskStatus
from taskflow.core.query import TaskQuery, moment
from taskflow.persistence.backend import APPLIED, Change
from tests.backends import at, ids, inserts, row
from tests.processes import eventually, free_port
from tests.redis_server import RedisServer, running_redis

PENDING, RUNNING, SUCCESS = TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCESS

Make: TypeAlias = Callable[..., RedisBackend]
Run: TypeAlias = Callable[..., RedisServer]


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """The server, which a test may stop."""
    yield redis_server
    redis_server.start()


@pytest.fixture
def redis(server: RedisServer) -> Iterator[Redis]:
    """What an operator, or another application, does with the server."""
    with Redis.from_url(server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def run(executable: Callable[[str], Path], tmp_path: Path) -> Iterator[Run]:
    """Run one more server, with options of its own."""

    def run(*options: str) -> RedisServer:
        folder = tmp_path / f"redis{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return stack.enter_context(running_redis(executable("redis-server"), folder, *options))

    with ExitStack() as stack:
        yield run


@pytest.fixture
def prefix() -> str:
    """What no other test uses."""
    return f"{{{uuid.uuid4().hex}}}:"


@pytest.fixture
async def make(prefix: str) -> AsyncIterator[Make]:
    """Make backends with one prefix, which are closed after the test."""
    made: list[RedisBackend] = []

    def make(url: str, **options: object) -> RedisBackend:
        made.append(RedisBackend(url, **{"prefix": prefix, **options}))
        return made[-1]

    yield make
    for backend in made:
        await backend.close()


# The server goes away


async def test_it_works_again_when_the_server_is_back(server: RedisServer, make: Make):
    backend = make(server.url)
    await backend.commit(inserts(row("1")))
    server.stop()
    with pytest.raises(BackendUnavailableError, match=f"127.0.0.1:{server.port}"):
        await backend.commit(inserts(row("2")))
    server.start()
    assert [APPLIED] == await backend.commit(inserts(row("2")))
    assert ["2", "1"] == ids(await backend.find(TaskQuery()))


async def test_a_server_that_is_down_at_open_may_come_later(server: RedisServer, make: Make):
    backend = make(server.url)
    server.stop()
    with pytest.raises(BackendUnavailableError, match=f"connecting to 127.0.0.1:{server.port}"):
        await backend.open()
    server.start()
    await backend.open()
    assert {} == await backend.count()


async def test_what_was_told_as_committed_survives_a_crash_of_the_server_under_load(
    server: RedisServer, make: Make
):
    backend = make(server.url)
    committed: list[str] = []
    hundred = asyncio.Event()

    async def keep_committing(worker: int) -> None:
        for number in range(10_000):
            await backend.commit(inserts(row(f"{worker}-{number}")))
            committed.append(f"{worker}-{number}")
            if len(committed) >= 100:
                hundred.set()

    async with asyncio.timeout(60):
        workers = [asyncio.create_task(keep_committing(worker)) for worker in range(20)]
        await hundred.wait()
        await asyncio.to_thread(server.stop)
        ends = await asyncio.gather(*workers, return_exceptions=True)
    server.start()
    assert {BackendUnavailableError} == {type(end) for end in ends}
    assert [] == [task_id for task_id in committed if await backend.get(task_id) is None]


async def test_connections_that_the_server_has_closed_meanwhile_fail_nobody(
    server: RedisServer, redis: Redis, make: Make
):
    backend = make(server.url)
    await asyncio.gather(*(backend.commit(inserts(row(str(n)))) for n in range(5)))
    redis.client_kill_filter(_type="normal", skipme=True)
    assert [row("0")] * 5 == await asyncio.gather(*(backend.get("0") for _ in range(5)))


async def test_no_call_waits_for_ever(server: RedisServer, make: Make):
    backend = make(server.url, timeout=0.2)
    await backend.commit(inserts(row("1")))
    server.send(signal.SIGSTOP)
    try:
        with pytest.raises(BackendUnavailableError, match="Timeout"):
            await backend.get("1")
        with pytest.raises(BackendUnavailableError, match="Timeout"):
            await make(server.url, timeout=0.2).open()
    finally:
        server.send(signal.SIGCONT)
    assert row("1") == await make(server.url).get("1")


async def test_more_calls_than_connections_wait_for_their_turn(server: RedisServer, make: Make):
    backend = make(f"{server.url}?max_connections=2")
    await backend.save([row("1")])
    assert [row("1")] * 50 == await asyncio.gather(*(backend.get("1") for _ in range(50)))


async def test_scripts_that_the_server_has_forgotten_are_sent_again(
    server: RedisServer, redis: Redis, make: Make
):
    backend = make(server.url)
    await backend.commit(inserts(row("1")))
    redis.script_flush()
    assert [APPLIED] == await backend.commit(inserts(row("2")))


async def test_a_server_that_is_full_stores_nothing_of_a_commit(run: Run, make: Make):
    server = run("--maxmemory", "100mb", "--appendonly", "yes")
    backend = make(server.url)
    await backend.commit(inserts(row("1")))
    with Redis.from_url(server.url) as redis:
        redis.config_set("maxmemory", "1")
        with pytest.raises(BackendUnavailableError, match="maxmemory"):
            await backend.commit([*inserts(row("2")), Change(row("1", RUNNING), ("here", PENDING))])
        redis.config_set("maxmemory", "0")
    assert [row("1")] == await backend.find(TaskQuery())


async def test_a_replica_is_unavailable_for_writing(run: Run, make: Make):
    server = run("--appendonly", "yes")
    backend = make(server.url)
    await backend.commit(inserts(row("1")))
    with Redis.from_url(server.url) as redis:
        redis.replicaof("127.0.0.1", "1")
        with pytest.raises(BackendUnavailableError, match="read only"):
            await backend.commit(inserts(row("2")))
        redis.replicaof("NO", "ONE")
    assert [APPLIED] == await backend.commit(inserts(row("2")))


async def test_a_wrong_password_is_told_without_it(run: Run, make: Make):
    server = run("--requirepass", "right")
    backend = make(server.url.replace("//", "//:wr0ng@"))
    with pytest.raises(BackendUnavailableError, match="password") as caught:
        await backend.open()
    assert "wr0ng" not in str(caught.value)


# What the server is told to do


async def test_a_server_that_keeps_everything_is_not_warned_of(
    server: RedisServer, make: Make, caplog: pytest.LogCaptureFixture
):
    await make(server.url).open()
    assert [] == caplog.messages


async def test_a_server_without_appendonly_is_warned_of(
    run: Run, make: Make, caplog: pytest.LogCaptureFixture
):
    server = run()
    backend = make(server.url)
    await backend.open()
    await backend.open()
    expected = (
        f"redis at 127.0.0.1:{server.port} runs without `appendonly yes`: "
        "it forgets tasks when it crashes, those with persist=True too"
    )
    assert [("taskflow", logging.WARNING, expected)] == caplog.record_tuples


async def test_a_server_that_evicts_keys_is_warned_of(run: Run, make: Make, caplog: pytest.LogCaptureFixture):
    server = run("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    await make(server.url).open()
    (message,) = caplog.messages
    assert "`maxmemory-policy allkeys-lru`" in message


@pytest.mark.parametrize(
    "options",
    [("--maxmemory-policy", "allkeys-lru"), ("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")],
    ids=["no limit", "none of ours"],
)
async def test_a_server_that_cannot_evict_our_keys_is_not_warned_of(
    run: Run, make: Make, caplog: pytest.LogCaptureFixture, options: tuple[str, ...]
):
    await make(run("--appendonly", "yes", *options).url).open()
    assert [] == caplog.messages


async def test_a_server_that_does_not_tell_is_warned_of(
    server: RedisServer, redis: Redis, make: Make, caplog: pytest.LogCaptureFixture
):
    redis.acl_setuser("shy", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-info"])
    await make(server.url.replace("//", "//shy:any@")).open()
    (message,) = caplog.messages
    assert "does not tell whether it runs with appendonly" in message


# What else is there


async def test_a_newer_layout_is_left_alone(server: RedisServer, redis: Redis, make: Make, prefix: str):
    redis.set(f"{prefix}version", "2")
    with pytest.raises(BackendFormatError, match="its layout is 2, and this Taskflow knows 1"):
        await make(server.url).open()
    assert {f"{prefix}version": "2"} == {key: redis.get(key) for key in redis.scan_iter(f"{prefix}*")}


@pytest.mark.parametrize("name", ["version", "all", "ended", "held", "leases", "totals"])
async def test_a_key_of_somebody_else_is_left_alone(
    server: RedisServer, redis: Redis, make: Make, prefix: str, name: str
):
    redis.rpush(prefix + name, "theirs")
    with pytest.raises(BackendFormatError, match=f"{prefix}{name} is a list.*Something else has this prefix"):
        await make(server.url).open()
    assert [prefix + name] == redis.keys(f"{prefix}*")
    assert ["theirs"] == redis.lrange(prefix + name, 0, -1)


@pytest.mark.parametrize("call", ["commit", "save"])
async def test_a_key_of_somebody_else_in_place_of_a_row_stops_a_call_before_it_changes_anything(
    server: RedisServer, redis: Redis, make: Make, prefix: str, call: str
):
    backend = make(server.url)
    await backend.open()
    redis.set(f"{prefix}row:2", "theirs")
    arguments = {"commit": inserts(row("1"), row("2")), "save": [row("1"), row("2")]}
    with pytest.raises(BackendFormatError, match="WRONGTYPE"):
        await getattr(backend, call)(arguments[call])
    assert "theirs" == redis.get(f"{prefix}row:2")
    assert [] == await backend.find(TaskQuery())
    assert {} == await backend.count()


@pytest.mark.parametrize(
    "place",
    ["nonsense", '["f","paused","1",false,false,"",false,false]', "[]", "5"],
    ids=["no JSON", "no such state", "too short", "a number"],
)
async def test_a_row_that_is_damaged_is_told(
    server: RedisServer, redis: Redis, make: Make, prefix: str, place: str
):
    backend = make(server.url)
    await backend.save([row("1")])
    redis.hset(f"{prefix}row:1", "place", place)
    with pytest.raises(BackendFormatError, match="a row is damaged"):
        await backend.get("1")


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [("row:1", "place", "nonsense"), ("row:1", "place", "5"), ("totals", "running:rows", "many")],
)
async def test_a_value_that_a_script_cannot_work_with_is_told(
    server: RedisServer, redis: Redis, make: Make, prefix: str, key: str, field: str, value: str
):
    backend = make(server.url)
    await backend.commit(inserts(row("1")))
    redis.hset(prefix + key, field, value)
    with pytest.raises(BackendFormatError, match="stored under our keys is not ours"):
        await backend.commit([Change(row("1", RUNNING), ("here", PENDING))])


async def test_a_row_that_the_server_has_evicted_is_missed_by_nobody(
    server: RedisServer, redis: Redis, make: Make, prefix: str
):
    backend = make(server.url)
    await backend.commit(inserts(*(row(name) for name in "abc"), row("d", SUCCESS), row("e", SUCCESS)))
    redis.delete(f"{prefix}row:b", f"{prefix}row:d")
    assert list("eca") == ids(await backend.find(TaskQuery()))
    assert list("ca") == ids(await backend.find(TaskQuery(status=[PENDING])))
    assert list("ac") == ids(await backend.claimable(["work"], 10))
    await backend.acquire("new", previous="here")
    assert list("eca") == ids(await backend.find(TaskQuery()))
    assert 2 == await backend.prune(at(60))


# Keys


@pytest.fixture
def run_node(run: Run) -> Run:
    """Run a node of a cluster."""

    def run_node() -> RedisServer:
        cluster = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        return run(*cluster, "--cluster-require-full-coverage", "no", "--appendonly", "yes")

    return run_node


def serve(node: RedisServer, prefix: str) -> None:
    """Give a node the slot of a prefix, and no other one."""
    with Redis.from_url(node.url) as redis:
        slot = redis.execute_command("CLUSTER", "KEYSLOT", prefix)
        redis.execute_command("CLUSTER", "ADDSLOTS", slot)
        eventually(lambda: b"cluster_state:ok" in redis.execute_command("CLUSTER", "INFO"))


async def test_it_works_on_a_node_of_a_cluster_that_has_the_slot_of_its_prefix(
    run_node: Run, make: Make, prefix: str
):
    node = run_node()
    serve(node, prefix)
    backend = make(node.url)
    await backend.acquire("here")
    await backend.commit(inserts(row("1", idempotency_key="k"), row("2", owner="gone")))
    await backend.commit([Change(row("1", SUCCESS, elapsed=1.0), ("here", PENDING))])
    assert ["2"] == ids(await backend.claimable(["work"], 10))
    assert ["2", "1"] == ids(await backend.find(TaskQuery(func_name="work")))
    assert 1 == await backend.prune(at(60))


async def test_another_node_of_the_cluster_names_the_right_one(run_node: Run, make: Make, prefix: str):
    node, other = run_node(), run_node()
    serve(node, prefix)
    with Redis.from_url(other.url) as redis:
        redis.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, cluster_port(node))
        eventually(lambda: b"cluster_slots_assigned:1" in redis.execute_command("CLUSTER", "INFO"))
        eventually(lambda: b"cluster_state:ok" in redis.execute_command("CLUSTER", "INFO"))
    with pytest.raises(BackendUnavailableError, match=f"127.0.0.1:{node.port} has the slot of the prefix"):
        await make(other.url).open()


def cluster_port(node: RedisServer) -> int:
    return int(node.options[node.options.index("--cluster-port") + 1])


async def test_nothing_is_left_of_rows_that_are_pruned(
    server: RedisServer, redis: Redis, make: Make, prefix: str
):
    backend = make(server.url)
    await backend.commit(inserts(row("1", idempotency_key="k", tags={"a": "b"}, payload=b"x")))
    await backend.commit([Change(row("1", SUCCESS, elapsed=1.5, idempotency_key="k"), ("here", PENDING))])
    await backend.save([row("2", SUCCESS, durable=False, elapsed=0.25)])
    assert 2 == await backend.prune(at(60))
    assert [] == await backend.claimable([], 10)  # forgets owners without rows
    assert {f"{prefix}version", f"{prefix}totals"} == set(redis.scan_iter(f"{prefix}*"))
    assert {"0"} == set(redis.hvals(f"{prefix}totals"))


async def test_prefixes_keep_applications_apart(server: RedisServer, make: Make):
    one, two = make(server.url), make(server.url, prefix="{another " + uuid.uuid4().hex + "}")
    await one.save([row("1")])
    assert [] == await two.find(TaskQuery())


# The listing


async def test_moments_are_exact_until_the_year_2255(server: RedisServer, make: Make):
    backend = make(server.url)
    last = 2**53 - 1
    await backend.save([row(str(n), created_at=moment(last - n)) for n in range(3)])
    assert list("012") == ids(await backend.find(TaskQuery()))
    assert ["1"] == ids(await backend.find(TaskQuery(since=moment(last - 1), until=moment(last))))


async def test_a_rare_row_is_found_behind_thousands_of_others(server: RedisServer, make: Make):
    # All at one moment: their ids alone tell where one step of the search ends and the next begins.
    backend = make(server.url)
    await backend.save([row("0000", tags={"rare": "yes"}, error="needle")])
    for start in range(1, 6000, 500):
        await backend.save([row(f"{start + n:04}") for n in range(500)])
    assert ["0000"] == ids(await backend.find(TaskQuery(tag="rare")))
    assert ["0000"] == ids(await backend.find(TaskQuery(q="needle")))
    assert [f"{n:04}" for n in range(6000, 5000, -1)] == ids(await backend.find(TaskQuery(limit=1000)))


async def test_bytes_come_back_as_they_were(server: RedisServer, make: Make):
    backend = make(server.url)
    expected = row("1", payload=bytes(range(256)) + "é\ud800".encode("utf-8", "surrogatepass"))
    await backend.commit(inserts(expected))
    assert expected == await backend.get("1")


# Options


@pytest.mark.parametrize(
    "url",
    ["localhost", "http://localhost", "redis://:secret@localhost:port", "redis://localhost?secret=1", 5],
)
def test_a_url_that_is_none_is_refused_without_quoting_it(url: str):
    with pytest.raises(ConfigurationError, match="url='<redacted>': must be redis://") as caught:
        RedisBackend(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "taskflow:", "{}taskflow:", "{taskflow", "{a\0}", 5])
def test_a_prefix_that_does_not_keep_the_keys_together_is_refused(prefix: str):
    with pytest.raises(ConfigurationError, match="prefix="):
        RedisBackend("redis://localhost", prefix=prefix)


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), "1", None])
def test_a_timeout_that_is_none_is_refused(timeout: float):
    with pytest.raises(ConfigurationError, match="timeout="):
        RedisBackend("redis://localhost", timeout=timeout)


def test_without_redis_py_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "taskflow.backends.redis_connection", raising=False)
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigurationError, match='pip install "redis"'):
        RedisBackend("redis://localhost")
