"""The checks before the routes of the admin: same origin, and a valid session."""

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
    """Refuse a request that changes something, if a page of another origin sent it."""
    if not is_same_origin(request):
        raise HTTPException(403, "the request comes from a page of another origin")


class NotLoggedInError(HTTPException):
    """There is no valid session.

    Attributes:
        page: whether the dashboard's page was asked for: a person can log in, a program gets 401.
    """

    def __init__(self, page: bool) -> None:
        # A 401 needs this header. No scheme is registered for cookies: FastAPI uses this one.
        super().__init__(401, "not logged in, or the session has ended", {"WWW-Authenticate": "APIKey"})
        self.page = page


@dataclass(frozen=True, slots=True)
class Visit:
    """The session of a request that passed the guard."""

    session: Session
    sessions: Sessions

    def lasts(self) -> bool:
        """Whether the session is still valid."""
        return self.sessions.lasts(self.session)


def visit_of(request: Request) -> Visit | None:
    """The session of a request that passed the guard; ``None`` if there is no login."""
    return getattr(request.state, "taskflow_visit", None)


class SessionGuard(SecurityBase):
    """Refuses requests without a session. As a dependency it is part of the OpenAPI schema.

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
        """The session of a request.

        Raises:
            NotLoggedInError: it has none.
        """
        session = self.sessions.read(request.cookies.get(COOKIE))
        if session is None:
            raise NotLoggedInError(page=request.url.path.endswith(f"{self._path}/{DASHBOARD}"))
        request.state.taskflow_visit = Visit(session, self.sessions)
        return session

    def log_in(self, request: Request, response: Response, username: str) -> None:
        """Set the cookie of a new session on the response."""
        path = base_path(request, self._path)
        keep_cookie(request, response, COOKIE, self.sessions.issue(username), path, self.sessions.expiry)

    def log_out(self, request: Request, response: Response) -> None:
        """End the session of the request, and delete its cookie."""
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
    """Answer `NotLoggedInError` in the admin's own way, whatever the app does with other errors."""
    app.add_exception_handler(NotLoggedInError, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotLoggedInError)
    if error.page:
        return RedirectResponse(login_address(request), 303, {"Cache-Control": "no-store"})
    return Reply({"detail": error.detail}, error.status_code, error.headers or {})
