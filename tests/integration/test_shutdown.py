"""What signals do to real uvicorn processes with tasks in every state."""

import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.processes import ServerProcess, eventually, uvicorn_process

APP = "tests.integration.apps.shutdown_app:app"

DISPATCHES = ["request", "detached"]
SIGNALS = [signal.SIGTERM, signal.SIGINT]
TERMINAL = {"success", "failed", "interrupted", "cancelled"}


class Shop:
    """The app as a process, seen from outside: what it is asked for, and what its log files tell."""

    def __init__(self, server: ServerProcess, folder: Path, pool: ThreadPoolExecutor) -> None:
        self.server = server
        self.folder = folder
        self._pool = pool

    def add(self, *names: str) -> Future[httpx.Response]:
        """Ask for tasks in one request; in request mode the connection is held by them."""
        url = f"{self.server.url}/add/{','.join(names)}"
        return self._pool.submit(httpx.post, url, timeout=60, headers={"connection": "close"})

    def add_late(self, name: str) -> Future[httpx.Response]:
        """A request that adds its task when the file ``late`` is there."""
        url = f"{self.server.url}/late/{name}"
        return self._pool.submit(httpx.post, url, timeout=60)

    def events(self) -> list[tuple[str, str, str]]:
        """(task id, task name, status) of every transition, each process in its order."""
        lines = [
            json.loads(line)
            for file in sorted(self.folder.glob("tasks-*.log"))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        return [(line["task_id"], line["func_name"], line["status"]) for line in lines if line["status"]]

    def lives(self) -> dict[str, list[list[str]]]:
        """The statuses that each task went through, by task name."""
        lives: dict[str, tuple[str, list[str]]] = {}
        for task_id, name, status in self.events():
            lives.setdefault(task_id, (name, []))[1].append(status)
        by_name: dict[str, list[list[str]]] = {}
        for name, statuses in lives.values():
            by_name.setdefault(name, []).append(statuses)
        return by_name

    def await_count(self, name: str, status: str, count: int = 1) -> None:
        """Return when so many tasks of a name have entered a status."""
        eventually(lambda: sum((name, status) == event[1:] for event in self.events()) >= count)

    def end(self, number: signal.Signals) -> None:
        """Send the signal and return when the process has gone, quietly."""
        self.server.send(number)
        self.server.wait()
        assert "Traceback" not in self.server.output

    def assert_that_every_task_ended_once(self) -> None:
        for lives in self.lives().values():
            for life in lives:
                assert [status in TERMINAL for status in life] == [False] * (len(life) - 1) + [True], life


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(16))

        def start(dispatch: str, *, workers: int = 1, timeout: float = 0.5, limit: int | None = None) -> Shop:
            environment = {
                "DISPATCH": dispatch,
                "SHUTDOWN_TIMEOUT": str(timeout),
                "LOG_FOLDER": str(tmp_path),
            }
            if limit is not None:
                environment["LIMIT"] = str(limit)
            served = uvicorn_process(APP, tmp_path, workers=workers, environment=environment)
            return Shop(stack.enter_context(served), tmp_path, pool)

        yield start


PENDING_THEN = ["pending", "interrupted"]
RUNNING_THEN = ["pending", "running", "interrupted"]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_running_and_pending_tasks_are_interrupted_at_the_deadline(start, dispatch, number):
    shop = start(dispatch)
    shop.add("quick", "hang", "quick", "work_in_a_thread")
    shop.await_count("hang", "running")
    shop.end(number)
    shop.assert_that_every_task_ended_once()
    assert shop.lives() == {
        "quick": [["pending", "running", "success"], PENDING_THEN],
        "hang": [RUNNING_THEN],
        "work_in_a_thread": [PENDING_THEN],
    }


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_sync_task_that_goes_on_working_does_not_hold_up_the_exit(start, dispatch, number):
    # At Ctrl-C asyncio.run waits for the threads of its own pool, not for those of `max_sync_threads`.
    shop = start(dispatch, limit=4 if number == signal.SIGINT else None)
    shop.add("work_in_a_thread", "quick")
    shop.await_count("work_in_a_thread", "running")
    shop.end(number)
    shop.assert_that_every_task_ended_once()
    assert shop.lives() == {"work_in_a_thread": [RUNNING_THEN], "quick": [PENDING_THEN]}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_an_async_task_that_refuses_to_stop_does_not_hold_up_the_exit(start, dispatch, number):
    shop = start(dispatch)
    shop.add("refuse_to_stop", "quick")
    shop.await_count("refuse_to_stop", "running")
    shop.end(number)
    shop.assert_that_every_task_ended_once()
    assert shop.lives() == {"refuse_to_stop": [RUNNING_THEN], "quick": [PENDING_THEN]}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("dispatch", DISPATCHES)
@pytest.mark.parametrize("kind", ["work_in_a_thread", "hang", "refuse_to_stop"])
def test_tasks_that_wait_for_a_slot_that_is_never_free_do_not_hold_up_the_exit(start, dispatch, number, kind):
    shop = start(dispatch, limit=1)
    shop.add(kind, kind, kind)
    shop.await_count(kind, "running")
    shop.add(kind, kind)
    shop.await_count(kind, "pending", 5)
    shop.end(number)
    shop.assert_that_every_task_ended_once()
    assert sorted(shop.lives()[kind]) == [PENDING_THEN] * 4 + [RUNNING_THEN]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_task_that_waits_for_its_retry_is_interrupted_at_once(start, dispatch, number):
    shop = start(dispatch, timeout=3600)
    shop.add("fail")
    shop.await_count("fail", "retrying")
    shop.server.send(number)
    shop.server.wait()  # far less than the timeout, because the retry is due only after it
    assert shop.lives() == {"fail": [["pending", "running", "retrying", "interrupted"]]}


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_task_that_ends_in_time_is_a_success(start, dispatch):
    shop = start(dispatch, timeout=3600)
    shop.add("finish_in_time", "quick")
    shop.await_count("finish_in_time", "running")
    shop.server.send(signal.SIGTERM)
    eventually(lambda: "Shutting down" in shop.server.output)
    (shop.folder / "in-time").touch()
    shop.server.wait()
    success = ["pending", "running", "success"]
    assert shop.lives() == {"finish_in_time": [success], "quick": [success]}


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_a_request_that_came_before_the_signal_may_still_add_tasks(start, dispatch):
    shop = start(dispatch, timeout=3600)
    answer = shop.add_late("quick")
    eventually((shop.folder / "waiting").exists)
    shop.server.send(signal.SIGTERM)
    eventually(lambda: "Shutting down" in shop.server.output)
    (shop.folder / "late").touch()
    assert answer.result().status_code == 200
    shop.server.wait()
    assert shop.lives() == {"quick": [["pending", "running", "success"]]}


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_after_the_deadline_no_task_is_taken(start, dispatch):
    shop = start(dispatch, timeout=0.5)
    shop.add("hang")
    answer = shop.add_late("quick")
    eventually((shop.folder / "waiting").exists)
    shop.await_count("hang", "running")
    shop.server.send(signal.SIGTERM)
    shop.await_count("hang", "interrupted")
    (shop.folder / "late").touch()
    assert answer.result().status_code == 500
    shop.server.wait()
    assert "ManagerClosedError" in shop.server.output
    assert shop.lives() == {"hang": [RUNNING_THEN]}


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_two_workers_end_as_quietly_as_one(start, dispatch, number):
    shop = start(dispatch, workers=2)
    shop.add("hang", "quick")
    shop.add("work_in_a_thread", "quick")
    shop.add("refuse_to_stop", "quick")
    for name in ("hang", "work_in_a_thread", "refuse_to_stop"):
        shop.await_count(name, "running")
    shop.end(number)
    shop.assert_that_every_task_ended_once()
    assert shop.lives() == {
        "hang": [RUNNING_THEN],
        "work_in_a_thread": [RUNNING_THEN],
        "refuse_to_stop": [RUNNING_THEN],
        "quick": [PENDING_THEN] * 3,
    }
