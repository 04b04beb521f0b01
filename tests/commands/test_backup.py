"""The commands `optim backup` and `optim restore`, as they are typed."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.backup.filled import SESSIONS, made
from tests.command import Optim


@pytest.fixture
def store(tmp_path: Path) -> str:
    url = f"lmdb:{tmp_path / 'store'}"
    asyncio.run(made(url))
    return url


def test_programs_get_json(optim: Optim, store: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "copy")
    for words in (["backup", folder, "--store", store], ["backup", "--verify", folder]):
        status, output, errors = optim(*words, "--json")
        told = json.loads(output)
        assert (status, errors, told["sessions"], told["damaged"]) == (0, "", SESSIONS, [])
        assert told["bytes"] == told["files"][0]["bytes"]
    status, output, _ = optim("restore", folder, "--store", f"lmdb:{tmp_path / 'new'}", "--json")
    told = json.loads(output)
    assert (status, told["sessions"], told["expired"], told["claims_left_out"]) == (0, SESSIONS, 0, 0)


def test_the_store_is_read_from_the_environment(optim: Optim, store: str, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    status, output, errors = optim("backup", str(folder), OPTIM_STORE=store)
    assert (status, errors) == (0, "")
    assert output.startswith(f"backed up {store} to {folder}: {SESSIONS} sessions, ")
    assert output.endswith(" bytes, all read and checked\n")


@pytest.mark.parametrize(("words", "done"), [(["backup"], "backed up"), (["restore"], "restored into")])
def test_a_store_in_memory_is_refused(optim: Optim, tmp_path: Path, words: list[str], done: str) -> None:
    status, output, errors = optim(*words, str(tmp_path / "copy"), "--store", "memory:")
    refusal = f"memory: is in one process, and cannot be {done}: name another store"
    assert (status, output, errors) == (1, "", f"optim: {refusal}\n")


def test_a_place_without_store_or_backup_is_not_there(optim: Optim, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    status, _, errors = optim("backup", str(tmp_path / "copy"), "--store", f"lmdb:{nowhere}")
    assert (status, errors) == (3, f"optim: no store in {nowhere}: data.mdb is missing\n")
    for words in (["backup", "--verify"], ["restore", "--store", f"lmdb:{tmp_path / 'new'}"]):
        status, _, errors = optim(*words, str(nowhere))
        assert status == 3
        assert f"no whole backup in {nowhere}: manifest.json is missing" in errors
    assert list(tmp_path.iterdir()) == []


def test_a_redis_that_is_away_cannot_be_reached(optim: Optim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.redis_patience.WAITS", ())
    status, output, errors = optim("backup", str(tmp_path / "copy"), "--store", "redis://me:secret@127.0.0.1:1/0")
    assert (status, output) == (4, "")
    assert "failed or cannot be reached" in errors
    assert "secret" not in errors


def test_a_malformed_store_is_refused_by_name(optim: Optim, tmp_path: Path) -> None:
    status, _, words = optim("backup", str(tmp_path / "copy"), "--store", "sqlite:x", COLUMNS="200")
    assert status == 2
    assert "Invalid value for --store or OPTIM_STORE: must be lmdb:PATH, redis://…" in words
