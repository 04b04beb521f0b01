"""The commands `optim keys`, as they are typed."""

import re
from pathlib import Path

import pytest

from app import keys_file
from tests.command import Optim


def test_keys_commands_name_the_file_that_is_missing(optim: Optim, tmp_path: Path) -> None:
    file = tmp_path / "none.json"
    status, _, words = optim("keys", "list", "--file", str(file))
    assert (status, words) == (1, f"optim: the file of API keys {file} cannot be read: No such file or directory\n")


def test_keys_are_created_listed_and_revoked(optim: Optim, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    status, secret, about = optim("keys", "create", "--file", str(file), "--tenant", "lab", "--role", "read")
    assert status == 0
    key_id = about.split()[0]
    assert about == f"{key_id}  read   lab  expires never. The key cannot be shown again.\n"
    assert [key.sha256 for key in keys_file.read(file)] == [keys_file.hash_of(secret.strip())]

    optim("keys", "create", "--days", "3", OPTIM_API_KEYS_FILE=str(file))
    status, listed, _ = optim("keys", "list")
    assert status == 0
    assert re.fullmatch(rf"{key_id}  read   lab  expires never\n\S+  write  default  expires \S+ \S+Z\n", listed)
    assert secret.strip() not in listed
    assert keys_file.hash_of(secret.strip()) not in listed

    assert optim("keys", "revoke", key_id) == (0, "", "")
    assert key_id not in optim("keys", "list")[1]
    status, out, words = optim("keys", "revoke", key_id)
    assert (status, out) == (1, "")
    assert words.startswith(f"optim: {file} has no key with the id '{key_id}'")


@pytest.mark.parametrize(
    ("flags", "status", "reason"),
    [
        (["--tenant", "a/b"], 1, "optim: tenant: must be 1 to 64 letters, digits or any of . _ -"),
        (
            ["--role", "owner"],
            2,
            "'--role': unknown role 'owner'; expected one of read, write, admin",
        ),
        (["--days", "0"], 2, "Invalid value for '--days': must be a whole number from 1 to 36,500, not '0'"),
        (["--days", "soon"], 2, "Invalid value for '--days': must be a whole number from 1 to 36,500, not 'soon'"),
    ],
)
def test_a_key_with_wrong_options_is_not_created(
    optim: Optim, tmp_path: Path, flags: list[str], status: int, reason: str
) -> None:
    file = tmp_path / "keys.json"
    ended, out, said = optim("keys", "create", *flags, OPTIM_API_KEYS_FILE=str(file), COLUMNS="200")
    assert (ended, out, file.exists()) == (status, "", False)
    assert reason in said


def test_keys_commands_ask_for_a_missing_file(optim: Optim) -> None:
    status, _, words = optim("keys", "list")
    assert status == 2
    assert "Missing option '--file' (env var: 'OPTIM_API_KEYS_FILE')" in words
