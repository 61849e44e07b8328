"""The one guard before every route of the admin."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import FastAPI, HTTPException, Request
from fastapi.openapi.models import APIKey
from fastapi.security.base import SecurityBase
from starlette.responses import RedirectResponse, Response

from taskflow.admin.access.sessions import Session, Sessions
from taskflow.admin.addresses import DASHBOARD, base_path, is_same_origin, login_address
from taskflow.admin.replies import Reply

__all__ = ["COOKIE", "SessionGuard", "Visit", "handle_refusals", "keep_cookie", "same_origin", "visit_of"]

COOKIE = "taskflow_session"


async def same_origin(request: Request) -> None:
    """Refuse what a page of another origin wants changed."""
    if not is_same_origin(request):
        raise HTTPException(403, "the request comes from a page of another origin")


class NotLoggedInError(HTTPException):
    """There is no valid session.

    Attributes:
        page: whether a page was asked for: then a person sits there, who can log in.
    """

    def __init__(self, page: bool) -> None:
        # The header is required, and no scheme is registered for cookies: this is FastAPI's own.
        super().__init__(401, "not logged in, or the session has ended", {"WWW-Authenticate": "APIKey"})
        self.page = page


@dataclass(frozen=True, slots=True)
class Visit:
    """What let a request in."""

    session: Session
    sessions: Sessions

    def lasts(self) -> bool:
        """Whether it still would."""
        return self.sessions.lasts(self.session)


def visit_of(request: Request) -> Visit | None:
    """What let a request in that has passed the guard; ``None`` where there is no login."""
    return getattr(request.state, "taskflow_visit", None)


class SessionGuard(SecurityBase):
    """Lets only those in who have a session; as a dependency it shows in the OpenAPI schema too.

    Args:
        sessions: reads the cookie.
        path: the admin's path.
    """

    def __init__(self, sessions: Sessions, path: str) -> None:
        self.model = APIKey.model_validate(
            {"in": "cookie", "name": COOKIE, "description": "made by the login page"}
        )
        self.scheme_name = "TaskAdmin session"
        self.sessions = sessions
        self._path = path

    async def __call__(self, request: Request) -> Session:
        """The session; an exception without one."""
        session = self.sessions.read(request.cookies.get(COOKIE))
        if session is None:
            raise NotLoggedInError(page=request.url.path.endswith(f"{self._path}/{DASHBOARD}"))
        request.state.taskflow_visit = Visit(session, self.sessions)
        return session

    def log_in(self, request: Request, response: Response, username: str) -> None:
        """Send the cookie of a new session with the response."""
        path = base_path(request, self._path)
        keep_cookie(request, response, COOKIE, self.sessions.issue(username), path, self.sessions.expiry)

    def log_out(self, request: Request, response: Response) -> None:
        """End the session of the request, and have the browser forget it."""
        self.sessions.end(request.state.taskflow_visit.session)
        response.delete_cookie(COOKIE, path=base_path(request, self._path), httponly=True, samesite="lax")


def keep_cookie(request: Request, response: Response, name: str, value: str, path: str, seconds: int) -> None:
    """Have the browser keep a cookie for the addresses below ``path``, out of reach of scripts."""
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=path,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )


def handle_refusals(app: FastAPI) -> None:
    """Answer `NotLoggedInError` our own way, whatever the app does with other errors."""
    app.add_exception_handler(NotLoggedInError, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotLoggedInError)
    if error.page:
        return RedirectResponse(login_address(request), 303, {"Cache-Control": "no-store"})
    return Reply({"detail": error.detail}, error.status_code, error.headers or {})
