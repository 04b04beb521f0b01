"""Regions: memory that the service shares with this process, so that a large body and its answer pass no socket.

A region belongs to one connection of a Unix socket, and the service forgets it when that is closed. Its arrays stay:
they keep the memory. As in `_buffers.py`, no array changes under its owner: a region is used again once nobody views
it.

A fork would share the memory between parent and child, so before one every region becomes memory of its process alone
(copy-on-write, nothing is copied), and is not used for a request again.
"""

import ctypes
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from optim_client._protocol import Buffer, Request, Response

HEADER = "x-optim-regions"
"""The request's header: the places of its body and of its answer. The answer's: the answer's bytes."""
NUMBER = "x-optim-region"
"""The header with the number of a new region."""
SMALLEST_BYTES = 1 << 20
"""The shortest body for a region."""
BESIDE_BYTES = 1 << 18
"""The room for what an answer has besides the arrays of its request: metrics, and warnings."""
COPIED_ALONE_BYTES = 1 << 23
"""The most bytes that one thread copies: a second one takes a tenth of a millisecond to start."""
ASKS_AGAIN_SECONDS = 60.0
"""The time after which a connection asks again for a region, once the service has refused one."""
MAP_FIXED = 0x10
"""Linux's flag for a mapping that replaces what is at its address."""

Memory = NDArray[np.uint8]
Ask = Callable[[int, Sequence[int]], "tuple[int, int] | None"]
"""A function that asks the service for a region of so many bytes and gives back others; it returns the number and the
descriptor, or `None` where the service has none."""

if sys.platform == "linux":
    from fcntl import F_GET_SEALS, F_SEAL_SHRINK, fcntl

_living: "WeakValueDictionary[int, Region]" = WeakValueDictionary()


class Region:
    """A region, mapped. `start` is where the array begins that was made in it, after the room for a header."""

    def __init__(self, number: int, descriptor: int, nbytes: int) -> None:
        """Map `nbytes` bytes of the descriptor, which is the region's from now on. Raises `OSError`."""
        self._descriptor = descriptor
        self.number = number
        self.start = 0
        self.is_shared = True
        if os.fstat(descriptor).st_size < nbytes or not fcntl(descriptor, F_GET_SEALS) & F_SEAL_SHRINK:
            raise OSError("a region that could end before its bytes do")
        self.memory: Memory = np.frombuffer(mmap.mmap(descriptor, nbytes), np.uint8)
        self.address = _address(self.memory)
        _living[id(self)] = self

    def make_private(self) -> None:
        """Map the same bytes anew, so that nothing written from now on passes to another process."""
        self.is_shared = False
        length, protection = len(self.memory), mmap.PROT_READ | mmap.PROT_WRITE
        made = _mmap()(self.address, length, protection, mmap.MAP_PRIVATE | MAP_FIXED, self._descriptor, 0)
        if made != self.address:
            raise MemoryError(f"a region of {length} bytes stays shared with a forked process")

    def __del__(self) -> None:
        os.close(self._descriptor)


class Regions:
    """The regions of one connection. One thread takes them; any thread may end a loan."""

    def __init__(self) -> None:
        self._is_closed = False
        self._asks_from = 0.0
        """The time from which on the service may be asked again, once it has refused a region."""
        self._idle: list[Region] = []
        self._given_up: list[int] = []
        """The numbers of regions that can no longer be used, which the service is told when it is asked for one."""
        self._rooms: list[Region] = []
        """The regions in which arrays are made."""

    def take(self, nbytes: int, ask: Ask, start: int = 0) -> "Loan | None":
        """Return the loan of a region of at least that many bytes; its arrays begin at `start`."""
        region = self._fitting(nbytes) or self._asked(nbytes, ask)
        if region is None:
            return None
        region.start = start
        if start:
            self._rooms.append(region)
        return Loan(self, region)

    def end_loan(self, region: Region) -> None:
        """Take the region back: nobody views it."""
        if region in self._rooms:
            self._rooms.remove(region)
        if not region.is_shared:
            self._given_up.append(region.number)
        elif not self._is_closed:
            self._idle.append(region)

    def close(self) -> None:
        """Let go of the regions that nobody views: the connection is closed."""
        self._is_closed = True
        self._idle.clear()

    def room_of(self, buffers: Sequence[Buffer]) -> Region | None:
        """Return the region that has the buffers after the first in a row from its start on.

        Small arrays come as a copy, in `bytes`, which has no place in a region: the region must have the same bytes.
        """
        if not self._rooms:
            return None
        first, *rest = buffers
        parts = list(zip(accumulate(map(len, rest), initial=0), rest, strict=False))
        copies = [(offset, part) for offset, part in parts if isinstance(part, bytes)]
        views = [(offset, part) for offset, part in parts if len(part) and not isinstance(part, bytes)]
        begins = {_address(np.frombuffer(part, np.uint8)) - offset for offset, part in views}
        for region in list(self._rooms):
            if begins == {region.address + region.start} and len(first) <= region.start and region.is_shared:
                made = region.memory[region.start :]
                return region if all(made[at : at + len(part)].tobytes() == part for at, part in copies) else None
        return None

    def _fitting(self, nbytes: int) -> Region | None:
        for region in [*self._idle]:
            if not region.is_shared:
                self._idle.remove(region)
                self._given_up.append(region.number)
            elif nbytes <= len(region.memory) <= 2 * nbytes:
                self._idle.remove(region)
                return region
        return None

    def _asked(self, nbytes: int, ask: Ask) -> Region | None:
        """Return a new region. Where the service has none, the idle ones are given back for it."""
        if time.monotonic() < self._asks_from:
            return None
        size = nbytes + nbytes // 8
        size += -size % mmap.PAGESIZE
        told = [*self._given_up]
        made = ask(size, told)
        while made is None and self._idle:
            told += [self._idle.pop().number]
            made = ask(size, told)
        if made is None:
            self._asks_from = time.monotonic() + ASKS_AGAIN_SECONDS
            return None
        for number in told:
            if number in self._given_up:
                self._given_up.remove(number)
        try:
            return Region(*made, size)
        except OSError:
            self._given_up.append(made[0])
            return None


class Loan:
    """The owner that each view of a region keeps alive: its end returns the region."""

    __slots__ = ("__array_interface__", "_regions", "region")

    def __init__(self, regions: Regions, region: Region) -> None:
        self._regions = regions
        self.region = region
        self.__array_interface__: dict[str, Any] = {
            "shape": (len(region.memory) - region.start,),
            "typestr": "|u1",
            "data": (region.address + region.start, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._regions.end_loan(self.region)


@dataclass(frozen=True, slots=True)
class Placed:
    """A request whose body lies in a region, and the loans that it needs until its answer has come."""

    request: Request
    room: Loan
    body: Loan | None
    home: Region
    """The region of the body."""

    def let_go(self) -> None:
        """Hide what the caller writes from now on from the service, which may still read this request."""
        if self.home.is_shared:
            self.home.make_private()

    def answered(self, response: Response) -> Response:
        """Return the answer, its body as a view of the room if the service has written it there.

        Raises `ValueError`.
        """
        if HEADER not in response.headers:
            return response
        room, nbytes = np.asarray(self.room), int(response.headers[HEADER])
        if not 0 <= nbytes <= len(room):
            raise ValueError(f"an answer of {nbytes} bytes in a room of {len(room)}")
        return replace(response, body=room.data[:nbytes])


def is_for(request: Request) -> bool:
    """Return whether regions are for a request like this: a step, in buffers."""
    return request.method == "POST" and request.path.endswith("/steps") and isinstance(request.body, list)


def place(request: Request, regions: Regions, ask: Ask) -> Placed | None:
    """Return the request with its body in a region, copied there unless it was made in one.

    `None` where the body is short, or the service has no region for it.
    """
    buffers = request.body
    assert isinstance(buffers, list)
    nbytes = sum(map(len, buffers))
    if nbytes < SMALLEST_BYTES or (room := regions.take(nbytes + BESIDE_BYTES, ask)) is None:
        return None
    body, home = None, regions.room_of(buffers)
    if home is None:
        body = regions.take(nbytes, ask)
        if body is None:
            return None
        home, start = body.region, 0
        _copy(buffers, home.memory)
    else:
        start = home.start - len(buffers[0])
        home.memory[start : home.start] = np.frombuffer(buffers[0], np.uint8)
    if not (home.is_shared and room.region.is_shared):
        return None  # the process forked meanwhile, and the service may not see all bytes
    places = f"{home.number}:{start}:{nbytes} {room.region.number}:0:{len(room.region.memory)}"
    return Placed(replace(request, headers={**request.headers, HEADER: places}, body=b""), room, body, home)


def _copy(buffers: Sequence[Buffer], target: Memory) -> None:
    """Copy the buffers to the target, one after the other; large ones with two threads."""
    end = 0
    for buffer in buffers:
        start, end = end, end + len(buffer)
        source, half = np.frombuffer(buffer, np.uint8), 0
        if len(buffer) > COPIED_ALONE_BYTES:
            half = len(buffer) // 2
            other = threading.Thread(target=np.copyto, args=(target[start : start + half], source[:half]))
            other.start()
        target[start + half : end] = source[half:]
        if half:
            other.join()


def _address(memory: Memory) -> int:
    return int(memory.__array_interface__["data"][0])


def _make_private() -> None:
    """Make every region private, before a fork."""
    for reference in _living.valuerefs():
        region = reference()
        if region is not None and region.is_shared:
            region.make_private()


def _mmap() -> Any:
    """Return the system's `mmap`, which can replace a mapping in place; Python's cannot."""
    function = ctypes.CDLL(None).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    return function


if sys.platform == "linux":
    os.register_at_fork(before=_make_private)
