"""Idempotency keys as a store keeps them: those that a session has used, and the ids that creations have claimed.

A key is known by its digest. What a used key stands for is a row of bytes that the store cannot read.
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
    """A key that a save uses up, by its digest, and what the session wants to know of that later."""

    digest: str
    row: bytes


@dataclass(frozen=True, slots=True)
class KeyMemory:
    """The memory for keys: a session's last `count` always; older ones for `seconds`, within its last `most`."""

    count: int = 4096
    seconds: float = 86_400.0
    most: int = 100_000

    def is_old(self, moment: float) -> bool:
        """Tell whether that time is longer ago than keys are known for their age alone."""
        return moment <= time.time() - self.seconds

    def may_forget(self, followers: int, used_at: float) -> bool:
        """Tell whether a key may go that was used at that time, and so many others after it."""
        return followers >= self.most or (followers >= self.count and self.is_old(used_at))


TRIMMED = 4
"""How many keys one save removes at most: more than one, so that a memory which is too long gets shorter."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A session's id, taken before the session is made, for a creation with a key: sent again it makes the same one.

    `request` is the digest of the creation, `time` when the id was taken.
    """

    tenant: str
    key: str
    session_id: str
    request: str
    time: float

    def encode(self) -> bytes:
        """Return what a store keeps of it under tenant and key."""
        return orjson.dumps({"session_id": self.session_id, "request": self.request, "time": self.time})

    @classmethod
    def decode(cls, tenant: str, key: str, data: bytes) -> Self:
        """Return the claim that a store keeps; members that this version does not know are ignored.

        Raises `StateDamaged`.
        """
        try:
            document = orjson.loads(data)
            return cls(tenant, key, document["session_id"], document["request"], float(document["time"]))
        except (ValueError, KeyError, TypeError) as error:
            raise StateDamaged(
                f"what the store has of a creation's key cannot be read ({error!r}); use a new key"
            ) from error


def old_session_of(data: bytes, memory: KeyMemory) -> str | None:
    """Return the session of an old claim; `None` of a young one, and of one that cannot be read, which stays."""
    try:
        claim = Claim.decode("", "", data)
    except StateDamaged:
        return None
    return claim.session_id if memory.is_old(claim.time) else None
