"""The dashboard in a real browser."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from playwright.sync_api import Browser, Locator, Page, expect

from taskflow import (
    LifecycleEvent,
    OpenTelemetryObserver,
    TaskManager,
    TaskObserver,
    TaskRecord,
    TaskStatus,
    task_log,
)
from taskflow.core.clock import utcnow
from tests.admin import admin_app
from tests.browser import barriers, chromium, visit
from tests.processes import free_port, uvicorn_process, uvicorn_thread

PHONE = {"width": 375, "height": 740}

# No quotes: what shows a `repr` would escape them.
HOSTILE = "<img src=x onerror=document.title=/owned/><script>document.title=/owned/</script>"


@pytest.fixture(scope="module", autouse=True)
def patience() -> None:
    expect.set_options(timeout=8_000)


@pytest.fixture(scope="module")
def browser(executable: Callable[[str], Path]) -> Iterator[Browser]:
    with chromium(executable("chromium")) as running:
        yield running


@contextmanager
def dashboard(browser: Browser, app: Any, path: str = "/tasks/dashboard", **options: Any) -> Iterator[Page]:
    """The page of an app that is served until the block ends; the reader leaves first."""
    with uvicorn_thread(app) as url, visit(browser, url + path, **options) as page:
        yield page


@pytest.fixture(scope="module")
def modules(browser: Browser) -> Iterator[Callable[[str, str], Any]]:
    """Evaluate an expression with what a module of the page exports, which is in ``m``."""
    with dashboard(browser, admin_app(TaskManager())) as page:
        yield lambda name, code: page.evaluate(f"import('/tasks/static/{name}.js').then((m) => {code})")


def rows(page: Page) -> Locator:
    return page.locator("tbody tr[data-id]")


def row(page: Page, text: str) -> Locator:
    return rows(page).filter(has_text=text)


def boxes(page: Page, *selectors: str) -> list[dict[str, float]]:
    """Where the first element of each selector is, all at one moment: the page may draw itself again."""
    script = "all => all.map((each) => document.querySelector(each).getBoundingClientRect().toJSON())"
    found: list[dict[str, float]] = page.evaluate(script, list(selectors))
    return found


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary")


def state(page: Page, name: str) -> Locator:
    return page.get_by_role("group", name="Show only").get_by_role("button", name=name)


async def passed(gate: threading.Event) -> None:
    """Wait in a task until the test opens the gate."""
    await asyncio.to_thread(gate.wait)


def finished(number: int, **fields: Any) -> TaskRecord:
    """A record as a task leaves it that was added so many seconds ago and took one."""
    created = utcnow() - timedelta(seconds=number)
    values: dict[str, Any] = {
        "func_name": "send_email",
        "status": TaskStatus.SUCCESS,
        "created_at": created,
        "start_time": created,
        "attempt_started": created,
        "end_time": created + timedelta(seconds=1),
    }
    return TaskRecord(f"{number:08d}-0000-4000-8000-000000000000", **{**values, **fields})


def remember(manager: TaskManager, *records: TaskRecord) -> None:
    """Put records into the manager's memory as if their tasks had run."""
    for record in records:
        manager.store.add(record)


def test_a_task_appears_and_moves_through_its_states_without_a_reload(browser: Browser) -> None:
    manager, first, second = TaskManager(), threading.Event(), threading.Event()

    @manager.task(retries=1)
    async def charge_card(order: int) -> None:
        gate = second if first.is_set() else first
        await passed(gate)
        if gate is first:
            raise ConnectionError("no answer from the bank")

    with dashboard(browser, admin_app(manager)) as page:
        expect(page.get_by_text("No tasks yet")).to_be_visible()
        manager.enqueue(charge_card, 7, tags={"order": "7"})
        task = row(page, "charge_card")
        expect(task).to_contain_text("running")
        expect(task).to_contain_text("order 7")
        expect(state(page, "running")).to_contain_text("1")
        first.set()
        expect(task).to_contain_text("no answer from the bank")
        expect(task).to_contain_text("2 of 2")
        second.set()
        expect(task).to_contain_text("success")
        expect(state(page, "success")).to_contain_text("100 % of finished")
        expect(page.get_by_role("img", name=re.compile("charge_card: 1 finished"))).to_be_visible()


def test_filters_are_in_the_address_and_the_back_button_takes_them_away(browser: Browser) -> None:
    manager = TaskManager()
    remember(
        manager,
        finished(1),
        finished(2, func_name="resize", tags={"album": "9"}),
        finished(3, func_name="resize", status=TaskStatus.FAILED, error="disk full"),
    )
    with dashboard(browser, admin_app(manager)) as page:
        expect(rows(page)).to_have_count(3)
        state(page, "failed").click()
        expect(rows(page)).to_have_count(1)
        expect(page).to_have_url(re.compile(r"status=failed"))
        page.go_back()
        expect(rows(page)).to_have_count(3)
        page.get_by_label("Function", exact=True).select_option("resize")
        expect(rows(page)).to_have_count(2)
        page.get_by_label("Tag, as key or key=value").fill("album=9")
        expect(rows(page)).to_have_count(1)
        address = page.url

        page.get_by_role("button", name="Clear filters").click()
        expect(rows(page)).to_have_count(3)
        page.goto(address)
        expect(rows(page)).to_have_count(1)
        expect(page.get_by_label("Tag, as key or key=value")).to_have_value("album=9")


def test_the_search_waits_for_the_last_letter_and_says_when_nothing_matches(browser: Browser) -> None:
    manager = TaskManager()
    remember(manager, finished(1), finished(2, status=TaskStatus.FAILED, error="disk full"))
    with dashboard(browser, admin_app(manager)) as page:
        expect(rows(page)).to_have_count(2)
        listings: list[str] = []
        page.on("request", lambda request: listings.append(request.url) if "?q=" in request.url else None)
        page.keyboard.press("/")
        page.keyboard.type("disk", delay=10)
        expect(rows(page)).to_have_count(1)
        assert [re.findall(r"q=(\w+)", url) for url in listings] == [["disk"]]
        page.keyboard.type(" of cheese")
        expect(page.get_by_role("heading", name="No tasks match")).to_be_visible()
        page.get_by_role("button", name="Clear filters").last.click()
        expect(rows(page)).to_have_count(2)


def test_the_detail_shows_the_attempts_the_arguments_the_log_and_the_traceback(browser: Browser) -> None:
    manager = TaskManager(loggers=[OpenTelemetryObserver(TracerProvider())])

    @manager.task(retries=2, delay=0.02)
    async def import_feed(url: str, *, limit: int) -> None:
        task_log(f"reading {url}", level="warning")
        raise TimeoutError("the feed did not answer")

    with dashboard(
        browser, admin_app(manager, display_func_args=True, trace_url="http://x/{trace_id}")
    ) as page:
        task_id = manager.enqueue(import_feed, "https://feeds.example/a", limit=3, tags={"job": "feeds"})
        row(page, "failed").click()
        expect(page).to_have_url(re.compile(task_id))
        shown = panel(page)
        expect(shown.get_by_role("heading", name="import_feed")).to_be_focused()
        timeline = shown.locator(".timeline tbody tr").filter(has_not_text="Waiting to start")
        expected = [
            "Queued",
            "Attempt 1 failed",
            "Retry delay",
            "Attempt 2 failed",
            "Retry delay",
            "Attempt 3 failed",
        ]
        titles = [re.compile(title) for title in expected]
        expect(timeline.get_by_role("rowheader")).to_have_text(titles)
        expect(shown.locator(".timeline .note")).to_have_text(["TimeoutError: the feed did not answer"] * 2)
        expect(shown).to_contain_text("'https://feeds.example/a'")
        expect(shown).to_contain_text("limit")
        expect(shown.locator(".log-lines li")).to_have_count(3)
        expect(shown.get_by_label("Traceback", exact=True)).to_contain_text("raise TimeoutError")
        expect(shown).to_contain_text("job feeds")
        trace = shown.get_by_role("link", name="Trace")
        expect(trace).to_have_attribute("href", re.compile(r"^http://x/[0-9a-f]{32}$"))

        page.keyboard.press("Escape")
        expect(shown).to_be_hidden()
        expect(row(page, "failed").get_by_role("link")).to_be_focused()
        page.go_back()
        expect(shown).to_be_visible()


def test_an_exception_without_a_message_is_told_by_its_type(browser: Browser) -> None:
    manager = TaskManager()

    @manager.task(retries=1)
    async def fetch() -> None:
        raise asyncio.QueueFull

    with dashboard(browser, admin_app(manager)) as page:
        manager.enqueue(fetch)
        failed = row(page, "failed")
        expect(failed.locator("td.error")).to_have_text("QueueFull")
        failed.click()
        expect(panel(page).locator(".error-text")).to_have_text("asyncio.queues.QueueFull")
        expect(panel(page).locator(".timeline .note")).to_have_text("QueueFull")


def test_the_timeline_is_drawn_to_scale(browser: Browser) -> None:
    manager = TaskManager()
    record = finished(100)
    record.start_time = record.attempt_started = record.created_at + timedelta(seconds=6)
    record.end_time = record.created_at + timedelta(seconds=8)
    remember(manager, record)
    with dashboard(browser, admin_app(manager), f"/tasks/dashboard?task={record.task_id}") as page:
        expect(page.locator(".timeline .queue")).to_be_visible()
        wait, run = boxes(page, ".timeline .queue", ".timeline .run")
        assert wait["width"] / run["width"] == pytest.approx(3, rel=0.05)
        assert run["x"] == pytest.approx(wait["x"] + wait["width"], abs=1)
        expect(page.locator(".timeline .took")).to_have_text(["6.00 s", "2.00 s"])


def test_log_lines_and_states_of_an_open_task_come_live_and_once(browser: Browser) -> None:
    manager, first, second = TaskManager(), threading.Event(), threading.Event()

    @manager.task()
    async def import_feed() -> None:
        task_log("page 1")
        await passed(first)
        task_log("page 2")
        await passed(second)

    with dashboard(browser, admin_app(manager)) as page:
        manager.enqueue(import_feed)
        row(page, "running").click()
        lines = panel(page).locator(".log-lines .text")
        expect(lines).to_have_text(["page 1"])
        first.set()
        expect(lines).to_have_text(["page 1", "page 2"])
        second.set()
        expect(panel(page).get_by_role("banner").or_(panel(page).locator("header"))).to_contain_text(
            "success"
        )
        expect(lines).to_have_text(["page 1", "page 2"])


def test_a_double_click_on_retry_runs_the_task_once_more_and_links_the_two(browser: Browser) -> None:
    manager, works = TaskManager(), threading.Event()
    runs: list[int] = []

    @manager.task()
    async def charge_card(order: int) -> None:
        runs.append(order)
        if not works.is_set():
            raise ConnectionError("no answer")

    with dashboard(browser, admin_app(manager)) as page:
        old = manager.enqueue(charge_card, 7)
        row(page, "failed").click()
        works.set()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
        panel(page).get_by_role("button", name="Retry").dblclick()
        expect(row(page, "success")).to_have_count(0)  # the list stands still while the panel is open
        page.get_by_role("button", name="Show it").click()
        expect(panel(page)).to_contain_text("success")
        expect(panel(page).get_by_role("link", name=old)).to_be_visible()
        assert runs == [7, 7]
        assert len(asked) == 1
        panel(page).get_by_role("link", name=old).click()
        expect(panel(page)).to_contain_text("Retried by")
        expect(panel(page).get_by_role("button", name="Retry")).to_have_count(0)


def test_a_running_task_is_cancelled_only_after_it_was_confirmed(browser: Browser) -> None:
    manager = TaskManager()

    @manager.task()
    async def resize() -> None:
        await asyncio.Event().wait()

    with dashboard(browser, admin_app(manager)) as page:
        task_id = manager.enqueue(resize)
        row(page, "running").click()
        panel(page).get_by_role("button", name="Cancel").click()
        page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        record = manager.store.get(task_id)
        assert record is not None
        assert record.status is TaskStatus.RUNNING
        panel(page).get_by_role("button", name="Cancel").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
        expect(panel(page)).to_contain_text("An operator cancelled it.")
        expect(row(page, "cancelled")).to_have_count(1)


def test_what_cannot_be_cancelled_says_why(browser: Browser) -> None:
    manager, gate = TaskManager(), threading.Event()

    @manager.task()
    def resize() -> None:
        gate.wait(60)

    with dashboard(browser, admin_app(manager)) as page:
        manager.enqueue(resize)
        row(page, "running").click()
        panel(page).get_by_role("button", name="Cancel").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
        expect(page.locator(".notice")).to_contain_text("Cancel failed:")
        gate.set()


def test_all_failed_tasks_that_match_are_retried_and_the_rest_is_told(browser: Browser) -> None:
    manager, works = TaskManager(), threading.Event()

    @manager.task()
    async def charge_card(order: int) -> None:
        if not works.is_set():
            raise ConnectionError("no answer")

    lost = finished(1, func_name="gone", status=TaskStatus.FAILED, tags={"shop": "a"})
    other = finished(2, func_name="gone", status=TaskStatus.FAILED, tags={"shop": "b"})
    remember(manager, lost, other)
    with dashboard(browser, admin_app(manager), "/tasks/dashboard?tag=shop=a&status=failed") as page:
        failed = [manager.enqueue(charge_card, order, tags={"shop": "a"}) for order in range(12)]
        expect(rows(page)).to_have_count(13)
        works.set()
        page.get_by_role("button", name="Retry failed…").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("13 failed tasks run again, matching all of this:")
        expect(dialog).to_contain_text("tag shop=a")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        dialog.get_by_role("button", name="Retry them").click()
        expect(dialog.get_by_role("heading")).to_have_text("Done")
        expect(dialog).to_contain_text("12 tasks retried, 1 could not be")
        expect(dialog).to_contain_text("'gone'")
        dialog.get_by_role("button", name=lost.task_id[:8]).click()
        expect(panel(page)).to_contain_text(lost.task_id)
    retried = {record.retry_of for record in manager.store.list() if record.retry_of}
    assert retried == set(failed)


def test_it_says_how_many_tasks_a_retry_of_all_is_about_if_that_is_known(browser: Browser) -> None:
    manager = TaskManager()
    remember(manager, *(finished(n, status=TaskStatus.FAILED, tags={"n": str(n)}) for n in range(1, 300)))
    remember(manager, finished(300, tags={"n": "alone"}))
    with dashboard(browser, admin_app(manager)) as page:
        expect(state(page, "failed")).to_contain_text("299")
        page.get_by_role("button", name="Retry failed…").click()
        expect(page.get_by_role("dialog")).to_contain_text("299 failed tasks run again.")
        page.keyboard.press("Escape")
        page.get_by_label("Search").fill("send")
        expect(page).to_have_url(re.compile("q=send"))
        page.get_by_role("button", name="Retry failed…").click()
        expect(page.get_by_role("dialog")).to_contain_text("Every failed task runs again, matching all")
        page.keyboard.press("Escape")
        page.get_by_label("Search").fill("alone")
        expect(rows(page)).to_have_count(1)
        expect(page.get_by_role("button", name="Retry failed…")).to_be_hidden()


def test_failures_of_functions_that_are_not_shown_are_told(browser: Browser) -> None:
    manager = TaskManager()
    app = admin_app(manager)  # now it counts what ends
    for number in range(8):
        remember(manager, *(finished(10 * number + n, func_name=f"f{number}") for n in range(9 - number)))
    remember(manager, finished(99, func_name="f7", status=TaskStatus.FAILED))
    with dashboard(browser, app) as page:
        more = page.get_by_role("button", name="Show 2 more, 1 with failures")
        more.click()
        expect(page.locator("#functions").get_by_role("row", name="f7")).to_contain_text("33.3 %")
        page.get_by_role("button", name="Show fewer").click()
        expect(more).to_be_visible()


def test_a_page_that_cannot_be_loaded_completely_says_so(browser: Browser) -> None:
    app = admin_app(TaskManager())

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("path", "").endswith("static/tasks/listing.js"):
            scope = {**scope, "path": "/nowhere"}
        await app(scope, receive, send)

    with uvicorn_thread(broken) as url, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{url}/tasks/dashboard")
        expect(page.locator("#banner")).to_contain_text("could not be loaded completely")
        expect(page.locator("#connection")).to_have_text("Not loaded")


def test_marks_of_an_axis_are_round(modules: Callable[[str, str], Any]) -> None:
    assert modules("core/format", "[0, 0.002, 0.1, 0.5, 1.5, 2, 10, 90, 3600].map(m.mark)") == [
        "0",
        "2 ms",
        "100 ms",
        "500 ms",
        "1.5 s",
        "2 s",
        "10 s",
        "1 min 30 s",
        "1 h",
    ]


def test_moments_are_read_to_the_microsecond(modules: Callable[[str, str], Any]) -> None:
    texts = ["1970-01-01T00:00:01+00:00", "1970-01-01T00:00:01.234567+00:00", "1970-01-01T00:00:01.234567Z"]
    assert modules("core/format", f"{texts}.map(m.precise)") == [1000, 1234.567, 1234.567]


def test_lengths_of_time_read_well(modules: Callable[[str, str], Any]) -> None:
    seconds = [0, 0.000_001, 0.0004, 0.0123, 0.25, 0.9999, 9.996, 59.96, 192, 3_600, 93_900, 10 * 86_400 + 1]
    assert modules("core/format", f"{seconds}.map(m.duration)") == [
        "0 ms",
        "<0.01 ms",
        "0.40 ms",
        "12.3 ms",
        "250 ms",
        "1.00 s",
        "10.0 s",
        "1 min",
        "3 min 12 s",
        "1 h",
        "1 d 2 h",
        "10 d",
    ]


def test_shares_and_rates_never_claim_all_or_nothing(modules: Callable[[str, str], Any]) -> None:
    assert modules("core/format", "[0, 0.0001, 0.5, 0.9999, 1].map(m.percent)") == [
        "0 %",
        "0.1 %",
        "50.0 %",
        "99.9 %",
        "100 %",
    ]
    assert modules("core/format", "[0, 0.01, 0.5, 1.25, 40].map(m.rate)") == [
        "0/s",
        "0.6/min",
        "30/min",
        "1.3/s",
        "40/s",
    ]


def test_messages_are_read_however_the_stream_is_cut_up(modules: Callable[[str, str], Any]) -> None:
    text = "retry: 1000\nid: a-1\n\n:\n\nid: a-2\nevent: task\ndata: {\ndata: }\r\n\r\nevent: log\ndata:x\n\n"
    letter_by_letter = f"((got) => ([...{text!r}].forEach(m.parser((x) => got.push(x))), got))([])"
    assert modules("server/sse", letter_by_letter) == [
        {"id": "a-1", "event": "message", "data": None},
        {"id": "a-2", "event": "task", "data": "{\n}"},
        {"id": None, "event": "log", "data": "x"},
    ]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"status": "pending"}, ["queue 0 10 live"]),
        ({"status": "cancelled", "end_time": 4}, ["queue 0 4"]),
        ({"status": "running", "attempt_started": 3}, ["queue 0 3", "run 3 10 live"]),
        (
            {"status": "retrying", "attempt_started": 1, "failed_attempts": [(1, 2, 20)]},
            ["queue 0 1", "run 1 2", "delay 2 22 live"],
        ),
        (
            {"status": "retrying", "attempt_started": 1, "failed_attempts": [(1, 2, 3)]},
            ["queue 0 1", "run 1 2", "delay 2 5", "slot 5 10 live"],
        ),
        (
            {"status": "cancelled", "attempt_started": 1, "failed_attempts": [(1, 2, 20)], "end_time": 4},
            ["queue 0 1", "run 1 2", "delay 2 4"],
        ),
        (
            {"status": "success", "attempt_started": 6, "failed_attempts": [(1, 2, 3)], "end_time": 7},
            ["queue 0 1", "run 1 2", "delay 2 5", "slot 5 6", "run 6 7"],
        ),
    ],
    ids=lambda value: value["status"] if isinstance(value, dict) else "",
)
def test_the_timeline_shows_each_wait_and_each_attempt(
    modules: Callable[[str, str], Any], record: dict[str, Any], expected: list[str]
) -> None:
    """Times are seconds since the task was added, ten seconds ago."""
    moments = {key: moment(value) for key, value in record.items() if isinstance(value, int)}
    attempts = [
        {"started_at": moment(start), "ended_at": moment(end), "next_delay": delay, "error": ""}
        for start, end, delay in record.get("failed_attempts", [])
    ]
    whole = {**record, **moments, "created_at": moment(0), "failed_attempts": attempts}
    in_words = "(p) => [p.kind, p.from / 1000, p.to / 1000, ...(p.live ? ['live'] : [])].join(' ')"
    assert modules("detail/timeline", f"m.phases({json.dumps(whole)}, 10000).map({in_words})") == expected


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def test_a_line_of_the_stream_that_is_quicker_than_the_record_has_its_place(
    modules: Callable[[str, str], Any],
) -> None:
    lines = [f"2026-01-01T00:00:0{n}.000001Z INFO line {n}" for n in (1, 2)]
    quick = {"timestamp": "2026-01-01T00:00:03.000001+00:00", "level": "info", "message": "line 3"}
    texts = modules(
        "detail/logs",
        f"((logs) => {{ logs.append({json.dumps(quick)}); logs.show({json.dumps(lines)});"
        " return new Promise(requestAnimationFrame).then(() =>"
        " [...logs.element.querySelectorAll('.text')].map((text) => text.textContent)) })(new m.Logs())",
    )
    assert texts == ["line 1", "line 2", "line 3"]


def test_where_lines_were_cut_the_log_says_so_at_every_level_and_once(
    modules: Callable[[str, str], Any],
) -> None:
    first, last = (f"2026-01-01T00:00:0{n}.000001Z INFO line {n}" for n in (1, 3))
    earlier, later = ([first, f"… cut: {count} lines (70 bytes); a task keeps", last] for count in (7, 8))
    quick = {"timestamp": "2026-01-01T00:00:02.000001+00:00", "level": "error", "message": "line 2"}
    texts = modules(
        "detail/logs",
        f"((logs) => {{ logs.show({json.dumps(earlier)}); logs.append({json.dumps(quick)});"
        f" logs.show({json.dumps(later)}); const shown = (select) => new Promise(requestAnimationFrame).then("
        " () => [...logs.element.querySelectorAll(select)].map((text) => text.textContent));"
        " return shown('.text').then((all) => {"
        " const level = logs.element.querySelector('select'); level.value = 'error';"
        " level.dispatchEvent(new Event('change'));"
        " return shown('.text').then((errors) => [all, errors]) }) })(new m.Logs())",
    )
    remark = later[1]
    assert texts == [["line 1", remark, "line 2", "line 3"], [remark, "line 2"]]


def test_a_list_that_could_not_be_read_again_is_read_again_when_asked(browser: Browser) -> None:
    manager = TaskManager()
    remember(manager, finished(1))

    @manager.task()
    async def greet() -> None: ...

    with dashboard(browser, admin_app(manager)) as page:
        expect(page.locator("#connection")).to_have_text("Live")
        expect(rows(page)).to_have_count(1)
        page.get_by_role("button", name="Pause").click()
        manager.enqueue(greet)
        news = page.get_by_role("button", name="1 new task")
        expect(news).to_be_visible()
        page.route("**/tasks?*", lambda route: route.abort())
        news.click()
        expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
        expect(rows(page)).to_have_count(1)
        page.unroute("**/tasks?*")
        page.get_by_role("button", name="Try again").click()
        expect(row(page, "greet")).to_be_visible()


def test_new_tasks_do_not_move_what_one_reads(browser: Browser) -> None:
    manager = TaskManager()
    remember(manager, *(finished(number) for number in range(150, 0, -1)))

    @manager.task()
    async def greet() -> None: ...

    with dashboard(browser, admin_app(manager)) as page:
        expect(rows(page).first).to_be_visible()
        page.mouse.wheel(0, 2_500)
        page.wait_for_function("scrollY >= 2500")
        place = row(page, "00000060")
        expect(place).to_be_in_viewport()
        selector = f"tr[data-id='{place.get_attribute('data-id')}']"
        before = boxes(page, selector)
        manager.enqueue(greet)
        news = page.get_by_role("button", name="1 new task")
        expect(news).to_be_visible()
        assert boxes(page, selector) == before
        news.click()
        expect(rows(page).first).to_contain_text("greet")
        expect(rows(page).first).to_be_in_viewport()
        expect(news).to_be_hidden()


def test_a_paused_list_stands_still_until_it_follows_again(browser: Browser) -> None:
    manager = TaskManager()
    remember(manager, finished(1))

    @manager.task()
    async def greet() -> None: ...

    with dashboard(browser, admin_app(manager)) as page:
        expect(rows(page)).to_have_count(1)
        page.keyboard.press("p")
        manager.enqueue(greet)
        expect(page.get_by_role("button", name="1 new task")).to_be_visible()
        expect(rows(page)).to_have_count(1)
        page.get_by_role("button", name="Follow").click()
        expect(rows(page)).to_have_count(2)


def test_of_100_000_records_only_those_in_sight_are_in_the_page(browser: Browser) -> None:
    manager = TaskManager(max_history=100_000)
    remember(manager, *(finished(number) for number in range(100_000, 0, -1)))
    with dashboard(browser, admin_app(manager)) as page:
        expect(state(page, "success")).to_contain_text("100,000")
        expect(rows(page).first).to_contain_text("00000001")
        for last in (100, 200, 300, 400):  # of the pages that were read so far
            page.keyboard.press("End")
            expect(row(page, f"{last:08d}")).to_be_in_viewport()
            expect(row(page, f"{last + 1:08d}")).to_be_attached()
        assert rows(page).count() < 100
        assert page.locator("*").count() < 3_000
        expect(row(page, "00000400")).to_have_attribute("aria-rowindex", "401")


def test_everything_can_be_done_with_the_keyboard(browser: Browser) -> None:
    manager = TaskManager()
    remember(manager, *(finished(number) for number in range(1, 120)))
    with dashboard(browser, admin_app(manager)) as page:
        expect(rows(page).first).to_be_visible()
        page.keyboard.press("j")
        expect(row(page, "00000001").get_by_role("link")).to_be_focused()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("j")
        page.keyboard.press("k")
        expect(row(page, "00000002").get_by_role("link")).to_be_focused()
        page.keyboard.press("Enter")
        expect(panel(page)).to_contain_text("00000002-0000")
        page.keyboard.press("Escape")
        expect(row(page, "00000002").get_by_role("link")).to_be_focused()
        for _ in range(60):
            page.keyboard.press("j")
        expect(row(page, "00000062").get_by_role("link")).to_be_focused()
        expect(row(page, "00000062")).to_be_in_viewport()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_contain_text("Next task")


def test_attempts_are_counted_from_one_everywhere_on_the_page(browser: Browser) -> None:
    manager, gates = TaskManager(), [threading.Event() for _ in range(2)]
    gate = iter(gates)

    @manager.task(retries=1)
    async def charge_card() -> None:
        await passed(next(gate))
        raise ConnectionError("no answer from the bank")

    remember(manager, finished(1, status=TaskStatus.PENDING, start_time=None, max_retries=1))
    with dashboard(browser, admin_app(manager)) as page:
        expect(row(page, "send_email").locator(".attempts")).to_have_text("–")
        manager.enqueue(charge_card)
        expect(row(page, "charge_card").locator(".attempts")).to_have_text("1 of 2")
        gates[0].set()
        expect(row(page, "charge_card").locator(".attempts")).to_have_text("2 of 2")
        row(page, "charge_card").get_by_role("link").click()
        expect(panel(page).locator(".timeline")).to_contain_text("Attempt 1 failed")
        expect(panel(page).locator(".timeline")).to_contain_text("Attempt 2")
        expect(panel(page)).not_to_contain_text("Attempt 0")
        gates[1].set()
        expect(panel(page).locator(".timeline")).to_contain_text("Attempt 2 failed")


def test_registered_functions_are_listed_before_they_have_run(browser: Browser) -> None:
    manager = TaskManager()

    @manager.task()
    async def nightly_report() -> None: ...

    with dashboard(browser, admin_app(manager)) as page:
        function = page.locator("#functions").get_by_role("row", name="nightly_report")
        expect(function).to_contain_text("unused")
        expect(page.get_by_role("combobox", name="Function")).to_contain_text("nightly_report")
        manager.enqueue(nightly_report)
        expect(function).to_contain_text("0 %")
        expect(function).not_to_contain_text("unused")


def test_at_1440_pixels_every_column_of_the_functions_is_there_and_holds_its_text(browser: Browser) -> None:
    busy = {
        "func_name": "send_email",
        "registered": True,
        "counts": {"pending": 12, "running": 12, "retrying": 12, "failed": 1},
        "throughput": [12_345] * 60,
        "failures": [12_345] * 60,
        "latency_p95": [754.0] * 60,
        **dict.fromkeys(("p50", "p95", "p99"), 754.0),
    }
    draw = """async (overview) => {
        const { Functions } = await import('/tasks/static/overview/functions.js');
        const place = document.getElementById('functions');
        new Functions(place, () => {}).show(overview);
        const cells = [...place.querySelectorAll('th, td')].filter((cell) => cell.offsetWidth);
        const texts = (chosen) => chosen.map((cell) => cell.textContent);
        return [texts(cells), texts(cells.filter((cell) => cell.scrollWidth > cell.clientWidth))];
    }"""
    with dashboard(browser, admin_app(TaskManager()), viewport={"width": 1440, "height": 900}) as page:
        expect(page.locator("#functions")).to_contain_text("No function is registered")
        cells, cut = page.evaluate(draw, {"tasks": [busy], "bucket_seconds": 10})
    titles = ["Function", "Active", "Finished", "Rate", "Failed", "Latency (p95)", "p50", "p95", "p99"]
    assert (cells[: len(titles)], cells[-1], cut) == (titles, "12 min 34 s", [])


def test_full_pools_and_observers_that_lose_events_are_told(browser: Browser) -> None:
    class Broken(TaskObserver):
        def on_lifecycle(self, event: LifecycleEvent) -> None:
            raise ValueError("offended")

    manager, gate = TaskManager(loggers=[Broken()], max_concurrent_tasks=1), threading.Event()

    @manager.task()
    async def resize() -> None:
        await passed(gate)

    with dashboard(browser, admin_app(manager)) as page:
        for _ in range(3):
            manager.enqueue(resize)
        expect(page.locator("#pools")).to_contain_text("1 of 1")
        expect(page.locator("#pools")).to_contain_text("2 waiting")
        expect(page.locator("#health")).to_contain_text("Some events did not reach an observer.")
        expect(page.locator("#health").get_by_role("row", name="Broken")).to_contain_text("4")
        gate.set()
        expect(page.locator("#pools")).to_contain_text("0 of 1")


def test_a_list_that_cannot_be_loaded_says_why_and_tries_again(browser: Browser) -> None:
    manager = TaskManager()
    remember(manager, finished(1))
    with dashboard(browser, admin_app(manager)) as page:
        expect(rows(page)).to_have_count(1)
        refused = json.dumps({"detail": "the backend sleeps"})
        page.route("**/tasks?**", lambda route: route.fulfill(status=503, body=refused))
        state(page, "success").click()
        expect(page.get_by_role("heading", name="The tasks could not be loaded")).to_be_visible()
        expect(page.locator("#list")).to_contain_text("the backend sleeps")
        page.unroute("**/tasks?**")
        page.get_by_role("button", name="Try again").click()
        expect(rows(page)).to_have_count(1)


def test_the_theme_that_was_chosen_is_remembered(browser: Browser) -> None:
    with dashboard(browser, admin_app(TaskManager()), color_scheme="dark") as page:
        dark = "rgb(14, 17, 21)"
        expect(page.locator("body")).to_have_css("background-color", dark)
        page.get_by_role("button", name="Switch to the light theme").click()
        expect(page.locator("body")).not_to_have_css("background-color", dark)
        page.reload()
        expect(page.get_by_role("button", name="Switch to the dark theme")).to_be_visible()
        expect(page.locator("body")).not_to_have_css("background-color", dark)


def test_a_login_leads_to_where_one_wanted_to_go_and_a_logout_out(browser: Browser) -> None:
    manager = TaskManager()
    remember(manager, finished(1), finished(2, status=TaskStatus.FAILED))
    app = admin_app(manager, auth=("ada", "lovelace"), secret_key="k" * 32, title="Shop")
    with dashboard(browser, app, "/tasks/dashboard?status=failed") as page:
        page.get_by_label("User name").fill("ada")
        page.get_by_label("Password").fill("byron")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page).to_have_title("Log in – Shop")
        expect(page.get_by_label("Password")).to_be_focused()
        page.get_by_label("Password").fill("lovelace")
        page.get_by_role("button", name="Log in").click()
        expect(rows(page)).to_have_count(1)
        expect(page.locator(".user")).to_have_text("ada")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Password")).to_be_visible()


def test_a_session_that_ends_while_the_page_is_open_leads_to_the_login(browser: Browser) -> None:
    app = admin_app(TaskManager(), auth=("ada", "lovelace"), secret_key="k" * 32)
    with dashboard(browser, app) as page:
        page.get_by_label("User name").fill("ada")
        page.get_by_label("Password").fill("lovelace")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_text("No tasks yet")).to_be_visible()
        page.context.clear_cookies()
        page.get_by_label("Search").fill("anything")
        page.get_by_label("User name").fill("ada")
        page.get_by_label("Password").fill("lovelace")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_label("Search")).to_have_value("anything")


def test_a_lost_connection_is_told_and_the_page_catches_up_afterwards(
    browser: Browser, tmp_path: Path
) -> None:
    port, app = free_port(), "tests.e2e.restarted_app:app"
    url = f"http://127.0.0.1:{port}"
    with uvicorn_process(app, tmp_path, port=port):
        httpx.post(f"{url}/greetings/ada").raise_for_status()
        context = visit(browser, f"{url}/tasks/dashboard")
        page = context.__enter__()
        expect(row(page, "name ada")).to_be_visible()
        expect(page.locator("#connection")).to_have_text("Live")
        page.clock.install()
    expect(page.locator("#connection")).to_have_text("Disconnected")
    expect(page.locator("#banner")).to_contain_text("connects again by itself")
    row(page, "name ada").click()
    expect(panel(page)).to_contain_text("cannot be reached")
    panel(page).get_by_role("button", name="Close").click()  # the banner is not above it
    expect(row(page, "name ada")).to_be_visible()
    page.clock.pause_at(utcnow() + timedelta(seconds=1))  # not by itself, this time
    with uvicorn_process(app, tmp_path, port=port):
        page.get_by_role("button", name="Connect now").click()
        page.clock.resume()
        expect(page.locator("#connection")).to_have_text("Live")
        expect(page.locator("#banner")).to_be_hidden()
        expect(row(page, "name ada")).to_have_count(0)  # another process: read again
        httpx.post(f"{url}/greetings/grace").raise_for_status()
        expect(row(page, "name grace")).to_be_visible()
        context.__exit__(None, None, None)


def test_messages_that_were_lost_with_the_connection_come_again(browser: Browser) -> None:
    manager, breaks, broken = TaskManager(), threading.Event(), threading.Event()
    app = admin_app(manager)

    @manager.task()
    async def greet() -> None: ...

    async def line(scope: Any, receive: Any, send: Any) -> None:
        async def send_or_break(message: Any) -> None:
            if breaks.is_set() and not broken.is_set() and b"event: task" in message.get("body", b""):
                broken.set()
                raise ConnectionResetError
            await send(message)

        await app(scope, receive, send_or_break)

    with dashboard(browser, line) as page:
        expect(page.locator("#connection")).to_have_text("Live")  # it has asked for the list by then
        manager.enqueue(greet, tags={"name": "ada"})
        expect(row(page, "name ada")).to_contain_text("success")
        listings: list[str] = []
        page.on("request", lambda request: listings.append(request.url) if "?limit=" in request.url else None)
        breaks.set()
        manager.enqueue(greet, tags={"name": "grace"})
        assert broken.wait(30)
        expect(row(page, "name grace")).to_contain_text("success")
        assert listings == []


def test_whatever_a_task_brings_is_shown_and_never_run(browser: Browser) -> None:
    manager = TaskManager()

    @manager.task(name=HOSTILE)
    async def hostile(argument: str) -> None:
        task_log(HOSTILE)
        raise ValueError(HOSTILE)

    with dashboard(browser, admin_app(manager, display_func_args=True)) as page:
        manager.enqueue(hostile, HOSTILE, tags={HOSTILE: HOSTILE}, idempotency_key=HOSTILE)
        expect(row(page, HOSTILE)).to_be_visible()
        expect(page.locator("#functions")).to_contain_text(HOSTILE)
        row(page, "failed").click()
        for part in ("h2", ".error-text", ".log-lines", ".traceback", ".arguments", ".facts .tag"):
            expect(panel(page).locator(part).last).to_contain_text(HOSTILE)
        panel(page).get_by_role("button", name="Retry").click()
        expect(page.locator(".notice")).to_contain_text(HOSTILE)
        expect(page.locator("main img, aside img, main script")).to_have_count(0)
        assert "owned" not in page.title()


@pytest.mark.parametrize("told", [True, False], ids=["root_path", "untold"])
def test_it_works_behind_a_proxy_that_strips_a_prefix(browser: Browser, told: bool) -> None:
    manager = TaskManager()
    app = admin_app(manager)

    @manager.task()
    async def greet() -> None: ...

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan" or scope["path"].startswith("/internal/")
        if scope["type"] == "http" and told:
            scope = {**scope, "root_path": "/internal"}  # as servers do with --root-path
        elif scope["type"] == "http":
            scope = {**scope, "path": scope["path"].removeprefix("/internal")}
        await app(scope, receive, send)

    with dashboard(browser, proxy, "/internal/tasks/dashboard") as page:
        expect(page.locator("#connection")).to_have_text("Live")
        manager.enqueue(greet)
        row(page, "success").click()
        expect(panel(page)).to_contain_text("Timeline")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_from_using_it(browser: Browser, scheme: str) -> None:
    manager = TaskManager()
    remember(
        manager,
        *(finished(number, status=status) for number, status in enumerate(TaskStatus, 1)),
        finished(9, status=TaskStatus.FAILED, error="disk full", stacktrace="Traceback", tags={"a": "b"}),
    )
    app = admin_app(manager, auth=("ada", "lovelace"), secret_key="k" * 32)
    with dashboard(browser, app, color_scheme=scheme) as page:
        assert barriers(page) == []
        page.get_by_label("User name").fill("ada")
        page.get_by_label("Password").fill("lovelace")
        page.get_by_role("button", name="Log in").click()
        expect(rows(page)).to_have_count(8)
        assert barriers(page) == []
        row(page, "disk full").click()
        expect(panel(page)).to_contain_text("Traceback")
        assert barriers(page) == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Retry failed…").click()
        assert barriers(page) == []
        page.keyboard.press("Escape")
        page.get_by_label("Search").fill("nothing like it")
        expect(page.get_by_role("heading", name="No tasks match")).to_be_visible()
        assert barriers(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_empty_page_can_be_used_by_everybody(browser: Browser, scheme: str) -> None:
    with dashboard(browser, admin_app(TaskManager()), color_scheme=scheme) as page:
        expect(page.get_by_text("No tasks yet")).to_be_visible()
        expect(page.get_by_text("All is well")).to_be_visible()
        assert barriers(page) == []


def test_it_fits_on_a_phone(browser: Browser) -> None:
    manager = TaskManager()
    long = "a_function_with_a_very_long_name_that_fits_nowhere_at_all"
    remember(
        manager, *(finished(n, func_name=long, error="x" * 500, tags={long: long}) for n in range(1, 50))
    )
    with dashboard(browser, admin_app(manager), viewport=PHONE) as page:
        expect(rows(page).first).to_be_visible()
        width = "document.documentElement.scrollWidth"
        assert page.evaluate(width) == PHONE["width"]
        rows(page).first.click()
        expect(panel(page)).to_contain_text("Timeline")
        assert page.evaluate(width) == PHONE["width"]
        assert panel(page).locator(".detail-body").evaluate("body => body.scrollWidth <= body.clientWidth")
