"""The part of HTTPX that both drivers need: where the service is, what every request carries, what a failure means."""

import os
import ssl
from collections.abc import Sequence
from http.cookiejar import CookieJar
from importlib.metadata import version

import httpx2

from optim_client._protocol import Buffer, Request, Response
from optim_client.errors import APIConnectionError, APITimeoutError, ForeignAnswer

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
CHUNK_BYTES = 1 << 20
BYTE_ORDER_MARK = "\ufeff"

FORKED = (
    "this client was made with transport=… before the process forked, and its connections are the parent's: "
    "make a client in each process"
)
LEFT_TO_THE_PARENT: list[object] = []
"""What a forked process inherited and must never end."""

Timeout = float | httpx2.Timeout
"""Seconds without progress, not seconds in all; `httpx2.Timeout(None)` waits for ever."""


def base_url(given: str | None) -> str:
    """The argument, else `OPTIM_BASE_URL`, else this machine."""
    url = _stripped(given) or _stripped(os.environ.get("OPTIM_BASE_URL")) or DEFAULT_BASE_URL
    if url == "memory:" or (url.startswith("lmdb:") and url != "lmdb:"):
        return url
    if url.startswith(("http://", "https://")):
        url_of(url)
        return url
    raise ValueError(
        f"base_url is http://…, https://…, 'memory:' or 'lmdb:PATH', not {_shown(url)!r}; "
        "for another store start the service with `optim serve` and give its URL"
    )


def url_of(url: str) -> httpx2.URL:
    """Read the address, as HTTPX does. Raises `ValueError`."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"base_url {_shown(url)!r} cannot be read: {error}") from None
    if not parsed.host:
        raise ValueError(f"base_url {_shown(url)!r} names no host")
    return parsed


def headers(api_key: str | None) -> dict[str, str]:
    """Return what every request carries. The key is the argument, else `OPTIM_API_KEY`."""
    key = _stripped(api_key) or _stripped(os.environ.get("OPTIM_API_KEY"))
    common = {"user-agent": f"optim-client/{version('optim-client')}"}
    if not key:
        return common
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("api_key holds a line break, a space or something else that is not printable ASCII")
    return {**common, "authorization": f"Bearer {key}"}


def _stripped(text: str | None) -> str:
    """Take off what files and secrets hold besides a value: a line break at the end, a byte order mark at the start."""
    return (text or "").strip().removeprefix(BYTE_ORDER_MARK).strip()


def _shown(url: str) -> str:
    """Return the address without a password."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def is_of_a_file(request: Request) -> bool:
    """Say whether its body comes from a file, or its answer goes into one."""
    return request.into is not None or not isinstance(request.body, Sequence)


def headers_of(request: Request) -> dict[str, str]:
    """A file is sent in pieces, its length said in advance."""
    if isinstance(request.body, Sequence):
        return dict(request.headers)
    return {**request.headers, "content-length": str(os.fstat(request.body.fileno()).st_size)}


def whole(body: bytes | Sequence[Buffer]) -> bytes:
    """HTTPX takes a body in one."""
    return body if isinstance(body, bytes) else b"".join(body)


def copied(cookies: CookieJar) -> CookieJar:
    """The same cookies in a jar of its own; waits for no lock."""
    copy = CookieJar()
    for cookie in cookies:
        copy.set_cookie(cookie)
    return copy


def answer(response: httpx2.Response, body: bytes) -> Response:
    """HTTPX's answer, whose body was read or written elsewhere."""
    return Response(response.status_code, dict(response.headers), body)


def where(request: httpx2.Request) -> str:
    """The method and the address, without a password."""
    return f"{request.method} {request.url.scheme}://{request.url.netloc.decode()}{request.url.path}"


def connection_error(error: httpx2.RequestError) -> APIConnectionError:
    """Return what HTTPX raised as this library's error."""
    sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    return no_answer(where(error.request), error, sent=sent)


def no_answer(where: str, error: Exception, *, sent: bool) -> APIConnectionError:
    """`where` is the method and the URL without a password."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return APITimeoutError(f"{where}: no answer in time ({reason})", sent=sent)
    if not sent:
        said = f"{where}: no connection ({reason}): is the service running there?"
        return APIConnectionError(said, sent=False, may_pass=not _is_of_tls(error))
    return APIConnectionError(f"{where}: no answer ({reason})")


def foreign_answer(where: str, sent: str, got: str) -> ForeignAnswer:
    """Return the error of an answer to another request, of this process or of another one."""
    return ForeignAnswer(f"{where}: the answer that came is for request {got}, and this one is {sent}")


def _is_of_tls(error: BaseException | None) -> bool:
    """Find a certificate that is not trusted, or a server that does not speak TLS: waiting does not mend that."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or getattr(error, "reason", "") == "WRONG_VERSION_NUMBER":
            return True
        error = error.__cause__ or error.__context__
    return False
