"""Durable tasks under the servers that people use: whatever ends a worker, no promise is lost.

Each row of the table in ``docs/servers.md`` has its turn, and each server. ``make chaos ARGS=servers`` runs
every combination, by ``TASKFLOW_ALL_SERVERS=1``.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import PATIENCE, eventually
from tests.servers import SERVERS, Server, Shop

DISPATCHES = ("request", "detached")
ALL = bool(os.environ.get("TASKFLOW_ALL_SERVERS"))
PRELOADED = ("gunicorn-uvicorn-preload", "gunicorn-asgi-preload")


def under(*kinds: str, long_run: Iterable[str] = ()) -> pytest.MarkDecorator:
    """Each of those servers with one way of dispatch in turn; in the long run more of them, and both ways."""
    every = dict.fromkeys((*kinds, *long_run) if ALL else kinds)  # each once
    turn = cycle(DISPATCHES)
    pairs = [(kind, way) for kind in every for way in (DISPATCHES if ALL else (next(turn),))]
    return pytest.mark.parametrize(("kind", "dispatch"), pairs)


@pytest.fixture
def shop(tmp_path: Path, dispatch: str) -> Shop:
    return Shop(tmp_path, {"DISPATCH": dispatch})


def assert_that_all_is_well(shop: Shop, states: dict[str, str], *may_be_interrupted: str) -> None:
    """Every task ended, those that may not run twice began at most once."""
    rows, begun = shop.rows(), shop.times_begun()
    for task_id, status in states.items():
        name = rows[task_id][0]
        allowed = {"success", "interrupted"} if name in may_be_interrupted else {"success"}
        assert status in allowed, (name, status)
        assert name == "again" or begun[task_id] <= 1, (name, begun[task_id])
    assert [row for row in rows.values() if row[2] is not None] == []  # nobody is still to do anything


ENDS_WITH_A_WORKER = {"hypercorn": (0, 241), "hypercorn-http2": (0, 241), "granian": (1,)}
"""Servers that do, and their exit status: hypercorn's tells whether the others had ended by then."""


@under(
    "uvicorn",
    "gunicorn-asgi-preload",
    "granian",
    "granian-respawn",
    "hypercorn",
    long_run=(*SERVERS, *PRELOADED, "hypercorn-http2"),
)
def test_whoever_kills_a_worker_every_promised_task_ends_and_none_runs_twice_that_may_not(
    shop: Shop, kind: str
) -> None:
    with shop.under(kind) as server:
        tasks = [task_id for name in ("again", "once", "in_thread") * 4 for task_id in shop.add(server, name)]
        began = shop.began(*(tasks[:3]))
        os.kill(began[0].pid, signal.SIGKILL)
        if kind in ENDS_WITH_A_WORKER:  # what watches over it starts it again
            assert server.wait() in ENDS_WITH_A_WORKER[kind]
            with shop.under(kind) as next_one:
                states = _let_all_end(shop, next_one, tasks)
        else:
            states = _let_all_end(shop, server, tasks)
    assert_that_all_is_well(shop, states, "once", "in_thread")


def _let_all_end(shop: Shop, server: Server, tasks: list[str]) -> dict[str, str]:
    shop.open_gate()
    late = eventually(lambda: _add_if_answered(shop, server, "once"))
    states = shop.all_end(*tasks, *late)
    server.send(signal.SIGTERM)
    server.wait()
    assert states[late[0]] == "success"
    return states


def _add_if_answered(shop: Shop, server: Server, name: str) -> list[str] | None:
    """As `Shop.add`; ``None`` if a worker that was just killed had the connection: nothing is promised."""
    try:
        return shop.add(server, name)
    except httpx.TransportError:
        return None


@under(
    "hypercorn",
    "granian",
    "gunicorn-uvicorn",
    "gunicorn-asgi",
    long_run=(*SERVERS, *PRELOADED, "hypercorn-alone", "hypercorn-http2"),
)
def test_a_worker_that_is_told_to_end_leaves_its_tasks_to_the_next_one(shop: Shop, kind: str) -> None:
    with shop.under(kind) as server:
        tasks = [task_id for name in ("again", "once", "in_thread") for task_id in shop.add(server, name)]
        shop.began(*tasks)
        server.send(signal.SIGTERM)
        server.wait()
    if kind not in ("hypercorn", "hypercorn-http2"):  # ends its workers without a word
        assert {shop.status(task_id) for task_id in tasks} == {"pending", "interrupted"}
    shop.open_gate()
    with shop.under(kind) as server:
        states = shop.all_end(*tasks)
        server.send(signal.SIGTERM)
        server.wait()
    assert_that_all_is_well(shop, states, "once", "in_thread")


@under("uvicorn-alone", "gunicorn-asgi", "gunicorn-uvicorn")
def test_a_server_that_is_told_twice_to_end_or_to_be_quick_hands_its_tasks_over_at_once(
    shop: Shop, kind: str
) -> None:
    # Ctrl-C twice; gunicorn sends SIGQUIT to its workers at the first, and kills those that go on.
    options = ("--graceful-timeout=600",) if kind == "gunicorn-uvicorn" else ()
    with shop.under(kind, *options, SHUTDOWN_TIMEOUT="600") as server:
        (again,), (once,) = shop.add(server, "again"), shop.add(server, "once")
        shop.began(again, once)
        server.send(signal.SIGINT)
        if kind == "uvicorn-alone":
            eventually(lambda: "Shutting down" in server.output)
            server.send(signal.SIGINT)
        if kind == "gunicorn-uvicorn":
            eventually(lambda: shop.leases() == 0)
        else:
            server.wait()
        assert "could not be stored" not in server.output
    assert (shop.status(again), shop.status(once)) == ("pending", "interrupted")
    assert shop.leases() == 0  # nobody has to wait for one


@under("fastapi-run", "gunicorn-asgi", "hypercorn-http2", long_run=(*SERVERS, *PRELOADED))
def test_a_client_that_has_gone_takes_no_task_with_it(shop: Shop, kind: str) -> None:
    # gunicorn's own worker cancels the request of a client that has gone; at once, as told here.
    options = ("--asgi-disconnect-grace-period=0",) if kind == "gunicorn-asgi" else ()
    with shop.under(kind, *options) as server:
        (again,), (once,) = shop.add(server, "again"), shop.add(server, "once")
        shop.began(again, once)
        hang_up(server, "/add/in_thread")
        eventually(lambda: any(line.name == "in_thread" for line in shop.ledger()))
        shop.open_gate()
        states = shop.all_end(*shop.rows())
        assert set(states.values()) == {"success"}
        assert set(shop.times_begun().values()) == {1}
        server.send(signal.SIGTERM)
        server.wait()


def hang_up(server: Server, path: str) -> None:
    """Send a request, and reset the connection once its answer begins."""
    if server.http2:
        with server.client() as client, client.stream("POST", path) as answer:
            assert next(answer.iter_raw())
        return
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        assert connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


RECYCLING = {
    # Alone it ends; with more than one worker the parent makes a new one.
    "uvicorn-alone": ("--limit-max-requests=4",),
    "gunicorn-uvicorn": ("--workers=1", "--max-requests=4"),
    "gunicorn-asgi": ("--workers=1", "--max-requests=4"),
    "hypercorn-alone": ("--max-requests=4",),
    # By its memory, which is always too much, as `--workers-lifetime` does it after a minute or more.
    # Not each second: on a busy machine that is too little for a worker to take up what it is left.
    "granian": ("--workers-max-rss=1", "--rss-sample-interval=4", "--respawn-interval=0.1"),
}

ALSO_RECYCLING = {
    "uvicorn": ("--limit-max-requests=4",),
    "hypercorn": ("--max-requests=4",),
    "hypercorn-http2": ("--max-requests=4",),
    "gunicorn-uvicorn-preload": RECYCLING["gunicorn-uvicorn"],
    "gunicorn-asgi-preload": RECYCLING["gunicorn-asgi"],
    "granian-lifetime": (),
}


@under("hypercorn-alone", "granian", "gunicorn-asgi", long_run=RECYCLING | ALSO_RECYCLING)
def test_a_worker_that_is_recycled_leaves_what_it_runs_to_the_next_one(shop: Shop, kind: str) -> None:
    options = (RECYCLING | ALSO_RECYCLING)[kind]
    with shop.under(kind, *options) as server:
        tasks = [task_id for name in ("again", "once", "in_thread") for task_id in shop.add(server, name)]
        began = shop.began(*tasks)
        for _ in range(9):
            server.answers()
        if kind in ("granian", "granian-lifetime"):
            eventually(lambda: is_gone(began[0].pid, server), 2 * PATIENCE)
        shop.open_gate()
        if not kind.endswith("-alone"):  # else it has ended, and what watches over it starts it again
            shop.all_end(*tasks)
    with shop.under(kind) as next_one:
        states = shop.all_end(*tasks)
        next_one.send(signal.SIGTERM)
        next_one.wait()
    assert_that_all_is_well(shop, states, "once", "in_thread")


@under("uvicorn-alone", "hypercorn-alone", "gunicorn-uvicorn", "granian", long_run=RECYCLING)
def test_an_open_stream_and_a_long_wait_for_a_retry_keep_no_worker_from_being_replaced(
    shop: Shop, kind: str
) -> None:
    with shop.under(kind, *RECYCLING[kind], STREAM_LIFETIME="1") as server:
        (retried,) = shop.add(server, "retried")
        (began,) = shop.began(retried)
        with httpx.stream("GET", f"{server.url}/tasks/stream", timeout=PATIENCE) as stream:
            assert stream.is_success
            eventually(lambda: is_gone(began.pid, server))
    assert shop.status(retried) in ("pending", "retrying")
    assert shop.times_begun() == {retried: 1}


def is_gone(pid: int, server: Server) -> bool:
    """Whether a worker has ended; meanwhile requests go on."""
    server.answers()
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


HUP = ["gunicorn-uvicorn", "gunicorn-asgi", "uvicorn", "granian", "hypercorn"]


@under("uvicorn-reload", "gunicorn-asgi", "granian", long_run=HUP)
def test_a_reload_hands_the_tasks_over_to_the_new_code(shop: Shop, kind: str) -> None:
    code = shop.folder / "code"
    code.mkdir()
    with shop.under(kind) as server:
        tasks = [task_id for name in ("again", "once") for task_id in shop.add(server, name)]
        first = {line.pid for line in shop.began(*tasks)}
        if kind in HUP:
            server.send(signal.SIGHUP)
        else:
            (code / "changed.py").write_text("")
        # One worker after the other is replaced: an old one may have it in between.
        eventually(lambda: begun_of(shop, tasks[0])[-1] not in first)
        shop.open_gate()
        states = shop.all_end(*tasks)
        assert_that_all_is_well(shop, states, "once")
        eventually(server.answers)
        server.send(signal.SIGTERM)
        server.wait()


def begun_of(shop: Shop, task_id: str) -> list[int]:
    """The processes in which a task has begun."""
    return [line.pid for line in shop.ledger() if line.event == "began" and line.task_id == task_id]


@pytest.mark.parametrize("dispatch", ["request"])
def test_a_server_without_a_lifespan_refuses_durable_tasks(shop: Shop) -> None:
    with shop.under("daphne") as server:
        answer = httpx.post(f"{server.url}/add/once")
        assert answer.status_code == 503
        assert "never started" in answer.json()["detail"]
        server.send(signal.SIGTERM)
        server.wait()
    assert shop.ledger() == []


@under("daphne")
@pytest.mark.parametrize("end", ["signal", "client gone"])
def test_daphne_cancels_what_runs(shop: Shop, kind: str, end: str) -> None:
    options = ("--application-close-timeout=0",) if end == "client gone" else ()
    with shop.under(kind, *options) as server:
        shop.began(*shop.add(server, "not_kept"))
        if end == "signal":
            server.send(signal.SIGTERM)
            server.wait()
        eventually(lambda: [line.event for line in shop.ledger()] == ["began", "cancelled"])
