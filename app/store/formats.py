"""Format numbers: the store's own, and the refusal of a later one.

Four written forms age apart, each with a number of its own: a store as a whole (`STORE_FORMAT`), a session's head
(`HEAD_FORMAT` in `envelope.py`), its document (`DOCUMENT_FORMAT` in `app/session.py`) and the ledger of its workers
(`LEDGER_FORMAT` in `ledger_envelope.py`).
"""

from app.store.base import IncompatibleStore

STORE_FORMAT = 2
"""The number that marks a store. An older store gets this mark when it is opened, and its content is read as it is.
Raise it when earlier versions must not open the store at all."""


def newer_format(subject: str, found: int, known: int) -> str:
    """Return the message for a format that only a newer version can read."""
    return (
        f"{subject} has format {found}, of a newer version of this service; this version reads up to format {known}: "
        "run the newer version"
    )


def expect_format(subject: str, found: int, known: int) -> None:
    """Raise `IncompatibleStore` when the format is later than the last one known."""
    if found > known:
        raise IncompatibleStore(newer_format(subject, found, known))
