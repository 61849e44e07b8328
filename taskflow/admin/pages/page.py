"""The pages, made from templates with ``{{ name }}`` in them.

A template may use these names. Values are escaped; booleans become ``true`` and ``false``:

======== =====================================================================================
base     path of the admin as this server knows it, e.g. ``/tasks``; prefer relative links
title    the title
version  Taskflow's version
user     name of the user; empty without a login
auth     whether there is a login
args     whether arguments are shown
trace    whether there are links to traces
error    why a login was refused; empty at first (login page)
username user name of the refused login (login page)
at_…     ``autofocus`` for the field to fill in first, ``username`` or ``password`` (login page)
next     where to go after the login, relative to ``base`` (login page: a hidden field ``next``)
style    the contents of ``static/styles/login.css`` (login page, as ``<style>{{ style }}</style>``)
======== =====================================================================================

The login page contains its style, because nothing else is served without a session. Its
Content-Security-Policy allows that style by its hash, and no script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import HTMLResponse

__all__ = ["FOLDER", "HEADERS", "LoginPage", "Page"]

FOLDER = Path(__file__).parent

POLICY = (
    "default-src 'none'; script-src {script}; style-src {style}; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": browsers then send "Origin: null" with forms.
    "Referrer-Policy": "same-origin",
}

PLACE = re.compile(r"\{\{ (\w+) \}\}")


class Page:
    """A template and the headers that it is sent with.

    Args:
        name: name of the file in ``templates/``.
        script, style: the sources of scripts and styles that the policy allows.
    """

    def __init__(self, name: str, script: str = "'self'", style: str = "'self'") -> None:
        self._text = (FOLDER / "templates" / name).read_text(encoding="utf-8")
        self._headers = HEADERS | {
            "Cache-Control": "no-store",
            "Content-Security-Policy": POLICY.format(script=script, style=style),
        }

    def response(
        self, values: Mapping[str, object], status_code: int = 200, headers: Mapping[str, str] = {}
    ) -> HTMLResponse:
        """The page, filled in with values."""
        body = PLACE.sub(lambda place: _escaped(values[place[1]]), self._text)
        return HTMLResponse(body, status_code, self._headers | dict(headers))


class Style(str):
    """The text of a style sheet of the admin: the only value that is not escaped."""


def _escaped(value: object) -> str:
    if isinstance(value, Style):
        return value
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return html.escape(text.encode("utf-8", "replace").decode())


class LoginPage:
    """The login page, with its style in it."""

    def __init__(self) -> None:
        self._style = Style((FOLDER / "static" / "styles" / "login.css").read_text(encoding="utf-8"))
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        self._page = Page("login.html", script="'none'", style=f"'sha256-{digest}'")

    def response(
        self, values: Mapping[str, object], status_code: int = 200, headers: Mapping[str, str] = {}
    ) -> HTMLResponse:
        """The page, filled in with values."""
        return self._page.response({**values, "style": self._style}, status_code, headers)
