"""The listening socket: the address, who may reach it, and how many connections it takes."""

import ipaddress
import socket
from contextlib import suppress

from app.settings import Settings

BACKLOG = 2048
ACCEPTED_AT_ONCE = 64
"""New connections in one turn of the event loop."""


def open_listener(settings: Settings) -> socket.socket:
    """Listen on the address of the settings. Raises `OSError`, and `ValueError` as `check_reach` does."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        check_reach(settings, str(address[0]))
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        raise OSError(f"cannot listen on {settings.host}, port {settings.port}: {why}") from error
    listener.set_inheritable(True)
    return listener


def check_reach(settings: Settings, address: str) -> None:
    """Raise `ValueError` if other machines could reach the address and nothing would keep them out."""
    if not (ipaddress.ip_address(address).is_loopback or settings.has_keys or settings.insecure):
        raise ValueError(
            f"{settings.host or address} can be reached by other machines, but the service has no API keys: make "
            "one with `optim keys create` and give OPTIM_API_KEYS_FILE, listen on 127.0.0.1, or give --insecure"
        )


def copies(listener: socket.socket) -> list[socket.socket]:
    """Return the socket many times: uvloop takes one new connection a turn from each, so a burst would hold up
    `/livez`."""
    return [listener, *(listener.dup() for _ in range(ACCEPTED_AT_ONCE - 1))]


def url(settings: Settings, listener: socket.socket) -> str:
    """Return the URL that the socket answers on."""
    scheme = "https" if settings.ssl_certfile else "http"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def allow_many_connections() -> None:
    """Raise this process's limit of descriptors: each connection takes one, and a shell often allows 1,024 alone."""
    with suppress(ImportError, OSError, ValueError):  # not on Windows; some say "unlimited" and mean less
        import resource  # noqa: PLC0415

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
