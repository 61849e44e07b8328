"""Logging in and out."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from taskflow.admin.access.auth import Accounts, Auth, Authenticator, make_backend
from taskflow.admin.access.browsers import BROWSER_COOKIE, LIFETIME, KnownBrowsers
from taskflow.admin.access.guard import SessionGuard, keep_cookie
from taskflow.admin.access.sessions import Sessions
from taskflow.admin.access.signing import signing_key
from taskflow.admin.access.throttle import Limit, Throttle, limits_of
from taskflow.admin.addresses import DASHBOARD, base_path, safe_target
from taskflow.admin.pages.page import LoginPage

__all__ = ["Login", "make_login"]

logger = logging.getLogger("taskflow")

FORM_BYTES = 16 * 1024
NO_STORE = {"Cache-Control": "no-store"}


def make_login(path: str, title: str, auth: Auth, secret_key: str | bytes | None, token_expiry: int) -> Login:
    """The login that `TaskAdmin`'s options ask for.

    Raises:
        ConfigurationError: ``auth``, ``secret_key`` or ``token_expiry`` is not what is allowed.
    """
    backend = make_backend(auth)
    accounts = backend.fingerprint() if isinstance(backend, Accounts) else ""
    key = signing_key(secret_key)
    guard = SessionGuard(Sessions(key, token_expiry, accounts), path)
    return Login(guard, KnownBrowsers(key), Authenticator(backend), title, path)


class Login:
    """The routes, as methods.

    Args:
        guard: makes and ends sessions.
        browsers: tells known browsers from others.
        authenticator: who may log in.
        title: of the page.
        path: the admin's path.

    Attributes:
        guard: the same.
    """

    def __init__(
        self,
        guard: SessionGuard,
        browsers: KnownBrowsers,
        authenticator: Authenticator,
        title: str,
        path: str,
    ) -> None:
        self.guard = guard
        self._browsers = browsers
        self._authenticator = authenticator
        self._throttle = Throttle()
        self._page = LoginPage()
        self._title = title
        self._path = path

    def add_open_routes(self, router: APIRouter) -> None:
        """Add the routes that need no session."""
        router.add_api_route("/auth/login", self.show, include_in_schema=False)
        router.add_api_route("/auth/login", self.log_in, methods=["POST"], include_in_schema=False)

    def add_routes(self, router: APIRouter) -> None:
        """Add the routes that need a session."""
        router.add_api_route("/auth/logout", self.log_out, methods=["POST"], include_in_schema=False)

    async def show(self, request: Request, next: Annotated[str, Query()] = DASHBOARD) -> Response:  # noqa: A002  # its public name
        """The login page."""
        return self._page.response(self._values(request, next))

    async def log_in(self, request: Request) -> Response:
        """Check ``username`` and ``password`` of the form; redirect to ``next`` with a session."""
        form = await _form(request)
        username = form.get("username", "")
        limits = self._limits(request, username)
        wait = self._throttle.wait(limits)
        if wait:
            seconds = math.ceil(wait)
            message = f"Too many attempts. Try again in {seconds} seconds."
            return self._refuse(request, form, message, 429, {"Retry-After": str(seconds)})
        try:
            admitted = await self._authenticator.admits(username, form.get("password", ""))
        except Exception:
            logger.exception("the TaskAuthBackend raised")
            return self._refuse(request, form, "Logins cannot be checked at the moment.", 503)
        if not admitted:
            return self._refuse(request, form, "Wrong user name or password.", 401)
        self._throttle.succeeded(limits)
        answer = RedirectResponse(f"../{safe_target(form.get('next', DASHBOARD))}", 303, NO_STORE)
        self.guard.log_in(request, answer, username)
        self._remember(request, answer, username)
        return answer

    def _limits(self, request: Request, username: str) -> Sequence[Limit]:
        browser = self._browsers.read(request.cookies.get(BROWSER_COOKIE), username)
        return limits_of(username, request.client.host if request.client is not None else "", browser)

    def _remember(self, request: Request, response: Response, username: str) -> None:
        """Make this a known browser. Browsers send this cookie to addresses below ``auth/`` alone."""
        path = f"{base_path(request, self._path)}/auth"
        keep_cookie(request, response, BROWSER_COOKIE, self._browsers.issue(username), path, LIFETIME)

    async def log_out(self, request: Request) -> Response:
        """End the session; redirect to the login page."""
        answer = RedirectResponse("login", 303, NO_STORE)
        self.guard.log_out(request, answer)
        return answer

    def _refuse(
        self,
        request: Request,
        form: Mapping[str, str],
        error: str,
        status: int,
        headers: Mapping[str, str] = {},
    ) -> Response:
        values = self._values(request, form.get("next", DASHBOARD), error, form.get("username", ""))
        return self._page.response(values, status, headers)

    def _values(self, request: Request, target: str, error: str = "", username: str = "") -> dict[str, str]:
        return {
            "title": self._title,
            "base": base_path(request, self._path),
            "next": safe_target(target),
            "error": error,
            "username": username,
            "at_username": "" if username else "autofocus",
            "at_password": "autofocus" if username else "",
        }


async def _form(request: Request) -> dict[str, str]:
    """The fields of an URL-encoded form. `Request.form` would need a package for this page alone."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            raise HTTPException(413, f"a login form has at most {FORM_BYTES} bytes")
    if (
        request.headers.get("content-type", "").partition(";")[0].strip()
        != "application/x-www-form-urlencoded"
    ):
        raise HTTPException(415, "the form must be sent as application/x-www-form-urlencoded")
    return dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"))
