"""The files of ``static/``: style sheets, scripts and pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException, Request
from starlette.responses import Response

from taskflow.admin.pages.page import FOLDER, HEADERS

__all__ = ["StaticFiles"]

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class StaticFile:
    """A file as it is sent."""

    body: bytes
    media_type: str
    etag: str


class StaticFiles:
    """The files of ``static/``. They are read once; a request can only choose one of them by its name.

    Args:
        folder: the folder with the files.
    """

    def __init__(self, folder: Path = FOLDER / "static") -> None:
        self._files = dict(_static_files(folder))

    def file(self, name: str, request: Request) -> Response:
        """A file. Browsers keep it, and ask each time whether it has changed.

        Raises:
            HTTPException: 404, there is no file of this name.
        """
        file = self._files.get(name)
        if file is None:
            raise HTTPException(404, f"no file {name!r}")
        headers = HEADERS | {"Cache-Control": "private, no-cache", "ETag": file.etag}
        headers["Content-Security-Policy"] = "default-src 'none'"
        known = request.headers.get("if-none-match", "")
        if file.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(file.body, headers=headers | {"Content-Type": file.media_type})


def _static_files(folder: Path) -> Iterator[tuple[str, StaticFile]]:
    for path in folder.rglob("*"):
        if path.suffix in MEDIA_TYPES:
            body = path.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            yield path.relative_to(folder).as_posix(), StaticFile(body, MEDIA_TYPES[path.suffix], etag)
