"""The command `optim`, as it is typed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app import serve
from app.demo.server import Server
from app.settings import Settings

JSON = {"content-type": "application/json"}


def optim(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("OPTIM_")}
    command = [sys.executable, "-m", "app.cli", *words]
    return subprocess.run(
        command, env=surroundings | environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


def new_session(url: str) -> str:
    answer = httpx2.post(f"{url}/v1/sessions", content=b'{"optimizer": "sgd"}', headers=JSON)
    return str(answer.json()["id"])


def test_help_names_every_command() -> None:
    words = optim("--help").stdout
    for command in ("serve", "demo", "sessions"):
        assert re.search(rf"^  {command} ", words, re.MULTILINE)


def test_every_setting_is_a_flag_of_serve_with_its_words() -> None:
    words = " ".join(optim("serve", "--help", COLUMNS="200").stdout.split())
    for name, field in Settings.model_fields.items():
        assert re.search(rf"--{name.replace('_', '-')} \S+ {re.escape(str(field.description))}", words), name


def test_the_version_is_the_package_s() -> None:
    assert re.fullmatch(r"optim \d+\.\d+\.\d+\n", optim("--version").stdout)


@pytest.mark.parametrize("given", [{"flags": ["--port", "70000"]}, {"flags": [], "OPTIM_PORT": "70000"}])
def test_a_wrong_setting_is_refused_by_its_name(given: dict[str, object]) -> None:
    flags, environment = given["flags"], {name: str(value) for name, value in given.items() if name != "flags"}
    assert isinstance(flags, list)
    result = optim("serve", *flags, **environment)
    assert result.returncode == 2
    assert "Invalid value for --port or OPTIM_PORT: Input should be less than or equal to 65535" in result.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--store=memory:", "--workers=2"], "memory: lives in one process"),
        (["--store=redis://:secret@127.0.0.1:1/0"], "Redis failed or cannot be reached"),
        (["--store=lmdb:/dev/null/store"], "cannot open the store in /dev/null/store"),
        (["--store=memory:", "--host=256.0.0.1"], "cannot listen on 256.0.0.1, port 8000"),
        (["--store=memory:", "--api-keys-file=/nowhere"], "/nowhere"),
        (["--store=memory:", "--rate-limit=often"], "often"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(flags: list[str], words: str) -> None:
    result = optim("serve", *flags)
    assert result.returncode == 1
    assert words in result.stderr
    assert result.stderr.startswith("optim: ")
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


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


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_first_line_says_where_and_on_what_it_serves(workers: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", f"--workers={workers}", "--log-format=json"]
    environment = os.environ | {"OPTIM_STORE": f"lmdb:{tmp_path}", "OPTIM_STROE": "a slip"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            slip, line = json.loads(server.stderr.readline()), json.loads(server.stderr.readline())
            assert (slip["level"], slip["setting"]) == ("warning", "OPTIM_STROE")
            assert (line["event"], line["store"], line["workers"]) == ("listening", f"lmdb:{tmp_path}", int(workers))
            assert httpx2.get(f"{line['url']}/readyz", timeout=30).status_code == 200
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)
    assert server.returncode == 0


def test_a_log_that_nobody_watches_has_no_colours(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "app.cli", "serve", "--port=0", "--store=memory:"]
        with subprocess.Popen(command, stderr=log) as server:
            deadline = time.monotonic() + 30
            while "listening" not in (tmp_path / "log").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            server.terminate()
    text = (tmp_path / "log").read_text()
    assert "\x1b" not in text
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ \[info +\] listening url=http://127\.0\.0\.1:\d+ ", text)


def test_sessions_are_listed_shown_moved_and_deleted(url: str, tmp_path: Path) -> None:
    here, there, file = new_session(url), new_session(url), tmp_path / "state.safetensors"
    grads = b'{"params": {"w": [1]}, "grads": {"w": [1]}}'
    httpx2.post(f"{url}/v1/sessions/{here}/steps", content=grads, headers=JSON).raise_for_status()

    assert optim("sessions", "export", here, str(file), OPTIM_BASE_URL=url).returncode == 0
    assert optim("sessions", "import", there, str(file), "--url", url).returncode == 0
    shown = json.loads(optim("sessions", "show", there, "--url", url).stdout)
    assert (shown["id"], shown["step"], shown["tensors"]["w"]["shape"]) == (there, 1, [1])
    assert [line.split()[0] for line in optim("sessions", "list", "--url", url).stdout.splitlines()] == [there, here]

    assert optim("sessions", "delete", there, "--url", url).returncode == 0
    gone = optim("sessions", "show", there, "--url", url)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith(f"optim: there is no session '{there}'")


def test_a_service_that_is_not_there_is_one_line() -> None:
    result = optim("sessions", "list", "--url", "http://127.0.0.1:1")
    assert result.returncode == 1
    assert result.stderr.startswith("optim: GET http://127.0.0.1:1/v1/sessions: no connection")
    assert optim("sessions", "list", "--url", "nonsense").stderr.startswith("optim: base_url is http://")
