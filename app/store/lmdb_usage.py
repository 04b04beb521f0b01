"""The room that sessions take in an LMDB file."""

import os
from dataclasses import fields
from pathlib import Path

from app.store.lmdb_rows import Transaction
from app.store.lmdb_tables import Tables
from app.store.usage import Usage


def usage(transaction: Transaction, tables: Tables, folder: Path, map_bytes: int) -> Usage:
    """Return the room that is taken. The pages of a file that are free again do not count."""
    found = [transaction.stat(getattr(tables, field.name)) for field in fields(tables)]
    pages = sum(one["branch_pages"] + one["leaf_pages"] + one["overflow_pages"] for one in found)
    disk = os.statvfs(folder)
    sessions = transaction.stat(tables.heads)["entries"]
    return Usage(sessions, pages * found[0]["psize"], map_bytes, disk.f_bavail * disk.f_frsize)
