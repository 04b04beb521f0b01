"""The headers by which a write is done once: `Idempotency-Key` and `If-Match` in, `ETag` and `Idempotent-Replayed` out.

To add a route that writes: `once = read_once(request)` before the body is read, and `once.with_body(body)` after;
give that to a verb of `Sessions` that ends in `_write` or `_create`; answer with `headers_of` what that returns. In the
schema, `schema.written` stands for `schema.answers`, and `schema.ONCE` goes into `openapi_extra`.
"""

import re
from typing import Protocol

from fastapi import Request

from app.errors import MalformedHeader
from app.once import ANY, Once

LONGEST_KEY = 255
ETAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ETAGS = re.compile(rf"{ETAG}(?:[ \t]*,[ \t,]*{ETAG})*")


class Answered(Protocol):
    """The answer of a write: the session's ETag now, and whether the write had been answered before."""

    @property
    def etag(self) -> str: ...

    @property
    def replayed(self) -> bool: ...


def read_once(request: Request) -> Once:
    """Return what the head of a request says of being done once. Raises `MalformedHeader`."""
    scope = request.scope
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
    keys = request.headers.getlist("idempotency-key")
    if len(keys) > 1:
        raise MalformedHeader(f"Idempotency-Key was sent {len(keys)} times: send it once")
    tags = request.headers.getlist("if-match")
    return Once(
        f"{request.method} {path}{query}",
        key=_read_key(keys[0]) if keys else None,
        if_match=_read_etags(", ".join(tags)) if tags else None,
    )


def headers_of(written: Answered) -> dict[str, str]:
    """Return the headers of a write's answer."""
    return {"ETag": written.etag, **({"Idempotent-Replayed": "true"} if written.replayed else {})}


def _read_key(header: str) -> str:
    """Return the key: a quoted string, or the same without its quotes."""
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= LONGEST_KEY or '"' in key:
        raise MalformedHeader(f'Idempotency-Key must be a quoted string of 1 to {LONGEST_KEY} characters: "…"')
    return key


def _read_etags(header: str) -> frozenset[str]:
    """Return the ETags that `If-Match` lists. A weak one (`W/"…"`) is equal to none, as RFC 9110 has it."""
    header = header.strip(" \t,")
    if header == ANY:
        return frozenset((ANY,))
    if not ETAGS.fullmatch(header):
        raise MalformedHeader(f'If-Match is {header!r:.80}: it must be *, or ETags with commas between them: "1-0a1b…"')
    return frozenset(re.findall(ETAG, header))


def is_known(etag: str, header: str) -> bool:
    """Return whether `If-None-Match` has that ETag, or `*`. A proxy that compresses may have made it a weak one."""
    return not {etag, "*"}.isdisjoint(tag.strip().removeprefix("W/") for tag in header.split(","))
