"""Who is spoken with: keys and passwords, proxies, cookies, and certificates."""

import asyncio
import json
import socket
import ssl
import threading
from pathlib import Path

import numpy as np
import pytest
import trustme
from optim_client import APIConnectionError, AsyncClient

from tests.client.conftest import Connect
from tests.client.documents import SESSION
from tests.client.raw import RawServer, answer, answers, read_request, until_closed
from tests.client.raw_service import LARGE, SESSION_ANSWER, get, named, step_answer


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
        link.sendall(SESSION_ANSWER)

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
        link.sendall(SESSION_ANSWER)

    with RawServer(ask) as server:
        monkeypatch.setenv("OPTIM_API_KEY", empty)
        get(connect(server.url, api_key=empty))
    assert b"authorization" not in asked[0]


@pytest.mark.parametrize("url", ["http://user:secret@", "redis://user:secret@host", "http://user:secret@ho\nst"])
def test_an_address_that_is_refused_is_shown_without_its_password(connect: Connect, url: str) -> None:
    with pytest.raises(ValueError, match="base_url") as raised:
        connect(url)
    assert "secret" not in str(raised.value)


def test_a_proxy_of_the_environment_is_used_unless_excluded(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def proxy(link: socket.socket) -> None:
        asked.append(read_request(link))
        link.sendall(SESSION_ANSWER)

    with RawServer(proxy) as forward, RawServer(named) as server:
        monkeypatch.setenv("ALL_PROXY", forward.url)
        get(connect("http://service.example"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        get(connect(server.url))
    assert asked[0].startswith(b"GET http://service.example/v1/sessions/s-1 ")
    assert (forward.connections, server.connections) == (1, 1)


def test_a_password_in_the_url_is_sent_as_one(connect: Connect) -> None:
    asked: list[bytes] = []

    def ask(link: socket.socket) -> None:
        asked.append(read_request(link))
        link.sendall(SESSION_ANSWER)

    with RawServer(ask) as server:
        get(connect(server.url.replace("//", "//user:secret@")))
    assert b"Basic dXNlcjpzZWNyZXQ=" in asked[0]


def test_a_cookie_comes_back_to_the_balancer_that_set_it(connect: Connect) -> None:
    asked: list[bytes] = []
    with_cookie = answer(json.dumps(SESSION).encode(), "200 OK", "Set-Cookie: worker=7")

    def balancer(link: socket.socket) -> None:
        while True:
            asked.append(read_request(link))
            link.sendall(with_cookie)

    with RawServer(balancer, balancer) as server:
        client = connect(server.url, max_retries=0)
        for _ in range(3):
            get(client)
    assert [b"worker=7" in head.lower() for head in asked] == [False, False, True]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secured(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_https_accepts_a_trusted_certificate(
    connect: Connect, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    script = answers(SESSION_ANSWER, step_answer(LARGE), step_answer(LARGE, 43))
    with RawServer(script, tls=secured(authority, "127.0.0.1")) as server:
        session = connect(server.url, max_retries=0).sessions.get("s-1")
        for _ in range(2):
            assert np.array_equal(session.step(LARGE, LARGE)["w"], LARGE["w"])
    assert server.connections == 1


@pytest.mark.parametrize(("name", "trusted"), [("127.0.0.1", False), ("service.example", True)])
def test_https_refuses_an_untrusted_or_foreign_certificate(
    connect: Connect, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, trusted: bool
) -> None:
    if trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with (
        RawServer(named, tls=secured(authority, name)) as server,
        pytest.raises(APIConnectionError, match="certificate verify failed") as raised,
    ):
        get(connect(server.url, max_retries=0))
    assert not raised.value.sent


async def test_a_call_that_is_cancelled_while_it_connects_sends_nothing(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    connecting, go, heard = asyncio.Event(), threading.Event(), list[int]()
    loop = asyncio.get_running_loop()

    def handler(link: socket.socket) -> None:
        loop.call_soon_threadsafe(connecting.set)
        go.wait(10)
        with secured(authority, "127.0.0.1").wrap_socket(link, server_side=True) as stream:
            heard.append(until_closed(stream))

    with RawServer(handler) as server:
        async with AsyncClient(server.url.replace("http:", "https:")) as client:
            call = asyncio.create_task(client.sessions.get("s-1"))
            await connecting.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            go.set()
            assert await asyncio.to_thread(server.closed[0].wait, 10)
    assert heard == [0]
