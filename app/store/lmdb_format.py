"""The mark in an LMDB file: whose it is, and of which form."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from app.store.base import FORMAT, IncompatibleStore

if TYPE_CHECKING:
    import lmdb

    Transaction: TypeAlias = lmdb.Transaction[memoryview]

MARK = b"optim-service"
"""The key that tells our file from another's; its value is the format's number."""


def form_of(transaction: "Transaction", file: Path) -> int | None:
    """The form, `None` for an empty file. Raises `IncompatibleStore` for one that this version cannot read."""
    mark = transaction.get(MARK)
    if mark is None:
        if transaction.stat()["entries"]:
            raise IncompatibleStore(f"{file} is not a store of this service: name another folder")
        return None
    form = int(bytes(mark))
    if form > FORMAT:
        raise IncompatibleStore(
            f"the store in {file.parent} has form {form}, of a newer version of this service; this one reads up to "
            f"form {FORMAT}: run the newer version"
        )
    return form


def mark(transaction: "Transaction") -> None:
    """Say that it is of this version's form."""
    transaction.put(MARK, str(FORMAT).encode())
