"""The length of an LMDB file: a truncated file is refused, for reading past its end kills the process.

A whole file may be shorter than its pages: LMDB does not write the last ones if a transaction took them and gave them
back. So each transaction notes the file's length at its start, and a file that is shorter than the note was truncated.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.errors import StateDamaged
from app.store.lmdb_rows import Environment, Transaction

NOTE = b"optim-service length"


def note(transaction: Transaction, length: int) -> None:
    """Note the file's length, in a transaction that writes."""
    if _noted(transaction) != length:
        transaction.put(NOTE, str(length).encode())


def _noted(transaction: Transaction) -> int | None:
    noted = transaction.get(NOTE)
    return None if noted is None else int(bytes(noted))


@contextmanager
def checked(environment: Environment, transaction: Transaction, file: Path) -> Iterator[None]:
    """Raise `StateDamaged` for a truncated file; make a whole one as long as its pages.

    The transaction must be one that writes: then nobody else does. A file that is refused, here or within the `with`,
    is left as it was.
    """
    pages = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    found = file.stat().st_size
    if found < pages:
        os.truncate(file, pages)
    try:
        noted = _noted(transaction)
        needed = pages if noted is None else min(pages, noted)  # a compact copy has fewer pages
        if found < needed:
            raise StateDamaged(f"{file} has {found} of at least {needed} bytes: restore it from a backup")
        yield
    except BaseException:
        if found < pages:
            os.truncate(file, found)
        raise
