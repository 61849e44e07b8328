"""A real browser for tests: Debian's Chromium, without network of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

QUIET = [
    "--no-sandbox",  # as root there is none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]

SERIOUS = {"serious", "critical"}


@contextmanager
def chromium(executable: Path) -> Iterator[Browser]:
    """The browser, until the block ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=QUIET)
        yield browser
        browser.close()


@dataclass
class Complaints:
    """What a page did that no page of ours may do.

    Attributes:
        errors: what it wrote to the console as an error, and exceptions that nobody caught.
        missing: its own files that the server did not have.
        elsewhere: requests that left the origin.
    """

    origin: str
    errors: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Listen to the page from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._request)
        page.on("response", self._response)

    def check(self) -> None:
        """Fail if there is anything to complain of."""
        found = {"errors": self.errors, "missing": self.missing, "elsewhere": self.elsewhere}
        assert not any(found.values()), found

    def _console(self, message: ConsoleMessage) -> None:
        # The browser writes one for each refused request, also where the page expects that.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(message.text)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "data:")):
            self.elsewhere.append(request.url)

    def _response(self, response: Response) -> None:
        if response.status == 404 and "/static/" in response.url:
            self.missing.append(response.url)


@contextmanager
def visit(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open an address in a window of its own, and check at the end that the page behaved.

    Args:
        browser: the browser.
        url: the address.
        options: of Playwright's ``Browser.new_context``.
    """
    parts = urlsplit(url)
    complaints = Complaints(f"{parts.scheme}://{parts.netloc}/")
    with browser.new_context(**options) as context:
        page = context.new_page()
        complaints.watch(page)
        page.goto(url)
        yield page
    complaints.check()


def barriers(page: Page) -> list[str]:
    """What axe finds that keeps people from using the page as it is now."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{found['id']}: {node['html']} ({node['failureSummary']})"
        for found in violations
        if found["impact"] in SERIOUS
        for node in found["nodes"]
    ]
