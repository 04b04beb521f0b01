"""The method HEAD: asked as GET, and answered without the body (RFC 9110, section 9.3.2)."""

from starlette.types import Message, Scope, Send

IS_HEAD = "optim.head"
"""The key in the scope of a request of the method HEAD, for an answer without an end: its body must not begin."""


def as_get(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """Return a request of the method HEAD as one of GET, with a `send` that drops the body; others as they are."""
    if scope["method"] != "HEAD":
        return scope, send

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return {**scope, "method": "GET", IS_HEAD: True}, send_head
