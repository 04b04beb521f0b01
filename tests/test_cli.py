"""The command `optim`, as it is typed."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import httpx2
import pytest

from app import keys_file
from app.demo.server import Server
from tests.command import Optim, typed

IMPORTED = """
import sys
from app.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
HEAVY = {"asyncio", "attr", "fastapi", "httpx2", "importlib.metadata", "lmdb", "numba", "numpy", "optim_client"}
HEAVY |= {"optim_engine", "orjson", "prometheus_client", "pydantic", "redis", "rich", "starlette", "uvicorn"}
"""Modules that take long to import."""
JSON = {"content-type": "application/json"}


@pytest.fixture
def optim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Optim:
    """Type a command; get its exit status, its output, and what it said on standard error."""
    for name in [name for name in os.environ if name.startswith("OPTIM_")]:
        monkeypatch.delenv(name)
    return partial(typed, monkeypatch, capsys)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


def new_session(url: str) -> str:
    answer = httpx2.post(f"{url}/v1/sessions", content=b'{"optimizer": "sgd"}', headers=JSON)
    return str(answer.json()["id"])


def test_help_names_every_command(optim: Optim) -> None:
    status, words, _ = optim("--help")
    assert status == 0
    for command in ("serve", "demo", "keys", "sessions", "workers"):
        assert re.search(rf"^  {command} ", words, re.MULTILINE)


@pytest.mark.parametrize("group", [[], ["keys"], ["sessions"], ["store"]], ids=" ".join)
def test_no_line_of_the_overviews_is_cut(optim: Optim, group: list[str]) -> None:
    status, words, _ = optim(*group, "--help", COLUMNS="80")
    assert status == 0
    assert "..." not in words.partition("Commands:")[2]


@pytest.mark.parametrize(
    "words",
    ["", "keys", "keys create", "sessions", "sessions list", "store", "store backup", "demo", "serve", "workers"],
)
def test_help_imports_no_service(words: str) -> None:
    command = [sys.executable, "-c", IMPORTED, *words.split(), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    ours = {"app.flags", "app.settings", "app.web", "app.web.names", "app.wrong_values"} if words == "serve" else set()
    theirs = {"importlib.metadata", "pydantic"} if words == "serve" else set()
    modules = set(said.split())
    assert {name for name in modules if name.partition(".")[0] == "app"} == {"app", "app.cli", "app.roles"} | ours
    assert modules & HEAVY <= theirs


def test_keys_commands_name_the_file_that_is_missing(optim: Optim, tmp_path: Path) -> None:
    file = tmp_path / "none.json"
    status, _, words = optim("keys", "list", "--file", str(file))
    assert (status, words) == (1, f"optim: the file of API keys {file} cannot be read: No such file or directory\n")


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


def test_the_version_is_that_of_the_package(optim: Optim) -> None:
    assert optim("--version") == (0, f"optim {version('optim-service')}\n", "")


def test_the_workers_of_a_session_are_shown(optim: Optim, url: str) -> None:
    session = new_session(url)
    assert optim("workers", session, "--url", url)[:2] == (0, "the session has no workers\n")
    status, told, _ = optim("workers", session, "--json", OPTIM_BASE_URL=url)
    assert (status, json.loads(told)) == (0, {"round": None, "workers": []})
    assert optim("sessions", "delete", session, "--url", url) == (0, "", "")


def test_sessions_are_listed_shown_moved_and_deleted(optim: Optim, url: str, tmp_path: Path) -> None:
    here, there, file = new_session(url), new_session(url), str(tmp_path / "state.safetensors")
    step = b'{"params": {"w": [1]}, "grads": {"w": [1]}}'
    httpx2.post(f"{url}/v1/sessions/{here}/steps", content=step, headers=JSON).raise_for_status()

    for done in ("wrote", "replaced"):
        status, told, said = optim("sessions", "export", here, file, OPTIM_BASE_URL=url)
        assert (status, told, said) == (0, f"{done} {file}: step 1, {os.path.getsize(file):,} bytes\n", "")
    assert optim("sessions", "import", there, file, "--url", url) == (0, "", "")
    shown = json.loads(optim("sessions", "show", there, "--url", url)[1])
    assert (shown["id"], shown["step"], shown["tensors"]["w"]["shape"]) == (there, 1, [1])
    status, made, said = optim("sessions", "import", file, "--url", url)
    assert (status, said) == (0, "")
    shown = json.loads(optim("sessions", "show", made.strip(), "--url", url)[1])
    assert (shown["step"], shown["labels"], shown["hyperparameters"]["lr"]) == (1, {}, 0.001)
    listed = optim("sessions", "list", "--url", url)[1].splitlines()
    assert [line.split()[0] for line in listed] == [made.strip(), there, here]
    assert optim("sessions", "delete", made.strip(), "--url", url) == (0, "", "")

    assert optim("sessions", "delete", there, "--url", url) == (0, "", "")
    status, out, words = optim("sessions", "show", there, "--url", url)
    assert (status, out) == (1, "")
    assert words.startswith(f"optim: unknown session '{there}'")


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


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "GET http://127.0.0.1:1/v1/sessions: no connection"),
        (
            "nonsense",
            "unknown base_url 'nonsense'; expected one of http://…, https://…, unix:///PATH, memory:, lmdb:PATH",
        ),
    ],
)
def test_an_unreachable_service_is_reported_in_one_line(optim: Optim, url: str, reason: str) -> None:
    status, _, words = optim("sessions", "list", "--url", url)
    assert status == 1
    assert words.startswith(f"optim: {reason}")
    assert words.count("\n") == 1


def test_an_export_names_the_missing_folder(optim: Optim, url: str, tmp_path: Path) -> None:
    file = tmp_path / "none" / "state.safetensors"
    status, _, words = optim("sessions", "export", new_session(url), str(file), "--url", url)
    assert (status, words) == (1, f"optim: [Errno 2] no such folder: '{file.parent}'\n")


@pytest.mark.parametrize("words", [(), ("a", "b", "c")])
def test_an_import_takes_a_file_and_at_most_one_session(optim: Optim, url: str, words: tuple[str, ...]) -> None:
    status, out, said = optim("sessions", "import", *words, "--url", url, COLUMNS="200")
    assert (status, out) == (2, "")
    assert "Missing argument '[ID] FILE'" in said or "expected at most one session, and one file" in said


def test_an_unreadable_file_is_reported_in_one_line(optim: Optim, url: str) -> None:
    for ids in ((), (new_session(url),)):
        status, _, words = optim("sessions", "import", *ids, "/nowhere", "--url", url)
        assert (status, words) == (1, "optim: [Errno 2] No such file or directory: '/nowhere'\n")
