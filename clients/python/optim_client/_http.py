"""What both drivers need of HTTPX: where the service is, what every request carries, what a failure means."""

import copy
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Self

import httpx2

from optim_client._protocol import Buffer, Request, Response
from optim_client.errors import APIConnectionError, APITimeoutError

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
DEFAULT_MAX_RETRIES = 2
CHUNK_BYTES = 1 << 20

Timeout = float | httpx2.Timeout
"""Seconds without progress, not seconds in all; `httpx2.Timeout(None)` waits for ever."""


class Options:
    """What a client is told about trying."""

    def __init__(self, timeout: Timeout, max_retries: int) -> None:
        if max_retries < 0:
            raise ValueError(f"max_retries must be 0 or more, not {max_retries}")
        self.timeout = timeout
        self.max_retries = max_retries

    def with_options(self, *, timeout: Timeout | None = None, max_retries: int | None = None) -> Self:
        """The same client, over the same connections, with other options; closing one closes both."""
        other = copy.copy(self)
        Options.__init__(
            other,
            self.timeout if timeout is None else timeout,
            self.max_retries if max_retries is None else max_retries,
        )
        return other


def base_url(given: str | None) -> str:
    """The argument, else `OPTIM_BASE_URL`, else this machine."""
    url = given or os.environ.get("OPTIM_BASE_URL") or DEFAULT_BASE_URL
    if url == "memory:" or url.startswith(("http://", "https://")) or (url.startswith("lmdb:") and url != "lmdb:"):
        return url
    raise ValueError(
        f"base_url is http://…, https://…, 'memory:' or 'lmdb:PATH', not {url!r}; "
        "for another store start the service with `optim serve` and give its URL"
    )


def headers(api_key: str | None) -> dict[str, str]:
    """What every request carries. The key is the argument, else `OPTIM_API_KEY`."""
    key = api_key or os.environ.get("OPTIM_API_KEY")
    common = {"user-agent": f"optim-client/{version('optim-client')}"}
    if not key:
        return common
    if not (key.isascii() and key.isprintable()):
        raise ValueError("api_key holds a line break or something else that is not printable ASCII: strip it")
    return {**common, "authorization": f"Bearer {key}"}


def headers_of(request: Request) -> dict[str, str]:
    """A file is sent in pieces, its length said in advance."""
    if isinstance(request.body, Sequence):
        return dict(request.headers)
    return {**request.headers, "content-length": str(os.fstat(request.body.fileno()).st_size)}


def whole(body: bytes | Sequence[Buffer]) -> bytes:
    """HTTPX takes a body in one."""
    return body if isinstance(body, bytes) else b"".join(body)


def answer(response: httpx2.Response, body: bytes) -> Response:
    """HTTPX's answer, whose body was read or written elsewhere."""
    return Response(response.status_code, dict(response.headers), body)


def connection_error(error: httpx2.RequestError) -> APIConnectionError:
    """What HTTPX raised, as this library's error."""
    sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    url = error.request.url
    return no_answer(f"{error.request.method} {url.scheme}://{url.netloc.decode()}{url.path}", error, sent=sent)


def no_answer(where: str, error: Exception, *, sent: bool) -> APIConnectionError:
    """`where` is the method and the URL without a password."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return APITimeoutError(f"{where}: no answer in time ({reason})", sent=sent)
    if not sent:
        return APIConnectionError(f"{where}: no connection ({reason}): is the service running there?", sent=False)
    return APIConnectionError(f"{where}: no answer ({reason})")
