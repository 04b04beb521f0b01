"""The envelope of a head: its bytes, the same in every store.

    <format> <checksum> <version> <token> <expires_at, or ->
    {"session_id": …, "tenant": …, "pieces": [[name, size, checksum], …], "leftovers": [name, …],
     "earlier": [[version, [name, size, checksum], [[name, size, checksum], null, …]], …]}
    <document>

Its outer form is that of `sealed`. The second line has no such member without leftovers, or without earlier
generations. Each of these has its document's piece and its state's; `null` is the piece that the generation after it
has at that place. Additional members of the second line and values of a piece are ignored.
"""

import time
from functools import partial
from typing import Any, NamedTuple, NoReturn

from app.errors import StateDamaged
from app.store import sealed
from app.store.base import Head, IncompatibleStore, Unreadable
from app.store.generation import read_generations, read_pieces, written_generations, written_pieces
from app.store.piece import have_sums
from app.store.sealed import seal, unseal
from app.store.stamp import Stamp

HEAD_FORMAT = 3
"""The greatest format number of a head: that of one with earlier generations, or whose pieces have sums as checksums
(`block_sums`). Versions that know only format 2 would forget the former, and take the latter for damage."""
PLAIN_HEAD_FORMAT = 2
"""The format number of all other heads."""


class Label(NamedTuple):
    """The content of the first line, unchecked: only `decode` knows whether the head is whole."""

    stamp: Stamp
    expires_at: float | None

    @property
    def expired(self) -> bool:
        """Return whether the head has expired, by the wall clock of this machine."""
        return self.expires_at is not None and self.expires_at <= time.time()


def encode(head: Head) -> bytes:
    """Return the bytes to store."""
    pieces = written_pieces(head.pieces)
    about: dict[str, Any] = {"session_id": head.session_id, "tenant": head.tenant, "pieces": pieces}
    if head.leftovers:
        about["leftovers"] = head.leftovers
    if head.earlier:
        about["earlier"] = written_generations(head.earlier, head.pieces)
    number = HEAD_FORMAT if head.earlier or have_sums(head.pieces) else PLAIN_HEAD_FORMAT
    return seal(number, sealed.Label(head.stamp, head.expires_at), about, head.document)


def decode(session_id: str, data: bytes) -> Head:
    """Return the head of `session_id`. Raises `StateDamaged`, and `IncompatibleStore` for a newer version's."""
    found = unseal(f"the head of session {session_id}", data, HEAD_FORMAT, partial(_refuse, session_id))
    known, ((version, token), expires_at) = found.about, found.label
    if known["session_id"] != session_id:
        _refuse(session_id, f"is the head of session {known['session_id']}")
    pieces = read_pieces(known["pieces"])
    leftovers = tuple(known.get("leftovers", ()))
    earlier = read_generations(known.get("earlier", ()), pieces)
    return Head(session_id, known["tenant"], version, token, found.document, pieces, expires_at, leftovers, earlier)


def listed(tenant: str, session_id: str, data: bytes | memoryview | None) -> list[Head | Unreadable]:
    """Return the entry of a tenant's list for a session in its index.

    No entry if the session does not exist, has expired, or belongs to another tenant by now. A head that cannot be read
    must not hide the others.
    """
    if data is None or has_expired(data):
        return []
    try:
        head = decode(session_id, bytes(data))
    except (StateDamaged, IncompatibleStore) as error:
        return [Unreadable(session_id, error)]
    return [head] if head.tenant == tenant else []


def peek(session_id: str, data: bytes | memoryview) -> Label:
    """Return the first line of a head; `data` are at least its first `LABEL_BYTES`."""
    return Label(*sealed.label_of(data, partial(_refuse, session_id)))


def has_expired(data: bytes | memoryview) -> bool:
    """Return whether a head has expired; `data` as for `peek`. A damaged one stays, to be seen and deleted: `False`."""
    try:
        return peek("", data).expired
    except StateDamaged:
        return False


def _refuse(session_id: str, why: str) -> NoReturn:
    raise StateDamaged(
        f"session {session_id}: its head {why}; restore the store from a backup, or delete the session and upload a "
        f"saved state into a new one"
    )
