"""The address of the service and the headers of every request: keys, variables, and forms that are refused."""

import socket

import pytest

from tests.client.conftest import Connect
from tests.client.raw import RawServer, read_request
from tests.client.raw_service import SESSION_BYTES, get
from tests.client.scripted import SESSION_ANSWER, ScriptedServer


@pytest.mark.parametrize("key", ["sec\nret", "sec\r\nret", "sec ret", "sécret", "sec\0ret", "secret\nsecret\n"])
def test_a_malformed_key_is_refused_and_not_shown(connect: Connect, key: str) -> None:
    with pytest.raises(ValueError, match="api_key holds a line break") as raised:
        connect("http://127.0.0.1:1", api_key=key)
    assert "ret" not in str(raised.value)


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}\t", "\ufeff{}", "\ufeff{}\r\n"])
def test_space_and_byte_order_marks_around_values_are_removed(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    asked: list[bytes] = []

    def ask(link: socket.socket) -> None:
        asked.append(read_request(link))
        link.sendall(SESSION_BYTES)

    with RawServer(ask, ask) as server:
        monkeypatch.setenv("OPTIM_BASE_URL", around.format(server.url))
        monkeypatch.setenv("OPTIM_API_KEY", around.format("secret"))
        get(connect())
        get(connect(around.format(server.url), api_key=around.format("secret")))
    assert [b"\r\nauthorization: Bearer secret\r\n" in head for head in asked] == [True, True]


@pytest.mark.parametrize("empty", ["", "\n", "\ufeff"])
def test_a_value_that_is_empty_is_none(connect: Connect, monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    asked: list[bytes] = []

    def ask(link: socket.socket) -> None:
        asked.append(read_request(link))
        link.sendall(SESSION_BYTES)

    with RawServer(ask) as server:
        monkeypatch.setenv("OPTIM_API_KEY", empty)
        get(connect(server.url, api_key=empty))
    assert b"authorization" not in asked[0]


@pytest.mark.parametrize("url", ["http://user:secret@", "redis://user:secret@host", "http://user:secret@ho\nst"])
def test_an_address_that_is_refused_is_shown_without_its_password(connect: Connect, url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as raised:
        connect(url)
    assert "secret" not in str(raised.value)


def test_every_request_says_who_asks(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(*[SESSION_ANSWER] * 3) as server:
        connect(server.url).sessions.get("s-1")
        connect(server.url, api_key="k1").sessions.get("s-1")
        monkeypatch.setenv("OPTIM_API_KEY", "k2")
        monkeypatch.setenv("OPTIM_BASE_URL", server.url)
        connect().sessions.get("s-1")
    assert [seen.headers.get("authorization") for seen in server.seen] == [None, "Bearer k1", "Bearer k2"]
    assert all(seen.headers["user-agent"].startswith("optim-client/") for seen in server.seen)


def test_a_service_below_a_path_is_found(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER) as server:
        connect(f"{server.url}/optim/").sessions.get("s-1")
    assert server.seen[0].path == "/optim/v1/sessions/s-1"


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "redis://127.0.0.1",
        "lmdb:",
        "memory:x",
        "ftp://host",
        "unix:",
        "unix:/s",
        "unix://s",
        "unix:///",
    ],
)
def test_an_unknown_address_is_refused(connect: Connect, url: str) -> None:
    with pytest.raises(ValueError, match=r"unknown base_url .*; expected one of http:"):
        connect(url)


@pytest.mark.parametrize("port", [-1, 0, 65536, 99999])
def test_an_impossible_port_is_refused(connect: Connect, monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    url = f"http://user:secret@127.0.0.1:{port}/optim"
    monkeypatch.setenv("OPTIM_BASE_URL", url)
    for given in (url, None):
        with pytest.raises(ValueError, match=f"base_url 'http://127.*' has port {port}; expected 1 to 65535") as raised:
            connect(given)
        assert "secret" not in str(raised.value)


def test_an_address_or_key_that_is_no_string_is_refused(connect: Connect) -> None:
    with pytest.raises(TypeError, match="base_url must be a string, not 8000"):
        connect(8000)
    with pytest.raises(TypeError, match="api_key must be a string, not bytes") as raised:
        connect("http://127.0.0.1:1", api_key=b"secret")
    assert "secret" not in str(raised.value)
