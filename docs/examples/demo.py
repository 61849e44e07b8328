"""``make demo``: start the shop, send it customers, and show what its background tasks do.

The shop runs in a process of its own, as it would in production. Everything that it writes goes to
one folder, ``./demo-data`` unless ``--data`` names another. Ctrl-C stops both.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

import httpx

from traffic import Traffic

EXAMPLES = Path(__file__).parent
HOST = "127.0.0.1"
START_TIMEOUT = 30.0  # seconds until the shop must answer
STOP_TIMEOUT = 30.0  # seconds until it must have ended, its own shutdown_timeout included
DATABASE = "shop.db"  # in the folder; kept from one run to the next
TAIL = 4  # lines of the log file under each summary


def main() -> int:
    """Run the demo until Ctrl-C, or for ``--seconds``; returns the exit code."""
    options = parse_arguments()
    stop = stop_event()
    port = free_port(options.port)
    folder = fresh_folder(options.data)
    if (folder / DATABASE).exists():
        print(f"Tasks of earlier runs are counted too; delete {folder} to start from zero.\n", flush=True)
    with shop(port, folder) as process, httpx.Client(base_url=f"http://{HOST}:{port}") as client:
        if answers(client, process, stop):
            tour(client, process, folder, options, stop)
    if not stop.is_set():
        print(f"The shop ended by itself; see {folder / 'server.log'}", file=sys.stderr)
        return 1
    print(f"\nStopped. The log stays in {folder / 'shop.log'}", flush=True)
    return 0


def tour(
    client: httpx.Client,
    process: subprocess.Popen[bytes],
    folder: Path,
    options: argparse.Namespace,
    stop: Stop,
) -> None:
    """Print the addresses, then send traffic and print numbers and log lines until the end."""
    print_addresses(client.base_url, folder)
    traffic = Traffic(client.base_url, options.rate)
    traffic.start()
    for elapsed in ticks(process, options, stop):
        print_summary(client, elapsed, traffic.sent, folder / "shop.log")
    traffic.close()


def parse_arguments() -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(description="A tour of Taskflow in one command.")
    parser.add_argument("--port", type=int, help="port of the shop (default: 8000, or a free one if taken)")
    parser.add_argument("--seconds", type=float, help="stop after so many seconds (default: at Ctrl-C)")
    parser.add_argument("--rate", type=float, default=6.0, help="requests per second (default: 6)")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between summaries (default: 2)")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), help="folder for what is written")
    return parser.parse_args()


class Stop:
    """An event that a signal handler may set.

    `threading.Event` is none: its ``set`` takes a lock, and a handler that runs in the middle of ``wait``,
    in the same thread, waits for ever for the lock that the interrupted ``wait`` holds.
    """

    def __init__(self) -> None:
        self._set = False
        self._wake: SimpleQueue[None] = SimpleQueue()  # its put may interrupt its get

    def set(self) -> None:
        self._set = True
        self._wake.put(None)

    def is_set(self) -> bool:
        return self._set

    def wait(self, seconds: float) -> bool:
        """Return at once when it is set, and whether it is; at the latest after the seconds."""
        if not self._set:
            with suppress(Empty):
                self._wake.get(timeout=seconds)
        return self._set


def stop_event() -> Stop:
    """An event that is set by Ctrl-C, by SIGTERM, and when the terminal is closed (SIGHUP)."""
    stop = Stop()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop


def fresh_folder(folder: Path) -> Path:
    """Make the folder if it is missing, and remove the logs of earlier runs. The database stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.log*"):
        old.unlink()
    return folder


def free_port(wanted: int | None) -> int:
    """The port that was asked for; without one 8000, or any free one if 8000 is in use."""
    for port in (8000, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            # As uvicorn does: a port is free although its closed connections are still in TIME_WAIT.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit(f"port {wanted} is in use")


@contextmanager
def shop(port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The shop under uvicorn. At the end it is stopped as in a deployment: SIGTERM, then wait."""
    command = [sys.executable, "-m", "uvicorn", "shop.app:app", "--app-dir", str(EXAMPLES)]
    command += ["--host", HOST, "--port", str(port), "--log-level", "warning"]
    # Jaeger corrects the clocks of different hosts. The same "ip" in all spans tells it that there is one
    # clock, so that it does not move a task that runs after its request.
    environment = {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": f"ip={HOST}", **os.environ}
    environment |= {"SHOP_LOG_FILE": str(folder / "shop.log"), "SHOP_DB": str(folder / DATABASE)}
    with (folder / "server.log").open("wb") as log:
        # A session of its own: Ctrl-C reaches this program alone, which then stops the shop.
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(client: httpx.Client, process: subprocess.Popen[bytes], stop: Stop) -> bool:
    """Wait until the shop answers; ``False`` if it ended, took too long, or is to be stopped."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and time.monotonic() < deadline and not stop.is_set():
        try:
            return client.get("/").is_success
        except httpx.TransportError:
            stop.wait(0.1)
    return False


def print_addresses(base_url: httpx.URL, folder: Path) -> None:
    """Print what can be opened in a browser or an editor."""
    root = str(base_url).rstrip("/")
    addresses = {
        "the dashboard": root + "/tasks/dashboard",
        "the shop": root + "/",
        "its API": root + "/docs",
        "task counts": root + "/tasks/overview",
        "metrics": root + "/metrics",
        "log of the tasks": folder / "shop.log",
        "tracebacks": folder / "server.log",
    }
    print(
        "A shop is open. Its customers sign up and order; cards, invoices and e-mail are background tasks.\n"
    )
    for name, address in addresses.items():
        print(f"  {name:<18}{address}")
    print(f"\n{traces()}\n\nCtrl-C stops it.\n", flush=True)


def traces() -> str:
    """Where the traces are sent to, or how to get some."""
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if endpoint:
        return f"Traces go to {endpoint}. The page of a Jaeger on this machine is http://localhost:16686."
    return (
        "To see traces too, start Jaeger and then this demo again:\n"
        "  docker run --rm -p 16686:16686 -p 4318:4318 jaegertracing/jaeger:2.15.0\n"
        "  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 make demo\n"
        "and open http://localhost:16686."
    )


def ticks(process: subprocess.Popen[bytes], options: argparse.Namespace, stop: Stop) -> Iterator[float]:
    """Yield the seconds since the start, every ``--every`` seconds, until the stop or the end of the shop."""
    started = time.monotonic()
    while process.poll() is None and not stop.wait(options.every):
        elapsed = time.monotonic() - started
        if options.seconds is not None and elapsed >= options.seconds:
            stop.set()
        yield elapsed


def print_summary(client: httpx.Client, elapsed: float, sent: int, log: Path) -> None:
    """One line of numbers, the same as on the dashboard's tiles, and the last lines of the log file."""
    try:
        counts = client.get("/tasks/overview").json()["counts"]
    except httpx.TransportError as error:
        print(f"{elapsed:5.0f} s  (no answer: {error})", flush=True)
        return
    print(f"{elapsed:5.0f} s  {sent} requests   " + "  ".join(f"{name} {n}" for name, n in counts.items()))
    with log.open() as lines:
        print("".join(f"         {line}" for line in deque(lines, TAIL)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
