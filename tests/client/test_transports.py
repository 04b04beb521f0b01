"""The choice of a transport: by the scheme of the URL, and by the proxies of the environment."""

import socket

import pytest
from optim_client import _async_transports, _transports
from optim_client._address import FORMS

from tests.client.conftest import Connect
from tests.client.raw import RawServer, read_request
from tests.client.raw_service import SESSION_BYTES, get, named


def test_every_address_has_a_transport_of_each_kind() -> None:
    assert _transports.TRANSPORTS.keys() == _async_transports.TRANSPORTS.keys() == FORMS.keys()


def test_a_proxy_of_the_environment_is_used_unless_excluded(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def proxy(link: socket.socket) -> None:
        asked.append(read_request(link))
        link.sendall(SESSION_BYTES)

    with RawServer(proxy) as forward, RawServer(named) as server:
        monkeypatch.setenv("ALL_PROXY", forward.url)
        get(connect("http://service.example"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        get(connect(server.url))
    assert asked[0].startswith(b"GET http://service.example/v1/sessions/s-1 ")
    assert (forward.connections, server.connections) == (1, 1)
