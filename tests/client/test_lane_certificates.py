"""The certificates that the lane accepts, and those that it refuses."""

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import numpy as np
import pytest
import trustme
from optim_client import APIConnectionError, AsyncClient

from tests.client.conftest import Connect
from tests.client.raw import RawServer, answers, until_closed
from tests.client.raw_service import LARGE, SESSION_BYTES, get, named, step_answer


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
    script = answers(SESSION_BYTES, step_answer(LARGE), step_answer(LARGE, 43))
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
