"""The page for people, at `/`, and its files, under `/page/`. No call of the API, so in no schema."""

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
from app.routes.html import policy
from app.routes.inlined import inlined
from app.routes.once import is_known
from app.routes.query import StrictRoute

router = APIRouter(include_in_schema=False, route_class=StrictRoute)

HEADERS = {
    "Cache-Control": "no-cache",
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


class File(NamedTuple):
    body: bytes
    media_type: str
    etag: str
    policy: str


@router.get("/")
async def index(request: Request) -> Response:
    """Return the page."""
    if not page.cache_info().currsize:
        await asyncio.to_thread(page)  # no step waits while it is made
    return _answer(request, page())


@router.get("/page/{path:path}")
async def file(request: Request, path: str) -> Response:
    """Return a file of the page. Raises `RouteNotFound`."""
    if not page_files.cache_info().currsize:
        await asyncio.to_thread(page_files)
    found = page_files().get(path)
    if found is None:
        raise RouteNotFound(f"the page has no file {path!r:.80}; the paths of the API are listed in /docs")
    return _answer(request, found)


def _answer(request: Request, found: File) -> Response:
    """Return a file, or 304 if the browser has it."""
    headers = HEADERS | {"ETag": found.etag, "Content-Security-Policy": found.policy}
    if is_known(found.etag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.media_type)


@cache
def page() -> File:
    """Return the page with its scripts and style sheets in it."""
    whole = inlined("index.html", {path: file.body.decode() for path, file in page_files().items()})
    return _file(whole.text.encode(), ".html", whole.policy)


@cache
def page_files() -> Mapping[str, File]:
    """Return the files by their paths. No other path leads anywhere."""
    found = _files(files("app") / "page", "")
    return {path: _file(body, PurePath(path).suffix, policy()) for path, body in found}


def _file(body: bytes, kind: str, allowed: str) -> File:
    return File(body, MEDIA_TYPES[kind], f'"{sha256(body).hexdigest()[:32]}"', allowed)


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            yield from _files(entry, f"{name}/")
        elif PurePath(name).suffix:
            yield name, entry.read_bytes()
