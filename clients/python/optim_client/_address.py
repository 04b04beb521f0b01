"""The address of the service, and the headers that every request to it carries."""

import os
import re
import socket
from collections.abc import Mapping
from importlib.metadata import version

import httpx2

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
BYTE_ORDER_MARK = "\ufeff"

FORMS: Mapping[str, re.Pattern[str]] = {
    "http": re.compile(r"http://.*", re.DOTALL),
    "https": re.compile(r"https://.*", re.DOTALL),
    "unix": re.compile(r"unix://(/.+)", re.DOTALL),
    "memory": re.compile(r"memory:"),
    "lmdb": re.compile(r"lmdb:.+", re.DOTALL),
}
"""The form of an address, by its scheme."""
LOCAL = frozenset({"memory", "lmdb"})
"""The schemes of a service that runs in this process."""
NAMES_A_PATH = LOCAL | {"unix"}
PORTS = range(1, 65536)


def base_url(given: str | None) -> str:
    """Return the argument, else `OPTIM_BASE_URL`, else the default. Raises `TypeError`, `ValueError`."""
    if not isinstance(given, str | None):
        raise TypeError(f"base_url must be a string, not {given!r:.80}")
    url = _stripped(given) or _stripped(os.environ.get("OPTIM_BASE_URL")) or DEFAULT_BASE_URL
    form = FORMS.get(scheme_of(url))
    if form is None or form.fullmatch(url) is None:
        raise ValueError(
            f"unknown base_url {shown(url)!r}; expected one of http://…, https://…, unix:///PATH, memory:, lmdb:PATH. "
            "For another "
            "store start the service with `optim serve` and give its URL"
        )
    if socket_of(url) and not hasattr(socket, "AF_UNIX"):
        raise ValueError(f"base_url {url!r}: this system has no Unix sockets; give an http address")
    if scheme_of(url) not in LOCAL:
        url_of(url)
    return url


def scheme_of(url: str) -> str:
    """Return what stands before the first colon."""
    return url.partition(":")[0]


def is_local(url: str) -> bool:
    """Return whether the service of that address runs in this process."""
    return scheme_of(url) in LOCAL


def socket_of(url: str) -> str:
    """Return the path of a Unix socket in its address; empty in the address of another scheme."""
    return url.removeprefix("unix://") if scheme_of(url) == "unix" else ""


def url_of(url: str) -> httpx2.URL:
    """Parse an http or https address, as HTTPX does; a Unix socket's requests name localhost. Raises `ValueError`."""
    if socket_of(url):
        return httpx2.URL("http://localhost")
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"base_url {shown(url)!r} cannot be read: {error}") from None
    if not parsed.host:
        raise ValueError(f"base_url {shown(url)!r} names no host")
    if parsed.port is not None and parsed.port not in PORTS:
        raise ValueError(f"base_url {shown(url)!r} has port {parsed.port}; expected 1 to {PORTS[-1]}")
    return parsed


def headers(api_key: str | None) -> dict[str, str]:
    """Return the headers of every request. The key is the argument, else `OPTIM_API_KEY`.

    Raises `TypeError`, `ValueError`.
    """
    if not isinstance(api_key, str | None):
        raise TypeError(f"api_key must be a string, not {type(api_key).__name__}")
    key = _stripped(api_key) or _stripped(os.environ.get("OPTIM_API_KEY"))
    common = {"user-agent": f"optim-client/{version('optim-client')}"}
    if not key:
        return common
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise ValueError("api_key holds a line break, a space or another character that is not printable ASCII")
    return {**common, "authorization": f"Bearer {key}"}


def _stripped(text: str | None) -> str:
    """Remove what files and secrets hold besides a value: a final line break, a leading byte order mark."""
    return (text or "").strip().removeprefix(BYTE_ORDER_MARK).strip()


def shown(url: str) -> str:
    """Return the address without its password and its query."""
    if scheme_of(url) in NAMES_A_PATH:
        return url
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2].partition('?')[0]}"
