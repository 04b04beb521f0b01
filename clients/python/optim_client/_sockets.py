"""Sockets as the lane needs them: connected by a path, looked at, shut down, and received from with descriptors."""

import socket
from array import array
from contextlib import suppress

DESCRIPTOR_BYTES = 4


def connected(path: str, seconds: float | None) -> socket.socket:
    """Return a connection to a Unix socket. Raises `OSError`."""
    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(seconds)
        link.connect(path)
    except BaseException:
        link.close()
        raise
    return link


def receive_into(link: socket.socket, room: memoryview, descriptors: list[int]) -> int:
    """Receive bytes, and the descriptors that come with them over a Unix socket; return the number of bytes."""
    if link.family != getattr(socket, "AF_UNIX", None):
        return link.recv_into(room)
    count, beside, _, _ = link.recvmsg_into([room], socket.CMSG_SPACE(DESCRIPTOR_BYTES), socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors += array("i", data)
    return count


def is_silent(link: socket.socket) -> bool:
    """Return whether the socket is open with nothing to read. Looks below TLS, which hides that."""
    link.settimeout(0)
    try:
        socket.socket.recv(link, 1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def shut_down(link: socket.socket) -> None:
    """Shut the connection down both ways, below TLS."""
    with suppress(OSError):  # the other end was quicker
        socket.socket.shutdown(link, socket.SHUT_RDWR)
