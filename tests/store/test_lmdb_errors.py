"""The service's errors for those of LMDB: each has its words, and its way out as a note."""

import errno
from pathlib import Path

import lmdb
import pytest

from app.errors import StateDamaged, StoreUnavailable
from app.store.lmdb_errors import translated, unopened

FOLDER = Path("folder")


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.EACCES, ["Let this user write there, or name another folder: OPTIM_STORE=lmdb:PATH"]),
        (errno.ENOSPC, ["Make room on that disk, or name another folder: OPTIM_STORE=lmdb:PATH"]),
        (errno.ENOTDIR, ["Name another folder: OPTIM_STORE=lmdb:PATH"]),
        (errno.EINTR, []),
    ],
)
def test_files_that_cannot_be_opened_have_a_way_out(number: int, way_out: list[str]) -> None:
    failure = unopened(OSError(number, "why"), FOLDER)
    assert "cannot open the store in folder" in failure.detail
    assert getattr(failure, "__notes__", []) == way_out


def test_each_of_lmdbs_errors_has_its_words() -> None:
    assert isinstance(translated(lmdb.CorruptedError("x"), FOLDER), StateDamaged)
    for error, words in (
        (lmdb.MapFullError("x"), "OPTIM_LMDB_MAP_BYTES"),
        (lmdb.PanicError("x"), "restart"),
        (lmdb.Error("x"), "failed: x"),
    ):
        failure = translated(error, FOLDER)
        assert isinstance(failure, StoreUnavailable)
        assert words in failure.detail
