"""The terms of doing a write once: its idempotency key, its precondition, and the digest that it is compared by.

Knows no HTTP. A write is each request that changes a session, or makes one.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import orjson

from app.errors import PreconditionFailed, StateDamaged
from app.store.base import Head, checksum_of
from app.store.keys import UsedKey, key_digest

ANY = "*"
"""In `if_match`: whatever the session's ETag is."""


@dataclass(frozen=True, slots=True)
class Once:
    """The conditions of one write.

    `what` is its method and path, `body` the digest of its body alone, by which sessions of format 1 know a step.
    `if_match` are ETags of which the session must have one; `None` where the request names none. `known` is what the
    store has of the key, once it was asked.
    """

    what: str
    body: str = field(default_factory=lambda: checksum_of(b""))
    key: str | None = None
    if_match: frozenset[str] | None = None
    known: "Done | None" = None
    request: str = field(init=False)
    """The digest of method, path and body."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "request", checksum_of(f"{self.what}\n{self.body}".encode()))

    def with_body(self, body: memoryview) -> "Once":
        """Return the same for a request with that body."""
        return replace(self, body=checksum_of(body))

    def is_step_of(self, digest: str) -> bool:
        """Tell whether a digest that was kept of a step is that of this request, in a session of any format."""
        return digest in {self.request, self.body}

    def check(self, head: Head | None) -> None:
        """Raise `PreconditionFailed` unless the session, or none yet, is what `If-Match` names."""
        if self.if_match is None or (head is not None and not self.if_match.isdisjoint((ANY, head.etag))):
            return
        found = "there is no session yet" if head is None else f"the session's is {head.etag} by now"
        named = ", ".join(sorted(self.if_match))
        raise PreconditionFailed(f"If-Match names {named:.200}, {found}: read the session, then decide anew")


@dataclass(frozen=True, slots=True)
class Done:
    """The trace of a request with a key: its digest, and of a step what became of it."""

    request: str
    step: int | None = None
    skipped: bool = False

    def used(self, key: str) -> UsedKey:
        """Return what a store keeps of it."""
        document: dict[str, object] = {"request": self.request}
        if self.step is not None:
            document["step"] = self.step
        if self.skipped:
            document["skipped"] = True
        return UsedKey(key_digest(key), orjson.dumps(document))

    @classmethod
    def read(cls, row: bytes) -> Self:
        """Return what a store kept; members that this version does not know are ignored. Raises `StateDamaged`."""
        try:
            document = orjson.loads(row)
            return cls(document["request"], document.get("step"), document.get("skipped", False))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateDamaged(f"what the store has of this key cannot be read ({error!r}); use a new key") from error
