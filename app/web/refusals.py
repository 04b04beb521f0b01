"""Refusals: how the service ends a connection itself, with a problem document where that can still be read."""

import asyncio
import socket
import struct
import uuid
from collections.abc import Callable, Iterable

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.errors import ServiceError
from app.logs import log
from app.web.deadlines import Deadline
from app.web.problems import Problem

Client = tuple[str, int] | None
"""The address of the other side; `None` if unknown."""


def reason(error: httptools.HttpParserError, method: bytes) -> str:
    """Return the words for an error of the parser; `method` is the one that it has read."""
    if isinstance(error.__context__, ServiceError):  # raised in a callback of the parser
        return error.__context__.detail
    if method == b"PRI":
        return "HTTP/2 is not supported: send HTTP/1.1"
    return f"this is not HTTP/1.1 ({error}): see the request line and the header fields"


def refuse(
    transport: asyncio.Transport, client: Client, error: ServiceError, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    """Answer with a problem, without the application, and close the connection."""
    request_id = uuid.uuid4().hex
    answer = Problem(error)
    fields = [
        *headers,
        *answer.raw_headers,
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    head = [STATUS_LINE[answer.status_code], *(b"%b: %b\r\n" % field for field in fields), b"\r\n"]
    transport.write(b"".join([*head, answer.body]))
    transport.close()
    log.info(
        "refused", status=error.status, code=error.code, detail=error.detail, client=_shown(client),
        request_id=request_id,
    )  # fmt: skip


def close_late(transport: asyncio.Transport, client: Client, late: Deadline) -> None:
    """Close the connection of a client that sends too slowly.

    A late head is logged at debug level: browsers open connections that they may need, and scanners try everything.
    """
    _log_late(log.debug if late.what == "head" else log.info, client, late)
    transport.close()


def reset_late(transport: asyncio.Transport, client: Client, late: Deadline) -> None:
    """Reset the connection of a client that takes its answer too slowly.

    Drop what waits here and in the kernel: `close` alone would wait until all is taken.
    """
    _log_late(log.info, client, late)
    link = transport.get_extra_info("socket")
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _log_late(write: Callable[..., None], client: Client, late: Deadline) -> None:
    write("closed a late connection", late=late.what, after_bytes=late.nbytes, client=_shown(client))


def _shown(client: Client) -> str | None:
    return "{}:{}".format(*client) if client else None
