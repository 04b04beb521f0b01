"""Regions: memory that the service shares with one client on its own machine. Knows no route.

A large body and its answer then pass no socket. A region is asked for over a connection of a Unix socket, belongs to
it, and is gone with it. For one trust domain: a client may write into a region at any time, also while it is read. So:

Rule 1: the service makes the memory, and seals its size: a shrunk file would kill the process that reads its end.
Rule 2: nothing in a region is read as text or as a length but from a copy (see `app/wire/safetensors_tensors.py`).
Rule 3: arrays of a region are read as numbers alone, as often as need be: a client that changes them meanwhile spoils
    its own step.
Rule 4: views keep the memory: a connection that is lost in the middle of a step takes nothing from under it. Until the
    last view is gone the bytes count.

A region has no name in a file system, so a crash leaves nothing behind.
"""

import asyncio
import mmap
import os
import re
import socket
import sys
from collections.abc import Callable, Collection
from typing import NamedTuple
from weakref import WeakSet

from app.errors import BodyTooLarge, MalformedHeader, Overloaded

REGIONS_EXTENSION = "optim.regions"
"""The key of a connection's `Regions` in the ASGI scope's extensions."""
HEADER = "x-optim-regions"
"""The request's header: the places of its body and of its answer. The answer's: the answer's bytes."""
PLACES = re.compile(r"(\d{1,9}):(\d{1,15}):(\d{1,15}) (\d{1,9}):(\d{1,15}):(\d{1,15})", re.ASCII)
MOST_REGIONS = 16
"""The most regions of one connection."""
MOST_IN_ALL = 4096
"""The most regions of a process, where it may have four times as many files: each takes a descriptor."""
ENVELOPE = b"HTTP/1.1 103 Early Hints\r\n\r\n"
"""The interim answer that carries a descriptor, so that whatever speaks HTTP there can pass it over."""


class Places(NamedTuple):
    """The body of a request in a region, which is read-only, and the room for its answer."""

    body: memoryview
    room: memoryview


class RegionMemory:
    """The memory of all regions of a process, within `limit` bytes; one connection may have half of it.

    `report` is told of the bytes that open connections have.
    """

    def __init__(self, limit: int, report: Callable[[int], None] = lambda nbytes: None) -> None:
        self.limit = limit
        self._report = report
        self._leased = 0
        self._memories: WeakSet[mmap.mmap] = WeakSet()

    def make(self, nbytes: int, has: int) -> tuple[mmap.mmap, int]:
        """Return new memory for a connection that `has` so many bytes, and its descriptor.

        Raises `BodyTooLarge` beyond the connection's share, and `Overloaded` where others have the memory.
        """
        if has + nbytes > self.limit // 2:
            raise BodyTooLarge(
                f"the regions of a connection may have {self.limit // 2} bytes, this one has {has} and asks for "
                f"{nbytes}: send the body, or raise OPTIM_MAX_REGION_BYTES",
                limit=self.limit // 2,
            )
        if sum(map(len, self._memories)) + nbytes > self.limit or len(self._memories) >= _most_in_all():
            raise Overloaded("no memory is left for regions: send the body, or raise OPTIM_MAX_REGION_BYTES")
        try:
            memory, descriptor = _sealed(nbytes)
        except OSError as error:
            raise Overloaded(f"no memory for a region of {nbytes} bytes: send the body") from error
        self._memories.add(memory)
        return memory, descriptor

    def count(self, nbytes: int) -> None:
        """Count bytes that a connection gets, or, below zero, gives back."""
        self._leased += nbytes
        self._report(self._leased)


class Regions:
    """The regions of one connection, by numbers that no other connection knows them by."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._memories: dict[int, mmap.mmap] = {}
        self._last = 0
        self._of: RegionMemory | None = None

    def lease(self, of: RegionMemory, nbytes: int, free: Collection[int]) -> int:
        """Give back the regions `free`, make one of `nbytes` bytes, and send its descriptor; return its number.

        Raises `Overloaded` and `BodyTooLarge`. A region that is given back already does not matter.
        """
        self._of = of
        for number in free:
            of.count(-len(self._memories.pop(number, b"")))
        if len(self._memories) >= MOST_REGIONS:
            raise Overloaded(f"a connection may have {MOST_REGIONS} regions: give one back first")
        memory, descriptor = of.make(nbytes, sum(map(len, self._memories.values())))
        try:
            self._send(descriptor)
        finally:
            os.close(descriptor)
        self._last += 1
        self._memories[self._last] = memory
        of.count(nbytes)
        return self._last

    def places(self, header: str) -> Places:
        """Return the places that a request names. Raises `MalformedHeader`."""
        match = PLACES.fullmatch(header)
        if match is None:
            raise MalformedHeader(f"X-Optim-Regions {header!r:.80} is not two places, such as 1:0:4096 2:0:8192")
        numbers = [int(group) for group in match.groups()]
        return Places(self._part(*numbers[:3]).toreadonly(), self._part(*numbers[3:]))

    def close(self) -> None:
        """Forget the regions when the connection is lost. A step that reads one keeps its memory until it ends."""
        if self._of is not None:
            self._of.count(-sum(map(len, self._memories.values())))
        self._memories.clear()

    def _part(self, number: int, start: int, nbytes: int) -> memoryview:
        memory = self._memory(number)
        if start + nbytes > len(memory):
            raise MalformedHeader(f"region {number} has {len(memory)} bytes, not {start + nbytes}")
        return memoryview(memory)[start : start + nbytes]

    def _memory(self, number: int) -> mmap.mmap:
        memory = self._memories.get(number)
        if memory is None:
            raise MalformedHeader(f"this connection has no region {number}: ask for one on the connection that uses it")
        return memory

    def _send(self, descriptor: int) -> None:
        """Send the descriptor with an interim answer, past the transport, which must have nothing left to write."""
        if self._transport.is_closing() or self._transport.get_write_buffer_size():
            raise Overloaded("the connection is not free for a region: send the body")
        try:
            with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as link:
                sent = socket.send_fds(link, [ENVELOPE], [descriptor])
        except OSError as error:
            raise Overloaded("the connection takes no region: send the body") from error
        if sent != len(ENVELOPE):  # the rest cannot follow in order
            self._transport.abort()


def _most_in_all() -> int:
    import resource  # noqa: PLC0415 - not on Windows

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_IN_ALL if files == resource.RLIM_INFINITY else min(MOST_IN_ALL, files // 4)


def offered(transport: asyncio.Transport) -> bool:
    """Return whether a connection may have regions: over a Unix socket, on Linux."""
    link = transport.get_extra_info("socket")
    return sys.platform == "linux" and link is not None and link.family == socket.AF_UNIX


def _sealed(nbytes: int) -> tuple[mmap.mmap, int]:
    """Return memory whose size nobody can change, and its descriptor. Raises `OSError`."""
    import fcntl  # noqa: PLC0415 - not on Windows

    descriptor = os.memfd_create("optim-region", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, nbytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return mmap.mmap(descriptor, nbytes), descriptor
    except BaseException:
        os.close(descriptor)
        raise
