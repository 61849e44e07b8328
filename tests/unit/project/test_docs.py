"""The documentation: its code runs, its links lead somewhere, and nothing public is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml
from fastapi import FastAPI
from packaging.version import Version

import taskflow
from taskflow.core.models import TRANSITIONS
from tests.browser import chromium, visit
from tests.pages import blocks, every_page
from tests.processes import ROOT

DOCS = ROOT / "docs"
PAGES = every_page()
WITH_CODE = [page for page in PAGES if any(blocks(page))]
NOT_OURS = shutil.ignore_patterns(".*", "build", "dist", "demo-data", "__pycache__", "node_modules")
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


class Html(HTMLParser):
    """The ids of a page, where its links lead, and what a browser fetches to show it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.assets: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "href" in given:
            self.assets.append(given["href"])
        self.assets += [given[name].split()[0] for name in ("src", "srcset") if given.get(name)]


def run(*arguments: str | Path, **options: Any) -> None:
    """Run Python, and fail with what it said if it does."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built in a copy of the repository; a warning fails the build."""
    copy = tmp_path_factory.mktemp("site") / "taskflow"
    shutil.copytree(ROOT, copy, ignore=NOT_OURS)
    run("docs/build.py", cwd=copy)
    return copy / "build/site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Html]:
    return {path: Html(path) for path in site.rglob("*.html")}


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_every_page_runs(page: Path, tmp_path: Path):
    # A process for each: some of them change FastAPI, or OpenTelemetry, for the whole process.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run("-W", "error", "-m", "tests.pages", page, cwd=tmp_path, env=environment)


def test_every_make_command_in_a_page_names_a_target():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [
        (page.name, name)
        for page in PAGES
        for name in re.findall(r"(?:\$ |`)make ([a-z]+)", page.read_text())
    ]
    assert commands
    assert [command for command in commands if command[1] not in targets] == []


def test_no_page_and_no_message_installs_the_other_project_of_this_name():
    # `pip install fastapi-taskflow` asks the package index; with an address behind the name it does not.
    command = re.compile(r"\binstall\s.{0,60}?fastapi-taskflow(?!(?:\[[\w,]+\])? @)")
    sources = [path for name in ("taskflow", "observers", "metrics") for path in (ROOT / name).rglob("*.py")]
    found = [
        (path.name, line)
        for path in [*PAGES, *sources]
        for line in path.read_text().splitlines()
        if command.search(line) and "other project" not in line
    ]
    assert found == []


def test_every_link_to_a_file_of_the_repository_leads_somewhere():
    links = [
        (page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    ]
    assert links
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_the_table_of_states_is_the_state_machine():
    text = (DOCS / "explanation/event-stream.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", text, re.MULTILINE)
    written = {state: set(re.findall(r"`(\w+)`", followers)) for state, followers in rows}
    assert {
        state.value: {other.value for other in others} for state, others in TRANSITIONS.items()
    } == written


def test_every_page_is_in_the_navigation():
    def targets(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
            return
        for child in entry.values() if isinstance(entry, dict) else entry:
            yield from targets(child)

    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = {target for target in targets(navigation) if not target.startswith("repository/")}
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} == named


def test_no_page_fetches_anything_from_another_host(pages: dict[Path, Html]):
    foreign = [
        (page.name, asset)
        for page, html in pages.items()
        for asset in html.assets
        if urlsplit(asset).netloc or urlsplit(asset).scheme not in {"", "data"}
    ]
    assert foreign == []


def test_no_style_sheet_fetches_anything_from_another_host(site: Path):
    sheets = list(site.rglob("*.css"))
    assert sheets
    fetched = [
        found for sheet in sheets for found in re.findall(r"(?:url\(|@import)[^)]*", sheet.read_text())
    ]
    assert [found for found in fetched if "//" in found and "data:" not in found] == []


def test_in_a_browser_it_asks_nobody_else_and_fits_the_screen(site: Path, executable: Callable[[str], Path]):
    with served(site) as url, chromium(executable("chromium")) as browser:
        for scheme, width in (("light", 390), ("dark", 1280)):
            window = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
            for address in ("tutorial/2-retries/", "reference/manager/"):
                with visit(browser, url + address, **window) as page:
                    page.wait_for_load_state("networkidle")
                    root = page.locator("html")
                    assert not root.evaluate("root => root.scrollWidth > root.clientWidth"), (address, width)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder's files on a free port."""
    handler = partial(QuietHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Html]):
    broken = [
        (str(page.relative_to(site)), link)
        for page, html in pages.items()
        if page.name != "404.html"  # its links start at the root of wherever the site will be
        for link in [*html.links, *html.assets]
        if not urlsplit(link).scheme and not arrives(page, link, pages)
    ]
    assert broken == []


def arrives(page: Path, link: str, pages: dict[Path, Html]) -> bool:
    """Whether there is a file, and in it the anchor, that a link of a page names."""
    path, anchor = urldefrag(link)
    target = (page.parent / unquote(path)).resolve() if path else page
    target = target / "index.html" if target.is_dir() else target
    return target.exists() and (not anchor or unquote(anchor) in pages[target].ids)


def test_a_file_of_the_repository_has_a_page_with_its_text(site: Path):
    shown = (site / "repository/grafana/prometheus/alerts.yaml/index.html").read_text()
    assert "TaskflowHighFailureRatio" in shown


@pytest.mark.parametrize("name", [name for name in taskflow.__all__ if not name.startswith("__")])
def test_every_public_name_is_in_the_reference(name: str, site: Path, pages: dict[Path, Html]):
    reference = [html for page, html in pages.items() if page.is_relative_to(site / "reference")]
    found = [html for html in reference if any(re.fullmatch(rf"taskflow\..*\b{name}", i) for i in html.ids)]
    assert len(found) == 1


def test_the_table_of_routes_is_the_schema():
    app = FastAPI()
    taskflow.TaskAdmin(app, taskflow.TaskManager())
    schema = {
        f"{method.upper()} {path}" for path, calls in app.openapi()["paths"].items() for method in calls
    }
    text = (DOCS / "reference/http-api.md").read_text()
    assert schema == set(re.findall(r"^\| `((?:GET|POST) [^`]+)` \|", text, re.MULTILINE))


def test_the_parameters_of_the_listing_are_those_of_the_schema():
    app = FastAPI()
    taskflow.TaskAdmin(app, taskflow.TaskManager())
    listing = app.openapi()["paths"]["/tasks"]["get"]["parameters"]
    table = (DOCS / "reference/http-api.md").read_text().partition("## Listing")[2].partition("\n## ")[0]
    named = [
        name
        for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    ]
    assert [parameter["name"] for parameter in listing] == named


def test_the_version_is_the_newest_of_the_changelog_or_the_next_one():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\](.*)$", changelog, re.MULTILINE)
    (unreleased, _), *released = headings
    versions = [Version(version) for version, _ in released]
    assert unreleased == "Unreleased"
    assert sorted(versions, reverse=True) == versions
    assert [date for _, date in released if not re.fullmatch(r" - \d{4}-\d\d-\d\d", date)] == []
    pending = changelog.partition("## [Unreleased]")[2].partition("\n## [")[0].strip()
    newest = max(versions, default=Version("0"))
    current = Version(taskflow.__version__)
    assert current > newest if pending else current == newest


def test_the_changelog_has_the_sections_of_keep_a_changelog():
    sections = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert set(sections) <= SECTIONS
