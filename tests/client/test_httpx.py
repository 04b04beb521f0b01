"""Requests that HTTPX makes: passwords in the URL, cookies, transports of the user, and files."""

import json
import socket
from pathlib import Path

import httpx2
import numpy as np
import pytest
from optim_client import Client, InternalServerError

from tests.client.conftest import Connect
from tests.client.documents import SESSION
from tests.client.raw import RawServer, answer, read_request
from tests.client.raw_service import SESSION_BYTES, get
from tests.client.scripted import BUSY, DROP, SESSION_ANSWER, Answer, ScriptedServer, session_of

pytestmark = pytest.mark.usefixtures("_short_waits")


def test_a_password_in_the_url_is_sent_as_one(connect: Connect) -> None:
    asked: list[bytes] = []

    def ask(link: socket.socket) -> None:
        asked.append(read_request(link))
        link.sendall(SESSION_BYTES)

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


def test_a_transport_of_ones_own_is_used() -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=SESSION))
    with Client("http://service.example", transport=transport) as client:
        assert client.sessions.get("s-1").id == "s-1"


def test_a_state_arrives_whole_although_the_first_try_breaks_off(connect: Connect, tmp_path: Path) -> None:
    state = np.random.default_rng(0).bytes(3_000_000)
    with ScriptedServer(SESSION_ANSWER, Answer(body=state, cut=2_000_000), Answer(body=state[:1000])) as server:
        session_of(connect(server.url)).save_state(tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == state[:1000]


def test_a_failed_download_leaves_only_the_old_file(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"old")
    damaged = Answer(500, b'{"code": "state_damaged", "detail": "damaged"}', {"X-Should-Retry": "false"})
    with ScriptedServer(SESSION_ANSWER, damaged) as server, pytest.raises(InternalServerError, match="damaged"):
        session_of(connect(server.url)).save_state(tmp_path / "state")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"state": b"old"}


def test_an_upload_is_sent_whole_at_every_try(connect: Connect, tmp_path: Path) -> None:
    state = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "state").write_bytes(state)
    moved = Answer(body=json.dumps({**SESSION, "step": 7}).encode())
    with ScriptedServer(SESSION_ANSWER, BUSY, DROP, Answer(204), moved) as server:
        session = session_of(connect(server.url))
        session.load_state(tmp_path / "state")
    assert [seen.body == state for seen in server.seen] == [False, True, True, True, False]
    assert server.seen[1].headers["content-length"] == "3000000"
    assert "transfer-encoding" not in server.seen[1].headers
    assert session.info.step == 7


def test_a_state_file_that_is_not_there_is_not_sent(connect: Connect, tmp_path: Path) -> None:
    with ScriptedServer(SESSION_ANSWER) as server:
        session = session_of(connect(server.url))
        with pytest.raises(FileNotFoundError):
            session.load_state(tmp_path / "none")
