"""Renew the pictures of docs/dashboard.md: ``python -m tests.e2e.screenshots``.

They show the demo shop after it has been open for some minutes (``--minutes``; the charts go back ten),
in the font that the machine's browser takes for ``system-ui``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize

from taskflow import TaskManager
from tests.admin import admin_app
from tests.browser import chromium, visit
from tests.processes import ROOT, uvicorn_thread

IMAGES = ROOT / "docs" / "images"

DESKTOP: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 375, "height": 740}


@contextmanager
def demo(folder: Path) -> Iterator[str]:
    """The demo, until the block ends; gives the address of its dashboard."""
    command = [
        sys.executable,
        "docs/examples/demo.py",
        "--data",
        str(folder),
        "--rate",
        "12",
        "--every",
        "60",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = (re.search(r"http://\S+/dashboard", line) for line in process.stdout)
        yield next(address[0] for address in found if address)
        process.send_signal(signal.SIGINT)
        process.communicate()  # it still has something to say


def open_first(page: Page) -> None:
    """Open the first task of the list."""
    page.locator("tbody tr[data-id]").first.click()
    page.locator(".timeline .run").first.wait_for()


def show_list(page: Page) -> None:
    """Scroll to the tasks."""
    page.locator("#tasks").evaluate("list => list.scrollIntoView()")


def stay(_: Page) -> None:
    """Nothing to do."""


Step = Callable[[Page], None]
FAILED = "?status=failed&func_name=charge_card"

PICTURES: dict[str, tuple[str, str, ViewportSize, Step]] = {
    "dashboard-light": ("", "light", DESKTOP, stay),
    "dashboard-dark": ("", "dark", DESKTOP, stay),
    "dashboard-task": (FAILED, "light", DESKTOP, open_first),
    "dashboard-phone": ("", "light", PHONE, stay),
    "dashboard-phone-list": ("", "dark", PHONE, show_list),
    "dashboard-phone-task": (FAILED, "dark", PHONE, open_first),
}


def take(browser: Browser, name: str, url: str, scheme: str, viewport: ViewportSize, step: Step) -> None:
    """Open the address, do the step, and keep what is seen."""
    with visit(browser, url, color_scheme=scheme, viewport=viewport, reduced_motion="reduce") as page:
        page.locator("tbody tr[data-id], #password").first.wait_for()
        page.wait_for_timeout(1_500)  # the first overview of the stream
        step(page)
        page.wait_for_timeout(500)
        page.screenshot(path=IMAGES / f"{name}.png")


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    IMAGES.mkdir(exist_ok=True)
    locked = admin_app(TaskManager(), auth=("ada", "lovelace"), secret_key="k" * 32, title="A shop's tasks")
    with chromium(Path(shutil.which("chromium") or "chromium")) as browser:
        with uvicorn_thread(locked) as url:
            take(browser, "dashboard-login", f"{url}/tasks/dashboard", "light", PHONE, stay)
        with tempfile.TemporaryDirectory() as folder, demo(Path(folder)) as url:
            time.sleep(minutes * 60)
            for name, (query, scheme, viewport, step) in PICTURES.items():
                take(browser, name, url + query, scheme, viewport, step)


if __name__ == "__main__":
    main()
