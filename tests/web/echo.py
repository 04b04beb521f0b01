"""An application that answers with what came: what the tests of the bulk lane send their requests to."""

from hashlib import sha256

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.routes.bodies import Longest, read_body
from app.web.body import BULK_BYTES

LARGE = bytes(range(256)) * (BULK_BYTES // 64)
UNBOUNDED = Longest(1 << 30, "")
GONE: list[str] = []


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body's digest; `/plain` reads by ASGI alone, `/unread` reads nothing."""
    if scope["type"] != "http":
        return
    request = Request(scope, receive)
    try:
        if scope["path"] == "/unread":
            answer = b"unread"
        else:
            body = await request.body() if scope["path"] == "/plain" else await read_body(request, UNBOUNDED)
            answer = digest(bytes(body))
    except ClientDisconnect:
        GONE.append(scope["path"])
        return
    await Response(answer)(scope, receive, send)


def digest(body: bytes) -> bytes:
    return sha256(body).hexdigest().encode()
