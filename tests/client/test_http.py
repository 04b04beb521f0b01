"""Failures of a connection as errors of this library, and the headers of a file."""

import socket
from pathlib import Path

import pytest
from optim_client import APIConnectionError, APITimeoutError
from optim_client._http import headers_of, is_of_a_file
from optim_client._protocol import Request

from tests.client.conftest import Connect
from tests.client.raw import RawServer
from tests.client.scripted import Answer, ScriptedServer


def test_a_closed_port_is_an_unsent_connection_error(connect: Connect) -> None:
    with ScriptedServer() as server:
        pass
    client = connect(server.url.replace("//", "//user:secret@"), max_retries=0)
    with pytest.raises(APIConnectionError, match="is the service running there") as raised:
        client.sessions.get("s-1")
    assert not raised.value.sent
    assert "secret" not in str(raised.value)
    assert not client.ready()


def test_a_late_answer_is_a_timeout(connect: Connect) -> None:
    with ScriptedServer(Answer(late=5)) as server:
        client = connect(server.url).with_options(timeout=0.05, max_retries=0)
        with pytest.raises(APITimeoutError, match="no answer in time"):
            client.sessions.get("s-1")


def test_https_to_a_plain_server_is_not_tried_again(connect: Connect) -> None:
    def plain(link: socket.socket) -> None:
        link.recv(1 << 14)
        link.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(plain) as server:
        client = connect(server.url.replace("http:", "https:"), retry_seconds=1)
        with pytest.raises(APIConnectionError, match="no connection") as raised:
            client.sessions.get("s-1")
    assert not raised.value.may_pass


def test_a_file_is_announced_with_its_length(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"12345")
    with (tmp_path / "state").open("rb") as file:
        request = Request("PUT", "/", headers={"accept": "*/*"}, body=file)
        assert is_of_a_file(request)
        assert headers_of(request) == {"accept": "*/*", "content-length": "5"}
    assert headers_of(Request("PUT", "/", body=b"12345")) == {}
