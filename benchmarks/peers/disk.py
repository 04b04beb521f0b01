"""The bare disk: the bytes of a save, written into a file and synced, or put into LMDB by py-lmdb. Nothing is computed.

The bytes are those of the parameters, both moments, and what the service saves beside them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import numpy as np

from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array

BESIDE_STATE = 1_500
"""Bytes: the session's head, its row of the history and its keys, in a save of a small step."""
PIECE_BYTES = 1 << 20
PIECES_OF_A_TRANSACTION = 4
"""The service's number. Larger transactions are slower, because LMDB holds them in memory until they commit."""


def file(folder: Path) -> Session:
    """Return sessions that write over one file and sync its data."""

    @contextmanager
    def session(params: Array, _: Array) -> Iterator[Step]:
        data = saved(params)
        number = os.open(folder / "file", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield Step(lambda: (os.pwrite(number, data, 0), os.fdatasync(number)))
        finally:
            os.close(number)

    return session


def bare_lmdb(folder: Path, *, sync: bool) -> Session:
    """Return sessions that put the pieces of a state, always with the same keys."""

    @contextmanager
    def session(params: Array, _: Array) -> Iterator[Step]:
        data = saved(params)
        pieces = [data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
        with (
            TemporaryDirectory(prefix="lmdb-", dir=folder) as inside,
            lmdb.open(inside, map_size=8 * len(data) + (1 << 26), sync=sync) as environment,
        ):
            yield Step(lambda: put(environment, pieces))

    return session


def put(environment: lmdb.Environment, pieces: list[memoryview]) -> None:
    for start in range(0, len(pieces), PIECES_OF_A_TRANSACTION):
        with environment.begin(write=True) as transaction:
            for i, piece in enumerate(pieces[start : start + PIECES_OF_A_TRANSACTION], start):
                transaction.put(b"%d" % i, piece)


def saved(params: Array) -> memoryview:
    """Return as many bytes as a save of these parameters has."""
    return memoryview(np.resize(params.view(np.uint8), 3 * params.nbytes + BESIDE_STATE))
