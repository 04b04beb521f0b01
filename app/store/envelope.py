"""The envelope of a head: its bytes, the same in every store.

    <format> <checksum> <version> <token> <expires_at, or ->
    {"session_id": …, "tenant": …, "pieces": [[name, size, checksum], …], "leftovers": [name, …],
     "earlier": [[version, [name, size, checksum], [[name, size, checksum], null, …]], …]}
    <document>

The second line is one line. It has no such member without leftovers, or without earlier generations. Each of these has
its document's piece and its state's; `null` is the piece that the generation after it has at that place. The first line
is plain text: the Redis script, a sweep and a person can read it without the rest. The checksum covers all but itself.
The places of format and checksum never change, so that a later format differs from damage. Additional words of the
first line, members of the second and values of a piece are ignored: a later version of the same format may add them.
"""

import time
from typing import Any, NamedTuple, NoReturn

import orjson

from app.errors import StateDamaged
from app.store.base import Head, IncompatibleStore, Stamp, Unreadable
from app.store.formats import expect_format
from app.store.generation import read_generations, read_pieces, written_generations, written_pieces
from app.store.piece import checksum_of, have_sums

HEAD_FORMAT = 3
"""The greatest format number of a head: that of one with earlier generations, or whose pieces have sums as checksums
(`block_sums`). Versions that know only format 2 would forget the former, and take the latter for damage."""
PLAIN_HEAD_FORMAT = 2
"""The format number of all other heads."""
LABEL_BYTES = 256
"""The longest first line."""


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
    expires = "-" if head.expires_at is None else repr(head.expires_at)
    label = f"{head.version} {head.token} {expires}"
    body = b"\n".join((label.encode(), orjson.dumps(about), head.document))
    number = HEAD_FORMAT if head.earlier or have_sums(head.pieces) else PLAIN_HEAD_FORMAT
    checksum = checksum_of(b"%d %s" % (number, body))
    return b"%d %s %s" % (number, checksum.encode(), body)


def decode(session_id: str, data: bytes) -> Head:
    """Return the head of `session_id`. Raises `StateDamaged`, and `IncompatibleStore` for a newer version's."""
    number, _, rest = data.partition(b" ")
    checksum, _, body = rest.partition(b" ")
    if checksum_of(number + b" " + body).encode() != checksum:
        _refuse(session_id, "does not fit its checksum")
    expect_format(f"the head of session {session_id}", int(number), HEAD_FORMAT)
    _, about, document = body.split(b"\n", 2)
    known = orjson.loads(about)
    if known["session_id"] != session_id:
        _refuse(session_id, f"is the head of session {known['session_id']}")
    (version, token), expires_at = peek(session_id, data)
    pieces = read_pieces(known["pieces"])
    leftovers = tuple(known.get("leftovers", ()))
    earlier = read_generations(known.get("earlier", ()), pieces)
    return Head(session_id, known["tenant"], version, token, document, pieces, expires_at, leftovers, earlier)


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
    try:
        _, _, version, token, expires, *_ = bytes(data[:LABEL_BYTES]).partition(b"\n")[0].decode().split(" ")
        return Label(Stamp(int(version), token), None if expires == "-" else float(expires))
    except ValueError:
        _refuse(session_id, "has no readable first line")


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
