"""The LMDB store."""

from pathlib import Path

import pytest

from app.settings import Settings
from app.store import open_store


async def test_the_path_may_begin_in_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with open_store(Settings(store="lmdb:~/sessions")):
        assert (tmp_path / "sessions" / "data.mdb").exists()
