"""The bare disk: the bytes of a save, written into a file and synced, or put into LMDB by py-lmdb. Nothing is computed.

The bytes are as many as those of the parameters, both moments, and what the service saves beside them.

`python -m benchmarks.peers.disk FOLDER BYTES SYNC` is the process of LMDB; it prints its port. It puts a state for each
byte that comes, and answers with a byte. LMDB allocates what a transaction writes; in a process of its own, glibc's
malloc can keep that memory for the next transaction, which halves the time.
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb

from benchmarks.peers.process import python
from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array

KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 26), "MALLOC_TRIM_THRESHOLD_": str(1 << 26)}
BESIDE_STATE = 1_500
"""Bytes: the session's head, its row of the history and its keys, in a save of a small step."""
PIECE_BYTES = 1 << 20
PIECES_OF_A_TRANSACTION = 4
"""The service's number. Larger transactions are slower, because LMDB holds them in memory until they commit."""


def file(folder: Path) -> Session:
    """Return sessions that write over one file and sync its data."""

    @contextmanager
    def session(params: Array, _: Array) -> Iterator[Step]:
        data = os.urandom(saved_bytes(params))
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
        arguments = str(saved_bytes(params)), str(int(sync))
        with (
            TemporaryDirectory(prefix="lmdb-", dir=folder) as inside,
            python("-m", "benchmarks.peers.disk", inside, *arguments, **KEEP_MEMORY) as process,
        ):
            assert process.stdout
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port)) as connection:

                def put() -> None:
                    connection.sendall(b"s")
                    if not connection.recv(1):
                        raise ConnectionError("the process of LMDB has ended")

                yield Step(put)

    return session


def saved_bytes(params: Array) -> int:
    """Return the number of bytes in a save of these parameters."""
    return 3 * params.nbytes + BESIDE_STATE


def put(environment: lmdb.Environment, pieces: list[bytes]) -> None:
    """Put the pieces, some in each transaction."""
    for start in range(0, len(pieces), PIECES_OF_A_TRANSACTION):
        with environment.begin(write=True) as transaction:
            for i, piece in enumerate(pieces[start : start + PIECES_OF_A_TRANSACTION], start):
                transaction.put(b"%d" % i, piece)


def main(folder: str, nbytes: int, sync: bool) -> None:
    pieces = [os.urandom(min(PIECE_BYTES, nbytes - start)) for start in range(0, nbytes, PIECE_BYTES)]
    with (
        lmdb.open(folder, map_size=8 * nbytes + (1 << 26), sync=sync) as environment,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        while connection.recv(1):
            put(environment, pieces)
            connection.sendall(b"d")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1")
