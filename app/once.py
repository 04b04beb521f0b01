"""The conditions of a write: its idempotency key, its precondition, and the digest that identifies its request.

Knows no HTTP. A write is a request that creates, changes or deletes a session.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import orjson

from app.errors import PreconditionFailed, StateDamaged
from app.running_checksum import RunningChecksum
from app.store.base import Head
from app.store.keys import UsedKey, key_digest
from app.store.piece import PIECE_BYTES, checksum_of, new_checksum

NO_BODY = checksum_of(b"")
READ_LATER_BYTES = 4 * PIECE_BYTES
"""The least bytes of a step's body that is read while the step is computed: the step is a large one then."""
ANY = "*"
"""The member of `if_match` that matches every ETag."""


@dataclass(frozen=True)
class Once:
    """The conditions of one write.

    `what` is its method and path. `body` is the digest of its body alone, which identifies a step in sessions of format
    1; that of a step's large body is taken while the step is computed, or when it is needed. `if_match` has the ETags
    that the session may have; `None` if the request names none. `known` is the store's record of the key, once loaded.
    """

    what: str
    body: str | RunningChecksum = NO_BODY
    key: str | None = None
    if_match: frozenset[str] | None = None
    known: "Done | None" = None

    @cached_property
    def request(self) -> str:
        """Return the digest of method, path and body."""
        return checksum_of(f"{self.what}\n{self.body_digest}".encode())

    @cached_property
    def body_digest(self) -> str:
        """Return the digest of the body alone."""
        return self.body if isinstance(self.body, str) else str(self.body.whole().hexdigest())

    def with_body(self, body: memoryview) -> "Once":
        """Return the conditions of the same request with this body."""
        return Once(self.what, checksum_of(body), self.key, self.if_match, self.known)

    def with_body_of_step(self, body: memoryview) -> "Once":
        """Return the same, but a large body is not read yet: `advance` reads a share of it."""
        if len(body) < READ_LATER_BYTES:
            return self.with_body(body)
        return Once(self.what, RunningChecksum(body, new_checksum()), self.key, self.if_match, self.known)

    def advance(self, share: float) -> None:
        """Read the body up to a share of its bytes, between 0 and 1, if it was not read before."""
        if isinstance(self.body, RunningChecksum):
            self.body.advance(int(share * len(self.body.data)))

    def is_step_of(self, digest: str) -> bool:
        """Return whether a step's kept digest is that of this request, in a session of any format."""
        return digest in (self.request, self.body_digest)

    def check(self, head: Head | None) -> None:
        """Raise `PreconditionFailed` if `If-Match` names ETags and the session has none of them, or does not exist."""
        if self.if_match is None or (head is not None and not self.if_match.isdisjoint((ANY, head.etag))):
            return
        found = "but the session does not exist yet" if head is None else f"but the session has {head.etag} now"
        named = ", ".join(sorted(self.if_match))
        raise PreconditionFailed(f"If-Match names {named:.200}, {found}: read the session, then decide again")


@dataclass(frozen=True, slots=True)
class Done:
    """The record of a request with a key: its digest, and for a step its number and what became of it."""

    request: str
    step: int | None = None
    skipped: bool = False
    undone: bool = False

    def used(self, key: str) -> UsedKey:
        """Return the record as a store keeps it."""
        document: dict[str, object] = {"request": self.request}
        if self.step is not None:
            document["step"] = self.step
        if self.skipped:
            document["skipped"] = True
        if self.undone:
            document["undone"] = True
        row = bytes(memoryview(orjson.dumps(document)))  # a copy: orjson's own bytes keep the memory of 4,000
        return UsedKey(key_digest(key), row)

    @classmethod
    def read(cls, row: bytes) -> Self:
        """Read a record from a store's row; ignore unknown members. Raises `StateDamaged`."""
        try:
            document = orjson.loads(row)
            outcome = document.get("skipped", False), document.get("undone", False)
            return cls(document["request"], document.get("step"), *outcome)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateDamaged(f"the store's record of this key cannot be read ({error!r}); use a new key") from error
