"""The parts of HTTPX that both twins need: requests, answers, and failures as this library's errors."""

import os
import ssl
from collections.abc import Sequence
from http.cookiejar import CookieJar

import httpx2

from optim_client._protocol import Buffer, Request, Response
from optim_client.errors import APIConnectionError, APITimeoutError, ForeignAnswer

DEFAULT_TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
CHUNK_BYTES = 1 << 20
STREAM_SILENCE_SECONDS = 45.0
"""The time without a byte after which a stream is broken. The service sends a comment every 15 s."""

FORKED = (
    "this client was made with transport=… before the process forked, and its connections are the parent's: "
    "make a client in each process"
)
LEFT_TO_THE_PARENT: list[object] = []
"""Objects that a forked process inherited. Kept, because ending them would end the parent's connections."""

Timeout = float | httpx2.Timeout
"""Seconds without progress, not seconds in all; `httpx2.Timeout(None)` waits forever."""


def is_of_a_file(request: Request) -> bool:
    """Return whether the request's body comes from a file, or its answer goes into one."""
    return request.into is not None or not isinstance(request.body, Sequence)


def headers_of(request: Request) -> dict[str, str]:
    """Return the request's headers; for a file, which is sent in pieces, with its length."""
    if isinstance(request.body, Sequence):
        return dict(request.headers)
    return {**request.headers, "content-length": str(os.fstat(request.body.fileno()).st_size)}


def whole(body: bytes | Sequence[Buffer]) -> bytes:
    """Return a body in one piece, as HTTPX takes it."""
    return body if isinstance(body, bytes) else b"".join(body)


def of_stream(timeout: httpx2.Timeout) -> httpx2.Timeout:
    """Return the time limits of a stream, in which a long silence is right."""
    return httpx2.Timeout(connect=timeout.connect, read=STREAM_SILENCE_SECONDS, write=timeout.write, pool=timeout.pool)


def copied(cookies: CookieJar) -> CookieJar:
    """Return a copy of the cookies. Waits for no lock."""
    copy = CookieJar()
    for cookie in cookies:
        copy.set_cookie(cookie)
    return copy


def answer(response: httpx2.Response, body: bytes) -> Response:
    """Return HTTPX's answer as this library's; its body was read or written elsewhere."""
    return Response(response.status_code, dict(response.headers), body)


def where(request: httpx2.Request, path: str = "") -> str:
    """Return the method and the address, without a password; `path` is that of a Unix socket."""
    if path:
        return f"{request.method} {request.url.path} at unix://{path}"
    return f"{request.method} {request.url.scheme}://{request.url.netloc.decode()}{request.url.path}"


def connection_error(error: httpx2.RequestError, path: str = "") -> APIConnectionError:
    """Return an error of HTTPX as this library's; `path` is that of a Unix socket."""
    sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    return no_answer(where(error.request, path), error, sent=sent)


def no_answer(where: str, error: Exception, *, sent: bool) -> APIConnectionError:
    """Return the error of a request without an answer; `where` is its method and its URL, without a password."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return APITimeoutError(f"{where}: no answer in time ({reason})", sent=sent)
    if not sent:
        said = f"{where}: no connection ({reason}): is the service running there?"
        return APIConnectionError(said, sent=False, may_pass=not _is_of_tls(error))
    return APIConnectionError(f"{where}: no answer ({reason})")


def foreign_answer(where: str, sent: str, got: str) -> ForeignAnswer:
    """Return the error of an answer to another request, of this process or of another one."""
    return ForeignAnswer(f"{where}: received the answer to request {got}, but sent request {sent}")


def _is_of_tls(error: BaseException | None) -> bool:
    """Return whether the certificate is not trusted or the server speaks no TLS: waiting does not mend that."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or getattr(error, "reason", "") == "WRONG_VERSION_NUMBER":
            return True
        error = error.__cause__ or error.__context__
    return False
