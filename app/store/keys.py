"""Idempotency keys in a store: the keys that a session has used, and the ids that creations have claimed.

A store knows a key by its digest. A used key has a row: bytes that the store does not understand.
"""

import time
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple, Self

import orjson

from app.errors import StateDamaged


def key_digest(key: str) -> str:
    """Return the name of a key in a store: 32 hexadecimal digits."""
    return blake2b(key.encode(), digest_size=16).hexdigest()


class UsedKey(NamedTuple):
    """A key that a save uses, by its digest, and the row that the session will ask for later."""

    digest: str
    row: bytes


@dataclass(frozen=True, slots=True)
class KeyMemory:
    """The rule for keys to keep: a session's last `count`, and older ones for `seconds` within its last `most`."""

    count: int = 4096
    seconds: float = 86_400.0
    most: int = 100_000

    def is_old(self, moment: float) -> bool:
        """Return whether that time is more than `seconds` ago."""
        return moment <= time.time() - self.seconds

    def may_forget(self, followers: int, used_at: float) -> bool:
        """Return whether a key may go that was used at that time, and followed by so many others."""
        return followers >= self.most or (followers >= self.count and self.is_old(used_at))


TRIMMED = 4
"""The most keys that one save removes: more than one, so that too long a memory gets shorter."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A session's id, claimed for a creation with a key before the session exists: sent again, it has the same id.

    `request` is the digest of the creation, `time` the time of the claim.
    """

    tenant: str
    key: str
    session_id: str
    request: str
    time: float

    def encode(self) -> bytes:
        """Return the bytes that a store keeps under tenant and key."""
        return orjson.dumps({"session_id": self.session_id, "request": self.request, "time": self.time})

    @classmethod
    def decode(cls, tenant: str, key: str, data: bytes) -> Self:
        """Return the claim in a store's bytes; members that this version does not know are ignored.

        Raises `StateDamaged`.
        """
        try:
            document = orjson.loads(data)
            return cls(tenant, key, document["session_id"], document["request"], float(document["time"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StateDamaged(f"the claim of this creation's key cannot be read ({error!r}); use a new key") from error


def old_session_of(data: bytes, memory: KeyMemory) -> str | None:
    """Return the session of an old claim; `None` for a young one, and for an unreadable one, which stays."""
    try:
        claim = Claim.decode("", "", data)
    except StateDamaged:
        return None
    return claim.session_id if memory.is_old(claim.time) else None
