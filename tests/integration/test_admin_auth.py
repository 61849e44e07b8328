"""The login: what it keeps out, whom it lets in, and for how long."""

from __future__ import annotations

import asyncio
import html
import logging
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry

from taskflow import PrometheusObserver, TaskAdmin, TaskAuthBackend, TaskManager
from taskflow.admin.mounting import requests_of
from tests.admin import admin_app, client
from tests.processes import uvicorn_process

ADA = ("ada", "correct horse")
KEY = "a key that the processes share"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def app() -> FastAPI:
    return admin_app(TaskManager(), auth=ADA, secret_key=KEY)


async def log_in(
    http: httpx.AsyncClient, username: str = ADA[0], password: str = ADA[1], **fields: str
) -> httpx.Response:
    return await http.post("/tasks/auth/login", data={"username": username, "password": password, **fields})


@asynccontextmanager
async def logged_in(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as http:
        assert (await log_in(http)).status_code == 303
        yield http


# What it covers


OUTSIDE_THE_SCHEMA = [
    ("GET", "/tasks/stream"),
    ("GET", "/tasks/dashboard"),
    ("GET", "/tasks/static/styles/login.css"),
    ("GET", "/tasks/static/nothing.js"),
    ("POST", "/tasks/auth/logout"),
]


OPEN = [("GET", "/tasks/live"), ("GET", "/tasks/ready")]


def documented(app: FastAPI) -> Iterator[tuple[str, str]]:
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            yield method.upper(), path.replace("{task_id}", UNKNOWN)


async def test_nobody_gets_anywhere_without_a_session(app: FastAPI) -> None:
    paths = [*(set(documented(app)) - set(OPEN)), *OUTSIDE_THE_SCHEMA]
    assert len(paths) == 12
    async with client(app) as http:
        for method, path in paths:
            answer = await http.request(method, path)
            expected = 303 if path == "/tasks/dashboard" else 401
            assert (method, path, answer.status_code) == (method, path, expected)
            assert answer.headers["cache-control"] == "no-store"


async def test_every_route_that_is_mounted_has_been_asked_for() -> None:
    class Noting(FastAPI):
        """FastAPI, which says what it was given: of a router it keeps no paths."""

        def include_router(self, router: APIRouter, **options: Any) -> None:
            mounted.update(requests_of([router]))
            super().include_router(router, **options)

    mounted: set[tuple[str, str]] = set()
    app = Noting()
    TaskAdmin(app, TaskManager(), auth=ADA, secret_key=KEY)
    asked = {(method, path.replace(UNKNOWN, "x")) for method, path in documented(app)}
    asked |= {(method, path) for method, path in OUTSIDE_THE_SCHEMA if "/static/" not in path}
    login = {("GET", "/tasks/auth/login"), ("POST", "/tasks/auth/login")}
    assert mounted == asked | login | {("GET", "/tasks/static/x")}


async def test_whoever_is_logged_in_gets_everywhere(app: FastAPI) -> None:
    async with logged_in(app) as http:
        for path in ("", "/metrics", "/overview", "/dashboard", "/static/styles/login.css"):
            assert (await http.get(f"/tasks{path}")).status_code == 200, path
        assert (await http.get(f"/tasks/{UNKNOWN}")).status_code == 404


async def test_a_wrong_parameter_is_not_looked_at_before_the_session(app: FastAPI) -> None:
    async with client(app) as http:
        assert (await http.get("/tasks", params={"limit": "x"})).status_code == 401


async def test_the_schema_says_that_a_session_is_needed(app: FastAPI) -> None:
    operation = app.openapi()["paths"]["/tasks"]["get"]
    assert operation["security"] == [{"TaskAdmin session": []}]
    assert "401" in operation["responses"]


async def test_handlers_of_the_application_do_not_change_how_people_are_sent_to_the_login(
    app: FastAPI,
) -> None:
    @app.exception_handler(HTTPException)
    async def envelope(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 418)

    async with client(app) as http:
        assert (await http.get("/tasks/dashboard")).headers["location"] == "auth/login?next=dashboard"
        assert (await http.get("/tasks")).status_code == 401


@pytest.mark.parametrize(
    ("auth", "token", "sent", "expected"),
    [
        (None, None, None, 200),
        (None, "scrape", None, 401),
        (None, "scrape", "scrape", 200),
        (ADA, None, None, 401),
        (ADA, None, "scrape", 401),
        (ADA, "scrape", "wrong", 401),
        (ADA, "scrape", "scrape", 200),
    ],
)
async def test_metrics_are_guarded_by_their_token_alone(
    auth: Any, token: Any, sent: Any, expected: int
) -> None:
    manager = TaskManager(loggers=[PrometheusObserver(CollectorRegistry())])
    app = admin_app(manager, auth=auth, secret_key=KEY, metrics_token=token)
    async with client(app) as http:
        headers = {} if sent is None else {"Authorization": f"Bearer {sent}"}
        assert (await http.get("/metrics", headers=headers)).status_code == expected
        if auth is not None:
            await log_in(http)
            assert (await http.get("/metrics", headers=headers)).status_code == expected


# Logging in


async def test_a_login_goes_on_to_the_page_that_was_asked_for(app: FastAPI) -> None:
    async with client(app) as http:
        sent_away = await http.get("/tasks/dashboard?status=failed&q=a%26b")
        login = await http.get(f"/tasks/{sent_away.headers['location']}")
        assert (sent_away.status_code, login.status_code) == (303, 200)
        assert 'value="dashboard?status=failed&amp;q=a%26b"' in login.text
        answer = await log_in(http, next="dashboard?status=failed&q=a%26b")
        assert (answer.status_code, answer.headers["location"]) == (303, "../dashboard?status=failed&q=a%26b")
        assert (await http.get("/tasks/auth/" + answer.headers["location"])).status_code == 200


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/tasks/dashboard",
        "javascript:alert(1)",
        "../other",
        "x/../../other",
        "..%2f..",
        "%2e%2e/other",
        "x/%2E./.%2e/other",
        "\thttps://evil.example",
        "dash board",
        "https:evil.example",
        "//[",
        "",
    ],
)
async def test_a_login_leads_nowhere_else(app: FastAPI, target: str) -> None:
    async with client(app) as http:
        answer = await log_in(http, next=target)
        assert (answer.status_code, answer.headers["location"]) == (303, "../dashboard")


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ada", "wrong"),
        ("bob", ADA[1]),
        ("", ""),
        ("ada", ""),
        ("ADA", ADA[1]),
        ("ada\0", ADA[1]),
        ("é", "日"),
    ],
)
async def test_wrong_credentials_are_refused(app: FastAPI, username: str, password: str) -> None:
    async with client(app) as http:
        answer = await log_in(http, username, password)
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        assert "Wrong user name or password." in answer.text
        assert (await http.get("/tasks")).status_code == 401


@pytest.mark.parametrize(
    ("username", "password"),
    [("zoë", "пароль"), ("名前", "🔑🔑"), ("cafe\u0301", "a&b=c+d %"), ("\udcff", "\udcff")],
)
async def test_names_and_passwords_may_be_any_text(username: str, password: str) -> None:
    app = admin_app(TaskManager(), auth=[ADA, (username, password)], secret_key=KEY)
    async with client(app) as http:
        form = "&".join(
            f"{name}={''.join(f'%{byte:02x}' for byte in value.encode('utf-8', 'surrogateescape'))}"
            for name, value in {"username": username, "password": password}.items()
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await http.post("/tasks/auth/login", content=form, headers=headers)).status_code == 303
        page = await http.get("/tasks/dashboard")
        assert page.status_code == 200
        assert username.encode("utf-8", "replace").decode() in page.text


async def test_who_is_refused_need_not_type_the_name_again(app: FastAPI) -> None:
    name = '"><b>zoë'
    async with client(app) as http:
        shown = (await http.get("/tasks/auth/login")).text
        refused = (await log_in(http, name, "x")).text
    [username, password] = re.findall(r'<input id="(?:username|password)".*', shown)
    assert ('value=""' in username, "autofocus" in username, "autofocus" in password) == (True, True, False)
    [username, password] = re.findall(r'<input id="(?:username|password)".*', refused)
    assert f'value="{html.escape(name)}"' in username
    assert ("autofocus" in username, "autofocus" in password) == (False, True)
    assert "value" not in password


async def test_every_account_of_a_list_may_log_in() -> None:
    app = admin_app(TaskManager(), auth=[ADA, ("bob", "builder")], secret_key=KEY)
    for username, password in (ADA, ("bob", "builder")):
        async with client(app) as http:
            assert (await log_in(http, username, password)).status_code == 303
    async with client(app) as http:
        assert (await log_in(http, "ada", "builder")).status_code == 401


async def test_what_is_typed_is_never_part_of_the_page_as_markup(app: FastAPI) -> None:
    async with client(app) as http:
        answer = await log_in(http, '"><script>', "x", next='"><script>')
        assert "<script" not in answer.text


@pytest.mark.parametrize(
    ("content", "media_type", "expected"),
    [
        (b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b'{"username": "ada"}', "application/json", 415),
        (b"", "application/x-www-form-urlencoded", 401),
        (b"username=%ff%fe&password", "application/x-www-form-urlencoded; charset=utf-8", 401),
        (b"&".join([b"a=b"] * 4_000), "application/x-www-form-urlencoded", 401),
    ],
)
async def test_what_is_not_a_login_form_is_refused(
    app: FastAPI, content: bytes, media_type: str, expected: int
) -> None:
    async with client(app) as http:
        answer = await http.post("/tasks/auth/login", content=content, headers={"Content-Type": media_type})
        assert answer.status_code == expected


async def test_a_backend_of_ones_own_decides(caplog: pytest.LogCaptureFixture) -> None:
    class Directory(TaskAuthBackend):
        def authenticate_user(self, username: str, password: str) -> bool | Awaitable[bool]:
            if username == "broken":
                raise ConnectionError("no directory")
            return self._later(password) if username == "later" else (password == "open" or password)

        async def _later(self, password: str) -> bool:
            return password == "open"

    app = admin_app(TaskManager(), auth=Directory(), secret_key=KEY)
    async with client(app) as http:
        statuses = {
            (username, password): (await log_in(http, username, password)).status_code
            for username, password in product(("ada", "later", "broken"), ("open", "truthy"))
        }
    assert statuses == {
        ("ada", "open"): 303,
        ("ada", "truthy"): 401,
        ("later", "open"): 303,
        ("later", "truthy"): 401,
        ("broken", "open"): 503,
        ("broken", "truthy"): 503,
    }
    assert [record.message for record in caplog.records] == ["the TaskAuthBackend raised"] * 2


async def test_a_slow_backend_does_not_hold_up_anybody_else() -> None:
    entered, gate = threading.Event(), threading.Event()

    class Slow(TaskAuthBackend):
        def authenticate_user(self, username: str, password: str) -> bool:
            entered.set()
            return gate.wait(60)

    app = admin_app(TaskManager(), auth=Slow(), secret_key=KEY)
    async with client(app) as http, asyncio.TaskGroup() as group:
        login = group.create_task(log_in(http))
        await asyncio.to_thread(entered.wait)
        assert (await http.get("/tasks")).status_code == 401
        gate.set()
        assert (await login).status_code == 303


async def test_an_async_backend_is_awaited() -> None:
    class Later(TaskAuthBackend):
        async def authenticate_user(self, username: str, password: str) -> bool:
            await asyncio.sleep(0)
            return password == "open"

    async with client(admin_app(TaskManager(), auth=Later(), secret_key=KEY)) as http:
        assert (await log_in(http, password="shut")).status_code == 401
        assert (await log_in(http, password="open")).status_code == 303


async def test_guesses_are_slowed_down_until_the_right_person_comes_from_elsewhere(app: FastAPI) -> None:
    async with client(app, client=("192.0.2.1", 1)) as guesser, client(app, client=("192.0.2.2", 1)) as ada:
        statuses = [(await log_in(guesser, password=str(n))).status_code for n in range(7)]
        refused = await log_in(guesser)
        assert statuses == [401] * 5 + [429] * 2
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert (await log_in(guesser, "bob")).status_code == 401
        assert (await log_in(ada)).status_code == 303


async def test_a_stranger_who_guesses_at_every_account_shuts_out_nobody_else(app: FastAPI) -> None:
    async with client(app, client=("192.0.2.1", 1)) as stranger, client(app, client=("192.0.2.2", 1)) as ada:
        statuses = [(await log_in(stranger, f"user {n}", "x")).status_code for n in range(100)]
        assert statuses == [401] * 20 + [429] * 80
        assert (await log_in(ada)).status_code == 303


async def test_strangers_everywhere_do_not_shut_out_a_browser_that_has_logged_in_before(app: FastAPI) -> None:
    async with client(app, client=("192.0.2.1", 1)) as known, client(app, client=("192.0.2.1", 1)) as unknown:
        assert (await log_in(known)).status_code == 303
        await known.post("/tasks/auth/logout")
        for n in range(25):
            async with client(app, client=(f"198.51.100.{n}", 1)) as stranger:
                for guess in range(20):
                    assert (await log_in(stranger, f"user {guess}", "x")).status_code == 401
        assert (await log_in(unknown)).status_code == 429
        assert (await log_in(known)).status_code == 303


async def test_a_browser_that_has_logged_in_before_may_guess_no_more_than_others(app: FastAPI) -> None:
    async with logged_in(app) as http:
        statuses = [(await log_in(http, password="wrong")).status_code for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        # For other accounts it is a stranger.
        others = [(await log_in(http, f"user {n}", "wrong")).status_code for n in range(21)]
        assert others == [401] * 20 + [429]


async def test_a_correct_login_forgives_the_wrong_ones(app: FastAPI) -> None:
    async with client(app) as http:
        for _ in range(3):
            assert [(await log_in(http, password="wrong")).status_code for _ in range(4)] == [401] * 4
            assert (await log_in(http)).status_code == 303


async def test_many_guesses_at_once_do_not_slip_through() -> None:
    gate = asyncio.Event()

    class Counting(TaskAuthBackend):
        asked = 0

        async def authenticate_user(self, username: str, password: str) -> bool:
            self.asked += 1
            await gate.wait()
            return False

    backend = Counting()
    async with client(admin_app(TaskManager(), auth=backend, secret_key=KEY)) as http:
        attempts = [asyncio.ensure_future(log_in(http, password=str(n))) for n in range(50)]
        refused = [await attempt for attempt in attempts[5:]]
        gate.set()
        await asyncio.gather(*attempts)
    assert (backend.asked, {answer.status_code for answer in refused}) == (5, {429})


# Sessions


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
@pytest.mark.parametrize("prefix", ["", "/shop"])
async def test_the_cookie_is_out_of_reach_of_scripts_and_of_others(
    scheme: str, secure: bool, prefix: str
) -> None:
    app = admin_app(TaskManager(), auth=ADA, secret_key=KEY, token_expiry=120)
    transport = httpx.ASGITransport(app, root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://app") as http:
        cookies = (await log_in(http)).headers.get_list("set-cookie")
    found = {}
    for cookie in cookies:
        first, *attributes = (part.strip() for part in cookie.split(";"))
        found[first.partition("=")[0]] = {attribute.lower() for attribute in attributes}
    always = {"httponly", "samesite=lax"} | ({"secure"} if secure else set())
    assert found == {
        "taskflow_session": always | {"max-age=120", f"path={prefix}/tasks"},
        "taskflow_browser": always | {f"max-age={180 * 86_400}", f"path={prefix}/tasks/auth"},
    }


async def test_a_session_that_was_logged_out_is_over_also_for_who_has_copied_it(app: FastAPI) -> None:
    async with logged_in(app) as http:
        copied = dict(http.cookies)
        answer = await http.post("/tasks/auth/logout")
        assert (answer.status_code, answer.headers["location"]) == (303, "login")
        assert "taskflow_session" not in http.cookies
        http.cookies.update(copied)
        assert (await http.get("/tasks")).status_code == 401


async def test_a_logout_ends_no_other_session(app: FastAPI) -> None:
    async with logged_in(app) as one, logged_in(app) as other:
        await one.post("/tasks/auth/logout")
        assert (await other.get("/tasks")).status_code == 200


@pytest.mark.parametrize(
    "change", [lambda t: t[:-2], lambda t: "x" + t, lambda _: "", lambda _: "a.b.c", lambda _: "é"]
)
async def test_a_forged_session_is_none(app: FastAPI, change: Any) -> None:
    async with logged_in(app) as http:
        token = http.cookies["taskflow_session"]
    async with client(app) as http:
        cookie = f"taskflow_session={change(token)}".encode("latin-1")
        assert (await http.get("/tasks", headers=[(b"cookie", cookie)])).status_code == 401


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"secret_key": KEY}, 200),
        ({"secret_key": "another"}, 401),
        ({"auth": ("ada", "a new password")}, 401),
        ({"auth": ("bob", ADA[1])}, 401),
    ],
)
async def test_another_process_accepts_the_session_if_it_has_the_same_key_and_accounts(
    app: FastAPI, options: dict[str, Any], expected: int
) -> None:
    async with logged_in(app) as http:
        cookies = dict(http.cookies)
    other = admin_app(TaskManager(), **{"auth": ADA, "secret_key": KEY} | options)
    async with client(other) as http:
        http.cookies.update(cookies)
        assert (await http.get("/tasks")).status_code == expected


def test_worker_processes_with_one_key_accept_each_others_sessions(tmp_path: Any) -> None:
    with (
        uvicorn_process("tests.integration.apps.admin_app:app", tmp_path, workers=2) as server,
        httpx.Client(base_url=server.url, headers={"Connection": "close"}) as http,
    ):
        http.post("/tasks/auth/login", data={"username": ADA[0], "password": ADA[1]})
        seen: set[str] = set()
        while len(seen) < 2:
            answer = http.get("/tasks")
            assert answer.status_code == 200
            seen.add(answer.headers["x-process"])


async def test_without_a_key_every_process_has_its_own_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    one, other = (admin_app(TaskManager(), auth=ADA) for _ in range(2))
    assert [(r.name, r.levelno) for r in caplog.records] == [("taskflow", logging.WARNING)] * 2
    assert "secret_key" in caplog.records[0].message
    async with logged_in(one) as http:
        cookies = dict(http.cookies)
    async with client(other) as http:
        http.cookies.update(cookies)
        assert (await http.get("/tasks")).status_code == 401


async def test_a_page_says_who_is_logged_in(app: FastAPI) -> None:
    async with logged_in(app) as http:
        assert '<span class="user">ada</span>' in (await http.get("/tasks/dashboard")).text


# Other origins


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://app"}, True),
        ({"Origin": "https://app"}, True),
        ({"Origin": "http://app:80"}, True),
        ({"Origin": "http://app:8080"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://app.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Origin": ""}, False),
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://app"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind-a-proxy.example"}, True),
    ],
)
@pytest.mark.parametrize("auth", [None, ADA])
async def test_only_pages_of_the_same_origin_change_anything(
    headers: dict[str, str], allowed: bool, auth: Any
) -> None:
    app = admin_app(TaskManager(), auth=auth, secret_key=KEY)
    async with client(app) as http:
        if auth is not None:
            form = {"username": ADA[0], "password": "wrong"}
            answer = await http.post("/tasks/auth/login", data=form, headers=headers)
            assert answer.status_code == (401 if allowed else 403)
            await log_in(http)
        for action in ("retry", "cancel"):
            answer = await http.post(f"/tasks/{UNKNOWN}/{action}", headers=headers)
            assert answer.status_code == (404 if allowed else 403)
        assert (await http.get("/tasks", headers=headers)).status_code == 200


# Pages


async def test_pages_allow_themselves_nothing_from_elsewhere(app: FastAPI) -> None:
    async with logged_in(app) as http:
        for path in ("dashboard", "auth/login"):
            policy = (await http.get(f"/tasks/{path}")).headers["content-security-policy"]
            directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
            assert directives["default-src"] == "'none'"
            assert "unsafe" not in policy
            assert "http" not in policy


async def test_files_are_kept_by_browsers_until_they_change(app: FastAPI) -> None:
    async with logged_in(app) as http:
        first = await http.get("/tasks/static/styles/login.css")
        again = await http.get(
            "/tasks/static/styles/login.css", headers={"If-None-Match": first.headers["etag"]}
        )
        weak = await http.get(
            "/tasks/static/styles/login.css", headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'}
        )
    assert first.headers["content-type"] == "text/css; charset=utf-8"
    assert [(answer.status_code, answer.content) for answer in (again, weak)] == [(304, b"")] * 2


@pytest.mark.parametrize(
    "name", ["../page.py", "..%2fpage.py", "/etc/passwd", "%2e%2e/page.py", "", "none.css"]
)
async def test_only_the_files_that_are_meant_are_served(app: FastAPI, name: str) -> None:
    async with logged_in(app) as http:
        assert (await http.get(f"/tasks/static/{name}")).status_code == 404
