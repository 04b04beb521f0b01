"""The mark in an LMDB file: the service's name and the format number."""

from pathlib import Path

from app.store.base import IncompatibleStore
from app.store.formats import STORE_FORMAT, expect_format
from app.store.lmdb_rows import Transaction

MARK = b"optim-service"
"""The key that tells our file from another program's; its value is the format number."""


def format_of(transaction: Transaction, file: Path) -> int | None:
    """Return the format, `None` for an empty file. Raises `IncompatibleStore` if this version cannot read the file."""
    mark = transaction.get(MARK)
    if mark is None:
        if transaction.stat()["entries"]:
            raise IncompatibleStore(f"{file} is not a store of this service: name another folder")
        return None
    found = int(bytes(mark))
    expect_format(f"the store in {file.parent}", found, STORE_FORMAT)
    return found


def mark(transaction: Transaction) -> None:
    """Mark the file with this version's format."""
    transaction.put(MARK, str(STORE_FORMAT).encode())
