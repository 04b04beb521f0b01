"""The start of the server: refusals, warnings and the first log lines of `optim serve`."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import psutil
import pytest

from app import serve
from tests.reaper import tied
from tests.servers import RedisServer


def serve_refused(*flags: str, **environment: str) -> tuple[int, str]:
    """Return the exit status and the words of an `optim serve` that cannot serve."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("OPTIM_")}
    command = [sys.executable, "-m", "app.cli", "serve", *flags]
    result = subprocess.run(
        command, env=surroundings | environment, capture_output=True, text=True, check=False, timeout=60
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize(
    ("flags", "environment"), [(["--port", "70000"], {}), ([], {"OPTIM_PORT": "70000"})], ids=["flag", "variable"]
)
def test_a_wrong_setting_is_refused_by_name(flags: list[str], environment: dict[str, str]) -> None:
    status, words = serve_refused(*flags, **environment)
    assert status == 2
    assert "Invalid value for --port or OPTIM_PORT: must be 65535 or less, not 70000" in words


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--store=memory:", "--workers=2"], "memory: lives in one process"),
        (["--store=memory:", "--host=256.0.0.1"], "cannot listen on 256.0.0.1, port 8000"),
        (["--store=memory:", "--host=none"], "OPTIM_HOST=none leaves nothing to listen on: give OPTIM_UNIX_SOCKET too"),
        (["--store=memory:", "--port=0", f"--unix-socket={__file__}"], "a file that is no socket has this name"),
        (["--store=memory:", "--port=0", "--unix-socket=/nowhere/s"], "OPTIM_UNIX_SOCKET=/nowhere/s: No such file"),
        (["--store=memory:", "--port=0", f"--unix-socket=/{'s' * 108}"], "AF_UNIX path too long"),
        (["--unix-socket=s", f"--ssl-certfile={__file__}"], "OPTIM_UNIX_SOCKET speaks plain HTTP, and a service with"),
        (["--store=memory:", f"--api-keys-file={__file__}"], f"the file of API keys {__file__}: "),
        (["--store=memory:", f"--ssl-keyfile={__file__}"], f"OPTIM_SSL_KEYFILE={__file__} needs its certificate"),
        (["--store=memory:", f"--ssl-certfile={__file__}"], f"OPTIM_SSL_CERTFILE={__file__} cannot be read as a"),
        *[
            (
                ["--store=memory:", "--port=0", f"--host={host}"],
                "can be reached by other machines, but the service has no API",
            )
            for host in ("0.0.0.0", "::")
        ],
    ],
)
@pytest.mark.long
def test_settings_that_cannot_work_are_refused_in_one_line(flags: list[str], reason: str) -> None:
    status, words = serve_refused(*flags)
    assert status == 1
    assert words.startswith("optim: ")
    assert reason in words
    assert words.count("\n") == 1


def expect_way_out(said: tuple[int, str], reason: str, way_out: str) -> None:
    """Expect a start that was refused in two lines, the second of which says what to do."""
    status, words = said
    first, second = words.splitlines()
    assert status == (1 if "listen" in reason else 4)
    assert first.startswith(f"optim: {reason}")
    assert second.startswith(way_out)
    assert "secret" not in words


@pytest.mark.parametrize(
    ("flags", "reason", "way_out"),
    [
        (["--store=redis://:secret@127.0.0.1:1/0"], "Redis failed or cannot be reached", "Start it, or name another"),
        (["--store=lmdb:/dev/null/store"], "cannot open the store in /dev/null/store", "Name another folder"),
        (["--store=lmdb:/sys/store"], "cannot open the store in /sys/store", "Let this user write there, or name"),
        (["--store=memory:", "--insecure", "--host=192.0.2.1"], "cannot listen on 192.0.2.1", "This machine has no"),
    ],
)
@pytest.mark.long
def test_an_impossible_place_is_refused_with_the_way_out(flags: list[str], reason: str, way_out: str) -> None:
    expect_way_out(serve_refused(*flags), reason, way_out)


def test_a_port_in_use_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = serve_refused("--store=memory:", f"--port={port}")
    expect_way_out(said, f"cannot listen on 127.0.0.1, port {port}: Address already in use", "Stop the program that")


@pytest.mark.long
def test_a_wrong_password_is_refused_with_the_way_out(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.config_set("requirepass", "right")
    said = serve_refused(f"--store=redis://:secret@127.0.0.1:{own_redis.port}/0")
    expect_way_out(said, "Redis refuses the user or the password in OPTIM_STORE", "Give both in the address: OPTIM_")


def test_a_full_disk_is_refused_with_the_way_out(tmp_path: Path) -> None:
    command = ["sh", "-c", 'ulimit -f 8; exec "$0" "$@"', sys.executable, "-m", "app.cli", "serve", "--port=0"]
    command = [*command, f"--store=lmdb:{tmp_path / 'store'}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    expect_way_out((result.returncode, result.stderr), "cannot open the store in", "Make room on that disk, or name")


def test_an_insecure_service_logs_a_warning() -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--store=memory:", "--host=0.0.0.0", "--port=0"]
    with tied([*command, "--insecure", "--log-format=json"], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            assert json.loads(server.stderr.readline())["event"] == "listening"
            line = json.loads(server.stderr.readline())
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert (line["level"], line["event"]) == (
        "warning",
        "no API keys: everybody who reaches this address may do everything",
    )


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
def test_a_store_is_shown_without_secrets(store: str, shown: str) -> None:
    assert serve.shown(store) == shown


@pytest.mark.parametrize(("workers", "stop"), [("1", signal.SIGINT), ("1", signal.SIGTERM), ("2", signal.SIGTERM)])
@pytest.mark.long
def test_a_server_logs_its_address_first_and_stops_cleanly(
    workers: str, stop: int, tmp_path: Path, with_numba: None
) -> None:
    command = [sys.executable, "-m", "app.cli", "serve", "--port=0", f"--workers={workers}", "--log-format=json"]
    environment = os.environ | {"OPTIM_STORE": f"lmdb:{tmp_path}", "OPTIM_STROE": "a slip"}
    command = ["sh", "-c", 'ulimit -Sn 256; exec "$0" "$@"', *command]
    with tied(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            slip, line = json.loads(server.stderr.readline()), json.loads(server.stderr.readline())
            assert (slip["level"], slip["setting"], slip["nearest"]) == ("warning", "OPTIM_STROE", "OPTIM_STORE")
            assert (line["event"], line["store"], line["workers"]) == ("listening", f"lmdb:{tmp_path}", int(workers))
            assert line["kernel"] == "numba"
            assert json.loads(server.stderr.readline())["event"].startswith("no API keys: everybody on this machine")
            assert httpx2.get(f"{line['url']}/readyz", timeout=30).status_code == 200
            taken, most = psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)
            assert taken == most > 256
        finally:
            server.send_signal(stop)
            server.communicate(timeout=30)
    assert server.returncode == 0


def test_variables_of_a_kubernetes_service_are_ignored() -> None:
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


@pytest.mark.parametrize("flags", [["--host=none"], ["--port=0", "--workers=2"]])
@pytest.mark.long
def test_a_server_answers_on_its_unix_socket(flags: list[str], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = [sys.executable, "-m", "app.cli", "serve", f"--store=lmdb:{tmp_path}", f"--unix-socket={path}", *flags]
    with tied([*command, "--log-format=json"], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            line = json.loads(server.stderr.readline())
            assert str(path) in (line["url"].removeprefix("unix://"), line.get("unix_socket"))
            assert path.stat().st_mode & 0o777 == 0o660
            with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), timeout=30) as client:
                assert client.get("http://localhost/readyz").status_code == 200
                assert client.get("http://elsewhere/v1/sessions").status_code == 421
            assert line["url"].startswith("unix:") or httpx2.get(f"{line['url']}/readyz").status_code == 200
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert server.returncode == 0
    assert not path.exists()
