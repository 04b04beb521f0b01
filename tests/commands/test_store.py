"""The commands `optim store`, as they are typed."""

from pathlib import Path

import pytest

from tests.command import Optim


@pytest.mark.parametrize(
    ("store", "shown"), [("memory:", "memory:"), ("redis://me:secret@127.0.0.1:1/0", "redis://127.0.0.1:1/0")]
)
def test_a_backup_names_the_store_that_has_no_folder(optim: Optim, tmp_path: Path, store: str, shown: str) -> None:
    status, _, words = optim("store", "backup", str(tmp_path / "copy"), "--store", store)
    assert (status, words) == (1, f"optim: the store is {shown}, not lmdb:PATH; for Redis see docs/stores.md\n")


def test_a_backup_of_a_malformed_store_is_refused_by_name(optim: Optim, tmp_path: Path) -> None:
    status, _, words = optim("store", "backup", str(tmp_path / "copy"), "--store", "sqlite:x", COLUMNS="200")
    assert status == 2
    assert "Invalid value for --store or OPTIM_STORE: must be lmdb:PATH, redis://…" in words
