"""A stored session as a stream of members: the form in which a backup has it, the same for all stores.

A member is a name and bytes:

    about         {"session_id": …, "tenant": …, "tenant_digest": …}; the tenant is null if the store cannot tell it
    head          an envelope
    ledger        an envelope, of a session with workers
    history/1…    frames of [step, version] and a row
    thinned       [doublings, older, hand, left, notable]: how far a long history is thinned (`thinning.Thinning`)
    marks/1…      frames of [version, kind] and a mark
    keys/1…       frames of [time, digest] and a used key's row, the oldest first
    piece/<name>  a piece's bytes

The claims of creations are members `claims/1…` beside the sessions: frames of [tenant, tenant's digest, key's digest,
time of the session's creation or null] and a claim. `about` comes first and pieces last.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import orjson

from app.errors import StateDamaged
from app.store.keys import key_digest

MEMBER_BYTES = 1 << 20
"""The size at which frames go on in the next member."""
PIECE = "piece/"


class Member(NamedTuple):
    """One member of a session, or of the claims."""

    name: str
    data: bytes | memoryview

    @property
    def kind(self) -> str:
        """Return the name without a number or a piece's name."""
        return self.name.partition("/")[0]


class Frame(NamedTuple):
    """One row of a member: what the store must know of it, and the bytes that it does not understand."""

    values: Sequence[Any]
    body: bytes


class About(NamedTuple):
    """The identity of a session, whatever its head says."""

    session_id: str
    tenant: str | None
    tenant_digest: str

    @classmethod
    def of(cls, session_id: str, tenant: str) -> Self:
        return cls(session_id, tenant, key_digest(tenant))

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Self:
        return cls(**orjson.loads(data))

    def member(self) -> Member:
        return Member("about", orjson.dumps(self._asdict()))


async def framed(kind: str, frames: AsyncIterator[Frame]) -> AsyncIterator[Member]:
    """Yield the members that have these frames, each of about `MEMBER_BYTES` at most."""
    number, size, parts = 0, 0, list[bytes]()
    async for values, body in frames:
        parts += (orjson.dumps([*values, len(body)]), b"\n", body, b"\n")
        size += len(body) + 64
        if size >= MEMBER_BYTES:
            number += 1
            yield Member(f"{kind}/{number}", b"".join(parts))
            size, parts = 0, []
    if parts:
        yield Member(f"{kind}/{number + 1}", b"".join(parts))


def frames_of(member: Member) -> Iterator[Frame]:
    """Yield the frames of a member. Raises `StateDamaged` for bytes that are none."""
    data, start = bytes(member.data), 0
    while start < len(data):
        first = data.find(b"\n", start) + 1
        try:
            *values, size = orjson.loads(data[start:first])
            start = first + size + 1
        except (ValueError, TypeError) as error:
            raise StateDamaged(f"{member.name} of a backup cannot be read: {error}") from error
        if start > len(data):
            raise StateDamaged(f"{member.name} of a backup cannot be read: its end is missing")
        yield Frame(values, data[first : start - 1])


class Source(ABC):
    """A store that a backup reads, without a change to it. Services may use it meanwhile."""

    kind: ClassVar[str]
    is_of_one_moment: ClassVar[bool]
    """True if all sessions are read as they were at the same moment."""
    format: int

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *_: object) -> None: ...

    @abstractmethod
    def sessions(self) -> AsyncIterator[About]:
        """Yield all sessions, of all tenants. Some may be gone."""

    @abstractmethod
    def members(self, about: About) -> AsyncIterator[Member]:
        """Yield the members of a session as it is at one moment; none if it is gone.

        Damaged members are yielded as they are, and lost ones not at all. Raises `VersionConflict` if the session moved
        on before all could be read.
        """

    @abstractmethod
    def claims(self) -> AsyncIterator[Member]:
        """Yield the members of the claims."""


class Target(ABC):
    """An empty store that a restore fills. No service opens it until all is there, and a restore that was interrupted
    is begun again."""

    kind: ClassVar[str]

    @abstractmethod
    async def begin(self, backup: str) -> None:
        """Begin with the backup of this id. Raises `StoreUnavailable` if the store has sessions of anything else."""

    @abstractmethod
    async def put(self, about: About, head: bytes, members: Iterator[Member]) -> bool:
        """Put a session whose members after the head are these; return False if it has expired."""

    @abstractmethod
    async def put_claims(self, member: Member) -> int:
        """Put the claims of a member; return how many could not be kept, as the store needs their tenants' names."""

    @abstractmethod
    async def finish(self) -> None:
        """Make the store one that services open."""

    @abstractmethod
    async def close(self) -> None:
        """Close it, also if it is not finished."""
