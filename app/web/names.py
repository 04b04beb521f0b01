"""Names of hosts and origins, and their normal form. Settings and requests write them in several."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, ip_address

HOST = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._~!$&'()*+;=%-]+))(?::(?P<port>[0-9]*))?")
"""A `Host` field (RFC 9110, section 7.2), but for the comma, which joins two."""
ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[^/?#@]+)")
LOOPBACK = IPv4Network("127.0.0.0/8")
DEFAULT_PORTS = {"http": "80", "https": "443"}
EVERY = "*"
REMEMBERED = 64
"""Hosts whose normal form is cached: most requests name the same one."""


@lru_cache(REMEMBERED)
def host_of(field: str) -> str:
    """Return the name or address in a `Host` field: in lower case, without port, brackets and last dot.

    Raises `ValueError` for a malformed field.
    """
    return _split(field)[0]


@lru_cache(REMEMBERED)
def is_loopback(host: str) -> bool:
    """Return whether a host, in the form of `host_of`, can only be this machine."""
    if host in ("localhost", "::1") or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host) in LOOPBACK
    except ValueError:
        return False


def origin(text: str) -> str:
    """Return an origin as browsers write it: in lower case, without a default port. Raises `ValueError`."""
    match = ORIGIN.fullmatch(text.lower())
    if match is None:
        raise ValueError(f"{text!r:.80} is not an origin; expected one such as https://app.example.org, without a path")
    scheme = match["scheme"]
    host, port = _split(match["host"])
    if port == DEFAULT_PORTS.get(scheme):
        port = ""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{port and f':{port}'}"


class Hosts:
    """A list of hosts: names and addresses without ports, `*.example.org` for all names below one, `*` for all."""

    def __init__(self, names: Iterable[str]) -> None:
        """Read the list. Raises `ValueError` for a malformed name."""
        self._exact, self._endings = set[str](), list[str]()
        for name in names:
            if name == EVERY:
                self._endings.append("")
            elif name.startswith("*."):
                self._endings.append(f".{_listed(name[2:])}")
            else:
                self._exact.add(_listed(name))

    def __contains__(self, host: str) -> bool:
        return host in self._exact or any(host.endswith(ending) for ending in self._endings)


def listed(text: str | None) -> list[str]:
    """Return the parts of a comma-separated setting."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _listed(name: str) -> str:
    try:
        host, port = _split(f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name)
    except ValueError:
        host, port = "", "none"
    if port or "*" in host:
        raise ValueError(
            f"{name!r:.80} is not a host name; expected one such as optim.example.org, without scheme and port"
        )
    return host


def _split(field: str) -> tuple[str, str]:
    match = HOST.fullmatch(field)
    if match is None or (match["port"] and int(match["port"]) > 65_535):
        raise ValueError(f"{field!r:.80} is not a host name")
    if match["ipv6"]:
        return str(IPv6Address(match["ipv6"])), match["port"] or ""
    return match["name"].lower().removesuffix("."), match["port"] or ""
