"""The file of keys: what is written, by whom it can be read, and that no change is lost."""

import hashlib
import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app import keys_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_found_by_its_hash_and_never_written(file: Path) -> None:
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    secret, _ = keys_file.create(file, "lab", "read", expires)
    (row,) = json.loads(file.read_text())["keys"]
    assert row == {
        "sha256": hashlib.sha256(secret.encode()).hexdigest(), "tenant": "lab", "role": "read",
        "expires_at": "2030-01-01T00:00:00Z",
    }  # fmt: skip
    assert secret not in file.read_text()


@pytest.mark.parametrize(("mark", "line_break"), [(b"\xef\xbb\xbf", b"\n"), (b"", b"\r\n"), (b"\xef\xbb\xbf", b"\r\n")])
def test_a_file_that_windows_wrote_is_read(file: Path, mark: bytes, line_break: bytes) -> None:
    _, key = keys_file.create(file, "lab", "write")
    file.write_bytes(mark + file.read_bytes().replace(b"\n", line_break))
    assert keys_file.read(file) == [key]


def test_a_file_in_utf_16_is_refused_by_its_encoding(file: Path) -> None:
    keys_file.create(file, "lab", "write")
    file.write_bytes(file.read_text().encode("utf-16"))
    with pytest.raises(ValueError, match="is UTF-16: save it as UTF-8"):
        keys_file.read(file)


def test_keys_are_hard_to_guess_and_all_different(file: Path) -> None:
    keys = {keys_file.create(file, "lab", "write")[0] for _ in range(20)}
    assert len(keys) == 20
    assert all(key.startswith("optim_") and len(key) >= 6 + 43 for key in keys)


@pytest.mark.parametrize("before", [None, 0o644])
def test_the_file_is_for_its_owner_alone(file: Path, before: int | None) -> None:
    if before is not None:
        file.write_text('{"keys": []}')
        file.chmod(before)
    keys_file.create(file, "lab", "write")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_others_stay_as_they_are(file: Path) -> None:
    first, second, third = (keys_file.create(file, tenant, "write")[1] for tenant in ("a", "b", "c"))
    keys_file.revoke(file, second.id)
    assert keys_file.read(file) == [first, third]


def test_a_key_that_is_not_there_cannot_be_revoked(file: Path) -> None:
    keys_file.create(file, "lab", "write")
    before = file.read_bytes()
    with pytest.raises(ValueError, match=r"no key with the id 'none'; `optim keys list`"):
        keys_file.revoke(file, "none")
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    ("tenant", "role", "wrong"),
    [
        ("a/b", "read", "tenant: must be 1 to 64 letters, digits or any of . _ -"),
        ("lab", "owner", "role: must be one of read, write, admin"),
    ],
)
def test_a_malformed_tenant_or_role_is_refused_in_one_line(file: Path, tenant: str, role: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(wrong)}$"):
        keys_file.create(file, tenant, role)
    assert not file.exists()


def test_an_unreadable_file_is_refused_and_left_unchanged(file: Path) -> None:
    file.write_text("notes")
    with pytest.raises(ValueError, match=r"keys\.json: it: "):
        keys_file.create(file, "lab", "write")
    assert file.read_text() == "notes"


def test_what_changes_at_once_is_not_lost(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: keys_file.create(file, f"t{n}", "write")[1], range(40)))
    assert sorted(key.id for key in keys_file.read(file)) == sorted(key.id for key in made)


def test_a_change_that_was_killed_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_file, "LOCKED_SECONDS", 0.0)
    left = file.with_name("keys.json.new")
    left.touch()
    with pytest.raises(ValueError, match=r"keys\.json\.new is there: .* remove that file"):
        keys_file.create(file, "lab", "write")
    assert left.exists()


def test_a_link_to_the_file_stays_a_link(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(file)
    keys_file.create(link, "lab", "write")
    assert link.is_symlink()
    assert len(keys_file.read(file)) == 1


def test_a_key_expires_at_its_time() -> None:
    now = datetime.now(UTC)
    past, future = (
        keys_file.Key(sha256="0" * 64, tenant="lab", role="read", expires_at=now + timedelta(hours=hours))
        for hours in (-1, 1)
    )
    assert past.expired
    assert not future.expired
