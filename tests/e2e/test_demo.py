"""`make demo`, as a visitor sees it: it starts, shows tasks in every outcome, and stops on Ctrl-C."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.processes import PATIENCE

ROOT = Path(__file__).parents[2]


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "docs/examples/demo.py", "--data", str(folder)]
    command += ["--every", "0.25", "--rate", "25", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            for left in [*psutil.Process(process.pid).children(recursive=True), process]:
                left.kill()
            process.communicate()


def read_until(process: subprocess.Popen[str], *patterns: str) -> str:
    """What the demo prints until each pattern has been seen once; its end comes first if it failed."""
    seen = ""
    assert process.stdout is not None
    for line in process.stdout:
        seen += line
        if all(re.search(pattern, seen) for pattern in patterns):
            return seen
    raise AssertionError(f"ended without {patterns}:\n{seen}")


def test_tasks_succeed_retry_and_fail_and_ctrl_c_stops_everything(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        printed = read_until(process, r"success [1-9]", r"failed [1-9]")
        metrics = httpx.get(re.findall(r"http://\S+/metrics", printed)[0]).text
        dashboard = httpx.get(re.findall(r"http://\S+/tasks/dashboard", printed)[0])
        failed = httpx.get(
            str(dashboard.url.join("../tasks")), params={"status": "failed", "limit": 1}
        ).json()
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()

        assert process.returncode == 0, rest
        assert "Traceback" not in rest
        assert [child for child in started if child.is_running()] == []

    assert "A shop&#x27;s tasks" in dashboard.text
    assert [(task["func_name"], task["attempt"]) for task in failed] == [("charge_card", 2)]
    assert re.search(r'^taskflow_task_errors_total\{.*task="charge_card".*\} [1-9]', metrics, re.MULTILINE)
    lines = (tmp_path / "shop.log").read_text().splitlines()
    states = {line.rpartition("-- ")[2].split()[0] for line in lines if " -- " in line}
    assert {"PENDING", "RUNNING", "RETRYING", "SUCCESS", "FAILED"} <= states
    assert any("is paid" in line for line in lines)


def test_a_ctrl_c_in_the_middle_of_a_wait_is_not_waited_for() -> None:
    # In a process of its own: its main thread hung in its own handler where an event with a lock was set.
    waiting = """
import os, signal, threading
from demo import stop_event
for _ in range(1000):
    stop, go = stop_event(), threading.Event()
    def interrupt():
        go.wait()
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    go.set()
    while not stop.wait(0):
        pass
"""
    command = [sys.executable, "-c", waiting]
    subprocess.run(command, cwd=ROOT / "docs/examples", timeout=PATIENCE, check=True)


def test_the_summary_and_the_dashboard_count_the_same_tasks_those_out_of_memory_too(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        read_until(process, r"failed [1-9]")
        process.send_signal(signal.SIGINT)
        process.communicate()

    with demo(tmp_path, "--rate", "0.001") as process:  # nobody orders: what failed, failed in the first run
        printed = read_until(process, r"failed \d")
        overview = httpx.get(re.findall(r"http://\S+/tasks/overview", printed)[0]).json()

    assert f"Tasks of earlier runs are counted too; delete {tmp_path} to start from zero." in printed
    assert overview["counts"]["failed"] > 0
    assert re.findall(r"failed (\d+)", printed) == [str(overview["counts"]["failed"])]


def test_it_ends_by_itself_after_the_seconds_that_were_asked_for(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "1") as process:
        printed, _ = process.communicate()
        assert process.returncode == 0, printed


def test_every_page_opens_on_another_port_when_8000_is_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        except OSError:
            pass  # somebody else's server holds it: all the better
        with demo(tmp_path) as process:
            printed = read_until(process, "Ctrl-C")
            addresses = re.findall(r"http://127\.0\.0\.1\S+", printed)
            assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 make demo" in printed
            assert [address for address in addresses if ":8000/" in address] == []
            assert [address for address in addresses if not httpx.get(address).is_success] == []


def test_a_port_that_was_asked_for_and_is_in_use_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        with demo(tmp_path, "--port", port) as process:
            printed, _ = process.communicate()
    assert (process.returncode, printed) == (1, f"port {port} is in use\n")


def test_a_shop_that_cannot_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fastapi.py").write_text("raise ImportError('broken on purpose')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with demo(tmp_path) as process:
        printed, _ = process.communicate()
    assert process.returncode == 1
    assert printed == f"The shop ended by itself; see {tmp_path / 'server.log'}\n"
    assert "broken on purpose" in (tmp_path / "server.log").read_text()


@pytest.mark.parametrize(
    ("target", "folder", "extra"), [("demo", ".venv-demo", "demo"), ("test", ".venv", "dev")]
)
def test_make_installs_what_the_target_needs_in_a_folder_that_git_ignores_and_clean_removes(
    target: str, folder: str, extra: str, tmp_path: Path
) -> None:
    for name in ("Makefile", "pyproject.toml", "taskflow/version.py"):  # nothing is installed there yet
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    would_run = make_says("--dry-run", target, folder=tmp_path)
    installations = re.findall(r"^(\S+)/bin/python -m pip install .*'(\S+)'$", would_run, re.MULTILINE)
    removed = make_says("--dry-run", "clean", folder=tmp_path).split()

    assert installations == [(folder, f".[{extra}]")]
    assert folder in removed
    assert f"{folder}/" in (ROOT / ".gitignore").read_text().splitlines()


def make_says(*arguments: str, folder: Path) -> str:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout
