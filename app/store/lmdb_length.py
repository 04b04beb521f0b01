"""Whether an LMDB file was cut short: to read what is missing at its end would kill the process.

A file may be shorter than its pages and whole: LMDB does not write those at the end that a transaction took and gave
back. So each transaction notes how long the file was when it began, and a file that is shorter than that was cut.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from app.errors import StateDamaged

if TYPE_CHECKING:
    import lmdb

    Transaction: TypeAlias = lmdb.Transaction[memoryview]

NOTE = b"optim-service length"


def note(transaction: "Transaction", length: int) -> None:
    """Say in a transaction that writes how long the file is."""
    if _noted(transaction) != length:
        transaction.put(NOTE, str(length).encode())


def _noted(transaction: "Transaction") -> int | None:
    noted = transaction.get(NOTE)
    return None if noted is None else int(bytes(noted))


@contextmanager
def checked(environment: "lmdb.Environment", transaction: "Transaction", file: Path) -> Iterator[None]:
    """Raise `StateDamaged` for a file that was cut; one that is whole is made as long as its pages.

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
