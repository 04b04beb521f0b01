"""The command `optim`, as it is typed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import httpx2
import psutil
import pytest

from app import cli, keys_file, listener, serve
from app.demo.server import Server
from app.settings import Settings
from tests.reaper import tied

JSON = {"content-type": "application/json"}


Optim = Callable[..., tuple[int, str, str]]


@pytest.fixture
def optim(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Optim:
    """Type a command; get its exit status, its output, and what it said on standard error."""
    for name in [name for name in os.environ if name.startswith("OPTIM_")]:
        monkeypatch.delenv(name)

    def optim(*words: str, **environment: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["optim", *words])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert isinstance(end.value.code, int)
        return end.value.code, *capsys.readouterr()

    return optim


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


def new_session(url: str) -> str:
    answer = httpx2.post(f"{url}/v1/sessions", content=b'{"optimizer": "sgd"}', headers=JSON)
    return str(answer.json()["id"])


def serve_refused(*flags: str, **environment: str) -> tuple[int, str]:
    """What `optim serve` ends with, and says, when it cannot serve."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("OPTIM_")}
    command = [sys.executable, "-m", "app.cli", "serve", *flags]
    result = subprocess.run(
        command, env=surroundings | environment, capture_output=True, text=True, check=False, timeout=60
    )
    return result.returncode, result.stderr


def test_help_names_every_command(optim: Optim) -> None:
    status, words, _ = optim("--help")
    assert status == 0
    for command in ("serve", "demo", "keys", "sessions"):
        assert re.search(rf"^  {command} ", words, re.MULTILINE)


def test_every_setting_is_a_flag_of_serve_with_its_words(optim: Optim) -> None:
    words = " ".join(optim("serve", "--help", COLUMNS="200")[1].split())
    for name, field in Settings.model_fields.items():
        value = "" if field.annotation is bool else r"\S+ "
        assert re.search(rf"--{name.replace('_', '-')} {value}{re.escape(str(field.description))}", words), name


def test_the_version_is_the_package_s(optim: Optim) -> None:
    assert optim("--version") == (0, f"optim {version('optim-service')}\n", "")


@pytest.mark.parametrize(
    ("flags", "environment"), [(["--port", "70000"], {}), ([], {"OPTIM_PORT": "70000"})], ids=["flag", "variable"]
)
def test_a_wrong_setting_is_refused_by_its_name(flags: list[str], environment: dict[str, str]) -> None:
    status, words = serve_refused(*flags, **environment)
    assert status == 2
    assert "Invalid value for --port or OPTIM_PORT: Input should be less than or equal to 65535" in words


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--store=memory:", "--workers=2"], "memory: lives in one process"),
        (["--store=redis://:secret@127.0.0.1:1/0"], "Redis failed or cannot be reached"),
        (["--store=lmdb:/dev/null/store"], "cannot open the store in /dev/null/store"),
        (["--store=memory:", "--host=256.0.0.1"], "cannot listen on 256.0.0.1, port 8000"),
        (["--store=memory:", f"--api-keys-file={__file__}"], f"OPTIM_API_KEYS_FILE={__file__}: "),
        (["--store=memory:", f"--ssl-keyfile={__file__}"], f"OPTIM_SSL_KEYFILE={__file__} needs its certificate"),
        (["--store=memory:", f"--ssl-certfile={__file__}"], f"OPTIM_SSL_CERTFILE={__file__} cannot be read as a"),
        *[
            (
                ["--store=memory:", "--port=0", f"--host={host}"],
                "can be reached by other machines, and there are no API",
            )
            for host in ("0.0.0.0", "::")
        ],
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(flags: list[str], reason: str) -> None:
    status, words = serve_refused(*flags)
    assert status == 1
    assert words.startswith("optim: ")
    assert reason in words
    assert words.count("\n") == 1
    assert "secret" not in words


def test_who_says_insecure_or_has_keys_may_be_reached_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    for setting, value in {"insecure": True, "api_keys_file": keys, "api_key_sha256": "0" * 64}.items():
        listener.check_reach(Settings(store="memory:", host="0.0.0.0", **{setting: value}), "0.0.0.0")
    for loopback in ("127.0.0.1", "127.1.2.3", "::1"):
        listener.check_reach(Settings(store="memory:"), loopback)
    for reached in ("0.0.0.0", "::", "10.0.0.1", "fe80::1%eth0", "8.8.8.8"):
        with pytest.raises(ValueError, match="can be reached by other machines"):
            listener.check_reach(Settings(store="memory:"), reached)


def test_who_is_insecure_is_warned() -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--store=memory:", "--host=0.0.0.0", "--port=0"]
    with tied([*command, "--insecure", "--log-format=json"], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            assert json.loads(server.stderr.readline())["event"] == "listening"
            line = json.loads(server.stderr.readline())
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert (line["level"], line["event"]) == ("warning", "no API keys: whoever reaches this address may do everything")


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("lmdb:/srv/a@b", "lmdb:/srv/a@b"),
        ("memory:", "memory:"),
        ("redis://user:se%2Fcret@[::1]:6379/0", "redis://[::1]:6379/0"),
        ("rediss://host/1?ssl_password=secret", "rediss://host/1"),
        ("unix://user:secret@/run/redis.sock?db=2", "unix:///run/redis.sock"),
    ],
)
def test_a_store_is_shown_without_its_secrets(store: str, shown: str) -> None:
    assert serve.shown(store) == shown


@pytest.mark.parametrize(("workers", "stop"), [("1", signal.SIGINT), ("1", signal.SIGTERM), ("2", signal.SIGTERM)])
def test_the_first_line_says_where_and_on_what_it_serves_with_all_descriptors_and_ends_well(
    workers: str, stop: int, tmp_path: Path, with_numba: None
) -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", f"--workers={workers}", "--log-format=json"]
    environment = os.environ | {"OPTIM_STORE": f"lmdb:{tmp_path}", "OPTIM_STROE": "a slip"}
    command = ["sh", "-c", 'ulimit -Sn 256; exec "$0" "$@"', *command]
    with tied(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            slip, line = json.loads(server.stderr.readline()), json.loads(server.stderr.readline())
            assert (slip["level"], slip["setting"]) == ("warning", "OPTIM_STROE")
            assert (line["event"], line["store"], line["workers"]) == ("listening", f"lmdb:{tmp_path}", int(workers))
            assert line["kernel"] == "numba"
            assert json.loads(server.stderr.readline())["event"].startswith("no API keys: whoever is on this machine")
            assert httpx2.get(f"{line['url']}/readyz", timeout=30).status_code == 200
            taken, most = psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)
            assert taken == most > 256
        finally:
            server.send_signal(stop)
            server.communicate(timeout=30)
    assert server.returncode == 0


def test_a_kubernetes_service_of_our_name_is_no_setting() -> None:
    links = {
        "OPTIM_PORT": "tcp://10.96.12.7:8000",
        "OPTIM_SERVICE_HOST": "10.96.12.7",
        "OPTIM_SERVICE_PORT": "8000",
        "OPTIM_SERVICE_PORT_HTTP": "8000",
        "OPTIM_PORT_8000_TCP": "tcp://10.96.12.7:8000",
        "OPTIM_PORT_8000_TCP_PROTO": "tcp",
        "OPTIM_PORT_8000_TCP_PORT": "8000",
        "OPTIM_PORT_8000_TCP_ADDR": "10.96.12.7",
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--store=memory:", "--port=0", "--log-format=json"]
    with tied(command, env=os.environ | links, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            warning, line = json.loads(server.stderr.readline()), json.loads(server.stderr.readline())
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert "enableServiceLinks: false" in warning["event"]
    assert line["event"] == "listening"


def test_a_log_that_nobody_watches_has_no_colours(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "app.cli", "serve", "--port=0", "--store=memory:"]
        with tied(command, stderr=log) as server:
            deadline = time.monotonic() + 30
            while "listening" not in (tmp_path / "log").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            server.terminate()
    text = (tmp_path / "log").read_text()
    assert "\x1b" not in text
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \[info +\] listening url=http://127\.0\.0\.1:\d+ ", text)


def test_sessions_are_listed_shown_moved_and_deleted(optim: Optim, url: str, tmp_path: Path) -> None:
    here, there, file = new_session(url), new_session(url), str(tmp_path / "state.safetensors")
    step = b'{"params": {"w": [1]}, "grads": {"w": [1]}}'
    httpx2.post(f"{url}/v1/sessions/{here}/steps", content=step, headers=JSON).raise_for_status()

    assert optim("sessions", "export", here, file, OPTIM_BASE_URL=url) == (0, "", "")
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
    assert words.startswith(f"optim: there is no session '{there}'")


def test_keys_are_made_listed_and_revoked(optim: Optim, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    status, secret, about = optim("keys", "create", "--file", str(file), "--tenant", "lab", "--role", "read")
    assert status == 0
    key_id = about.split()[0]
    assert about == f"{key_id}  read   lab  expires never. It cannot be shown again.\n"
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
        (["--tenant", "a/b"], 1, "optim: tenant: String should match pattern"),
        (
            ["--role", "owner"],
            2,
            "'--role': unknown role 'owner'; expected one of read, write, admin",
        ),
        (["--days", "0"], 2, "Invalid value for '--days': Input should be greater than or equal to 1"),
    ],
)
def test_a_key_that_cannot_be_meant_is_not_made(
    optim: Optim, tmp_path: Path, flags: list[str], status: int, reason: str
) -> None:
    file = tmp_path / "keys.json"
    ended, out, said = optim("keys", "create", *flags, OPTIM_API_KEYS_FILE=str(file), COLUMNS="200")
    assert (ended, out, file.exists()) == (status, "", False)
    assert reason in said


def test_keys_without_a_file_ask_for_one(optim: Optim) -> None:
    status, _, words = optim("keys", "list")
    assert status == 2
    assert "Missing option '--file' (env var: 'OPTIM_API_KEYS_FILE')" in words


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "GET http://127.0.0.1:1/v1/sessions: no connection"),
        ("nonsense", "unknown base_url 'nonsense'; expected one of http://…, https://…, memory:, lmdb:PATH"),
    ],
)
def test_a_service_that_is_not_there_is_one_line(optim: Optim, url: str, reason: str) -> None:
    status, _, words = optim("sessions", "list", "--url", url)
    assert status == 1
    assert words.startswith(f"optim: {reason}")
    assert words.count("\n") == 1


def test_an_export_names_the_folder_that_is_missing(optim: Optim, url: str, tmp_path: Path) -> None:
    file = tmp_path / "none" / "state.safetensors"
    status, _, words = optim("sessions", "export", new_session(url), str(file), "--url", url)
    assert (status, words) == (1, f"optim: [Errno 2] no such folder: '{file.parent}'\n")


@pytest.mark.parametrize("words", [(), ("a", "b", "c")])
def test_an_import_takes_a_file_and_at_most_one_session(optim: Optim, url: str, words: tuple[str, ...]) -> None:
    status, out, said = optim("sessions", "import", *words, "--url", url, COLUMNS="200")
    assert (status, out) == (2, "")
    assert "Missing argument '[ID] FILE'" in said or "expected at most one session, and one file" in said


def test_a_file_that_cannot_be_read_is_one_line(optim: Optim, url: str) -> None:
    for ids in ((), (new_session(url),)):
        status, _, words = optim("sessions", "import", *ids, "/nowhere", "--url", url)
        assert (status, words) == (1, "optim: [Errno 2] No such file or directory: '/nowhere'\n")
