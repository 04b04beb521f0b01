"""The listening sockets: their addresses, who may reach them, and how many connections they take."""

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from app.settings import NO_TCP, Settings

BACKLOG = 2048
ACCEPTED_AT_ONCE = 64
"""New connections in one turn of the event loop."""
NOT_FOR_OTHERS = 0o117
"""The umask of a Unix socket of mode 0660."""
WAYS_OUT = {
    errno.EADDRINUSE: "Stop the program that listens there, or give another port: --port 8001, or 0 for a free one.",
    errno.EACCES: "Ports below 1024 are the administrator's: give another one, such as --port 8000.",
    errno.EADDRNOTAVAIL: "This machine has no such address: --host 127.0.0.1 is for this machine alone.",
}
"""The ways out where an address cannot be listened on, by the number of the error."""
LIVING_SECONDS = 5.0
"""The longest wait to find out if a server lives behind a socket's file."""


@contextmanager
def listening(settings: Settings) -> Iterator[list[socket.socket]]:
    """Listen on the addresses of the settings for the block. Raises `OSError`, and `ValueError` as `check_reach`."""
    listeners = []
    try:
        if settings.host != NO_TCP:
            listeners.append(_open_tcp(settings))
        if settings.unix_socket is None:
            yield listeners
            return
        with _unix(settings.unix_socket.absolute()) as listener:
            yield [*listeners, listener]
    finally:
        for listener in listeners:
            listener.close()


def _open_tcp(settings: Settings) -> socket.socket:
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        check_reach(settings, str(address[0]))
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        failure = OSError(f"cannot listen on {settings.host}, port {settings.port}: {why}")
        if not isinstance(error, socket.gaierror) and error.errno in WAYS_OUT:  # gaierror has error numbers of its own
            failure.add_note(WAYS_OUT[error.errno])
        raise failure from error
    listener.set_inheritable(True)
    return listener


def check_reach(settings: Settings, address: str) -> None:
    """Raise `ValueError` if other machines could reach the address and nothing would keep them out."""
    if not (ipaddress.ip_address(address).is_loopback or settings.has_keys or settings.insecure):
        raise ValueError(
            f"{settings.host or address} can be reached by other machines, but the service has no API keys: make "
            "one with `optim keys create` and give OPTIM_API_KEYS_FILE, listen on 127.0.0.1, or give --insecure"
        )


@contextmanager
def _unix(path: Path) -> Iterator[socket.socket]:
    """Listen on a Unix socket for the block, then remove its file, unless another server has replaced it."""
    try:
        with _alone_in(path.parent):
            _remove_stale(path)
            listener = _open_unix(path)
            made = _identity(path)
    except OSError as error:
        raise OSError(f"cannot listen on OPTIM_UNIX_SOCKET={path}: {error.strerror or error}") from error
    try:
        with listener:
            yield listener
    finally:
        with suppress(OSError), _alone_in(path.parent):
            if _identity(path) == made:
                path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from a later one of its name, which may get the same number again."""
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def _open_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    umask = os.umask(NOT_FOR_OTHERS)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(umask)
    listener.set_inheritable(True)
    return listener


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder for the block, so that of two servers that start at once one finds the other."""
    import fcntl  # noqa: PLC0415 - not on Windows

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove the socket that a dead server left. Raises `OSError` for that of a living one, and for another file."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError("a file that is no socket has this name: remove it, or choose another name")
    with socket.socket(socket.AF_UNIX) as probe, suppress(TimeoutError, BlockingIOError):  # somebody's queue is full
        probe.settimeout(LIVING_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError("another server answers there: stop that one, or choose another name")


def copies(listeners: Sequence[socket.socket]) -> list[socket.socket]:
    """Return each socket many times: uvloop takes one new connection a turn from each, so a burst would hold up
    `/livez`."""
    return [*listeners, *(listener.dup() for listener in listeners for _ in range(ACCEPTED_AT_ONCE - 1))]


def url(settings: Settings, listener: socket.socket) -> str:
    """Return the URL that the socket answers on."""
    if listener.family == socket.AF_UNIX:
        return f"unix://{listener.getsockname()}"
    scheme = "https" if settings.ssl_certfile else "http"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def allow_many_connections() -> None:
    """Raise this process's limit of descriptors: each connection takes one, and a shell often allows 1,024 alone."""
    with suppress(ImportError, OSError, ValueError):  # not on Windows; some say "unlimited" and mean less
        import resource  # noqa: PLC0415

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
