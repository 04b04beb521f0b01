"""The topology of a Redis Cluster: which server has which slots, and which slot a command belongs to."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

from redis.crc import key_slot

SLOTS = 16384
KEYLESS_SLOT = 0
"""The slot whose server answers commands without a key."""
KEYLESS = ("TIME",)
SCRIPT_COMMANDS = ("EVAL", "EVALSHA")


class Address(NamedTuple):
    """The host and port of one server."""

    host: str
    port: int


class SlotRange(NamedTuple):
    """Consecutive slots of one server, the last one included."""

    first: int
    last: int
    address: Address


class Topology:
    """The servers of a cluster by slot, as one of them told it."""

    def __init__(self, ranges: Iterable[SlotRange] = ()) -> None:
        self._ranges = sorted(ranges)
        self._firsts = [each.first for each in self._ranges]

    @classmethod
    def read(cls, answer: Sequence[Sequence[Any]], asked: Address) -> Self:
        """Return the topology in an answer to `CLUSTER SLOTS`. A server without a host has that of the asked one."""
        return cls(
            SlotRange(first, last, Address(_host(host, asked), int(port)))
            for first, last, (host, port, *_), *_ in answer
        )

    @property
    def addresses(self) -> frozenset[Address]:
        """Return the addresses of the servers that have slots."""
        return frozenset(each.address for each in self._ranges)

    def address_of(self, slot: int) -> Address | None:
        """Return the address of the server of a slot; `None` if no server has it."""
        at = bisect_right(self._firsts, slot) - 1
        return self._ranges[at].address if at >= 0 and slot <= self._ranges[at].last else None


def slot_of(command: Sequence[Any]) -> int:
    """Return the slot of a command: that of its key, or of a script's first one."""
    name = command[0]
    if name in KEYLESS:
        return KEYLESS_SLOT
    key = command[3 if name in SCRIPT_COMMANDS else 1]
    return key_slot(key if isinstance(key, bytes) else key.encode())


def _host(host: bytes | None, asked: Address) -> str:
    return host.decode() if host and host != b"?" else asked.host
