"""The page for people: files that a browser loads, at `/` and under `/page/`. No call of the API, so in no schema.

Two are made of others, so that a browser asks for few: `joined.js` and `joined.css`.
"""

import asyncio
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import NamedTuple

from fastapi import APIRouter, Request, Response

from app.errors import RouteNotFound
from app.routes.html import POLICY
from app.routes.joined import joined
from app.routes.once import is_known
from app.routes.query import StrictRoute

router = APIRouter(include_in_schema=False, route_class=StrictRoute)

HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".LICENSE": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}


STYLES = "vendor/uPlot.min.css", "theme.css", "list.css", "curves.css"
"""The style sheets of the page, in the order of their rules."""


class File(NamedTuple):
    body: bytes
    media_type: str
    etag: str


@router.get("/")
async def index(request: Request) -> Response:
    """Return the page."""
    return await _answer(request, "index.html")


@router.get("/page/{path:path}")
async def file(request: Request, path: str) -> Response:
    """Return a file of the page."""
    return await _answer(request, path)


async def _answer(request: Request, path: str) -> Response:
    """Return a file, or 304 if the browser has it. Raises `RouteNotFound`."""
    if not page_files.cache_info().currsize:
        await asyncio.to_thread(page_files)  # no step waits while they are read
    found = page_files().get(path)
    if found is None:
        raise RouteNotFound(f"the page has no file {path!r:.80}; the paths of the API are listed in /docs")
    headers = HEADERS | {"ETag": found.etag}
    if is_known(found.etag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.media_type)


@cache
def page_files() -> Mapping[str, File]:
    """Return the files by their paths. A path that is not one of them cannot lead anywhere."""
    bodies = dict(_files(files("app") / "page", ""))
    modules = {path: body.decode() for path, body in bodies.items() if path.endswith(".js")}
    bodies["joined.js"] = joined(modules, "main.js").encode()
    bodies["joined.css"] = b"\n".join(bodies[path] for path in STYLES)
    return {path: _file(path, body) for path, body in bodies.items()}


def _file(path: str, body: bytes) -> File:
    return File(body, MEDIA_TYPES[PurePath(path).suffix], f'"{sha256(body).hexdigest()[:32]}"')


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _files(entry, f"{name}/")
        elif PurePath(name).suffix:
            yield name, entry.read_bytes()
