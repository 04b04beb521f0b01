"""The envelope of a ledger: its bytes, the same in every store.

    <format> <checksum> <version> <token> <due_at, or ->
    {"session_id": …, "pieces": [[name, size, checksum], …]}
    <document>

Its outer form is that of `sealed`. Additional members of the second line and values of a piece are ignored.
"""

from functools import partial
from typing import NoReturn

from app.errors import StateDamaged
from app.store.generation import read_pieces, written_pieces
from app.store.ledger import Ledger
from app.store.sealed import Label, label_of, seal, unseal

LEDGER_FORMAT = 1
"""The format number of a ledger. Raise it when earlier versions must not read one."""


def encode(ledger: Ledger) -> bytes:
    """Return the bytes to store."""
    about = {"session_id": ledger.session_id, "pieces": written_pieces(ledger.pieces)}
    return seal(LEDGER_FORMAT, Label(ledger.stamp, ledger.due_at), about, ledger.document)


def decode(session_id: str, data: bytes) -> Ledger:
    """Return the ledger of `session_id`. Raises `StateDamaged`, and `IncompatibleStore` for a newer version's."""
    found = unseal(f"the ledger of session {session_id}", data, LEDGER_FORMAT, partial(_refuse, session_id))
    known, ((version, token), due_at) = found.about, found.label
    if known["session_id"] != session_id:
        _refuse(session_id, f"is the ledger of session {known['session_id']}")
    return Ledger(session_id, version, token, found.document, read_pieces(known["pieces"]), due_at)


def peek(session_id: str, data: bytes | memoryview) -> Label:
    """Return the first line of a ledger; `data` are at least its first `LABEL_BYTES`."""
    return label_of(data, partial(_refuse, session_id))


def _refuse(session_id: str, why: str) -> NoReturn:
    raise StateDamaged(
        f"session {session_id}: the ledger of its workers {why}; restore the store from a backup, or fork the session, "
        f"whose state is whole, and delete this one"
    )
