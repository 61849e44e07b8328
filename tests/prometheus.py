"""A real Prometheus for tests, and a real uvicorn for it to scrape."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.processes import PATIENCE, ROOT, eventually, free_port

SCRAPE_INTERVAL = "250ms"


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, promql: str) -> dict[frozenset[tuple[str, str]], float]:
        """An instant query: value by labels, without the labels that Prometheus itself adds."""
        result = self.series(promql)
        added = {"__name__", "instance", "job"}
        return {
            frozenset((k, v) for k, v in series["metric"].items() if k not in added): float(
                series["value"][1]
            )
            for series in result
        }

    def series(self, promql: str) -> list[dict[str, Any]]:
        """An instant query as the server answers it: ``metric`` with every label, and ``value``."""
        return list(self._get("query", query=promql)["result"])

    def graph(self, promql: str, seconds: float) -> list[dict[str, Any]]:
        """The last seconds of a query, once a second: ``metric`` with every label, and ``values``."""
        now = time.time()
        span = {"start": str(now - seconds), "end": str(now), "step": "1"}
        return list(self._get("query_range", query=promql, **span)["result"])

    def label_values(self, label: str, selector: str) -> list[str]:
        """The values of a label, of the series that a selector matches."""
        return list(self._get(f"label/{label}/values", **{"match[]": selector}))

    def value(self, promql: str) -> float | None:
        """An instant query with at most one series."""
        values = list(self.query(promql).values())
        assert len(values) <= 1, values
        return values[0] if values else None

    def exemplars(self, promql: str) -> set[str]:
        """Trace ids of the exemplars of the last hour."""
        now = time.time()
        found = self._get("query_exemplars", query=promql, start=str(now - 3600), end=str(now + 60))
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    def types(self) -> dict[str, str]:
        """Type by name, of every metric of the target."""
        return {entry["metric"]: entry["type"] for entry in self._get("targets/metadata")}

    def settle(self) -> None:
        """Return when what the target exports now is stored."""
        for _ in range(2):  # one scrape may be under way
            before = self._last_scrape()
            eventually(lambda before=before: self._last_scrape() != before)

    def _last_scrape(self) -> str:
        (target,) = self._get("targets")["activeTargets"]
        return str(target["lastScrape"]) if target["health"] == "up" else ""

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _get(self, path: str, **params: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=params)
        answer.raise_for_status()
        return answer.json()["data"]


@contextmanager
def running_prometheus(
    binary: Path, folder: Path, target: str, token: str | None = None
) -> Iterator[Prometheus]:
    """Prometheus with exemplar storage that scrapes ``target`` (host:port) all the time."""
    scrape = {"job_name": "app", "static_configs": [{"targets": [target]}]}
    if token is not None:
        scrape["authorization"] = {"credentials": token}
    timing = {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL}
    with configured_prometheus(binary, folder, {"global": timing, "scrape_configs": [scrape]}) as prometheus:
        yield prometheus


@contextmanager
def configured_prometheus(
    binary: Path, folder: Path, configuration: Mapping[str, Any]
) -> Iterator[Prometheus]:
    """Prometheus with exemplar storage and a configuration of the test's own."""
    config = folder / "prometheus.yml"
    config.write_text(repr(configuration), encoding="utf-8")
    port = free_port()
    command = [
        str(binary),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    with running(command, folder / "prometheus.log", prometheus.is_ready):
        yield prometheus


@contextmanager
def running_app(app: str, folder: Path, *options: str, environment: Mapping[str, str] = {}) -> Iterator[str]:
    """uvicorn with ``app`` (module:attribute) on a free port; gives host:port."""
    target = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "uvicorn", app, "--host=127.0.0.1", "--log-level=warning"]
    command += [f"--port={target.rpartition(':')[2]}", *options]

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://{target}/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    with running(command, folder / "app.log", is_ready, environment):
        yield target


@contextmanager
def running(
    command: list[str], log: Path, is_ready: Callable[[], bool], environment: Mapping[str, str] = {}
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is ready; stopped with SIGTERM, with SIGKILL if that is not enough."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            eventually(lambda: process.poll() is not None or is_ready())
            assert process.poll() is None, log.read_text()
            yield process
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        finally:
            process.kill()
