"""Addresses as a browser sees them: behind prefixes, proxies and mounts."""

from __future__ import annotations

from urllib.parse import unquote, urlencode, urljoin, urlsplit

from starlette.requests import HTTPConnection, Request

__all__ = ["DASHBOARD", "base_path", "is_same_origin", "login_address", "safe_target"]

DASHBOARD = "dashboard"
"""The page, relative to the admin's path."""

PORTS = {"http": 80, "https": 443}
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PLACEHOLDER = "http://localhost"


def base_path(connection: HTTPConnection, path: str) -> str:
    """The admin's path with the prefix that the application is served under."""
    return str(connection.scope.get("root_path", "")).rstrip("/") + path


def login_address(request: Request) -> str:
    """The login page, relative to the page asked for; in its query, where to go after the login."""
    page = request.url.path.rpartition("/")[2]
    query = f"?{request.url.query}" if request.url.query else ""
    return f"auth/login?{urlencode({'next': page + query})}"


def safe_target(target: str, default: str = DASHBOARD) -> str:
    """``target``, an address relative to the admin's path, if it stays below that; else ``default``."""
    if any(ord(char) <= 32 or char in "\\\x7f" for char in target):
        return default  # browsers drop or replace these characters, and would go to another address
    try:
        parts = urlsplit(target)
        joined = urlsplit(urljoin(f"{PLACEHOLDER}/a/b/", target))
    except ValueError:
        return default
    inside = joined.path.startswith("/a/b/") and len(joined.path) > len("/a/b/")
    relative = not parts.scheme and not parts.netloc and not target.startswith("/")
    # Browsers also read %2e%2e as a step up.
    return target if relative and inside and ".." not in unquote(target) else default


def is_same_origin(request: Request) -> bool:
    """Whether a request may change something: it comes from a page of this server, or from no page.

    Browsers send where a request comes from, and a page cannot change that. ``Sec-Fetch-Site`` is the
    browser's own verdict. Without it, as over plain HTTP, ``Origin`` is compared with ``Host``, by host
    and port alone: behind a proxy that ends TLS this server does not know the scheme.
    """
    if request.method in SAFE_METHODS:
        return True
    verdict = request.headers.get("sec-fetch-site")
    if verdict is not None:
        return verdict in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or _authority(origin) == _authority(f"//{request.headers.get('host', '')}")


def _authority(address: str) -> tuple[str, int | None] | None:
    """Host and port, without a default port; ``None`` if there is none, as in ``Origin: null``."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    return parts.hostname, None if port in PORTS.values() else port
