"""Clients and sessions that are pickled for other processes, or copied."""

import copy
import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import httpx2
import pytest
from optim_client import AsyncClient, Client
from optim_client._protocol import Patience

from app.demo.server import Server
from tests.client.conftest import Connect
from tests.client.documents import SESSION, W
from tests.client.raw import RawServer, read_request
from tests.client.raw_service import SESSION_BYTES
from tests.client.scripted import Answer, ScriptedServer

KINDS: list[Any] = [Client, AsyncClient]


def step_elsewhere(pickled: bytes) -> tuple[int, list[float]]:
    """Take a step, as a worker does with a session that it was sent."""
    session = pickle.loads(pickled)
    with session.client:
        return session.info.step, session.step(W, W)["w"].tolist()


@pytest.mark.long
def test_a_session_is_stepped_in_another_process(server: Server) -> None:
    with Client(server.url) as client, multiprocessing.get_context("spawn").Pool(1) as pool:
        session = client.sessions.create("sgd", lr=0.5)
        session.step(W, W)
        assert pool.apply(step_elsewhere, (pickle.dumps(session),)) == (1, [0.5, 1.0])
        assert session.get().step == 2


def test_a_pickled_session_keeps_its_state_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def ask(link: Any) -> None:
        for _ in range(2):
            asked.append(read_request(link))
            link.sendall(SESSION_BYTES)

    with RawServer(ask, ask) as server:
        with Client(server.url, api_key="secret-1", timeout=7, retry_seconds=30, max_retries=4) as client:
            session = client.sessions.get("s-1")
            pickled = pickle.dumps(session)
        assert b"secret-1" not in pickled
        monkeypatch.setenv("OPTIM_API_KEY", "secret-2")
        again = pickle.loads(pickled)
        with again.client:
            assert (again.id, again.info) == (session.id, session.info)
            assert again.client.base_url == server.url
            assert (again.client.timeout, again.client.patience) == (httpx2.Timeout(7), Patience(30, 4))
            again.get()
    assert [b"Bearer secret-1" in asked[0], b"Bearer secret-2" in asked[1]] == [True, True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{}, {"max_retries": 0}, {"max_retries": 3}, {"retry_seconds": 9}, {"timeout": httpx2.Timeout(None)}]
)
def test_a_client_travels_with_its_options(kind: Any, options: dict[str, Any]) -> None:
    client = kind("http://127.0.0.1:1/optim", **options)
    again = pickle.loads(pickle.dumps(client))
    assert type(again) is kind
    assert (again.base_url, again.timeout, again.patience) == (client.base_url, client.timeout, client.patience)


@pytest.mark.parametrize("store", ["memory:", "lmdb:{folder}/store"])
def test_a_service_in_the_process_cannot_travel(connect: Connect, store: str, tmp_path: Path) -> None:
    client = connect(store.format(folder=tmp_path))
    session = client.sessions.create("sgd")
    for thing in (getattr(client, "_target", client), getattr(session, "_target", session)):
        with pytest.raises(TypeError, match="`optim serve`"):
            pickle.dumps(thing)


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_with_password_or_transport_cannot_be_pickled(kind: Any) -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200))
    for client in (kind("http://user:secret@host"), kind("http://host", transport=transport)):
        with pytest.raises(TypeError, match=r"send session\.id") as raised:
            pickle.dumps(client)
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copied_session_keeps_its_client(copied: Any) -> None:
    answers = [Answer(body=SESSION_BYTES.partition(b"\r\n\r\n")[2])] * 2
    with ScriptedServer(*answers) as server, Client(server.url, api_key="secret") as client:
        session = client.sessions.get("s-1")
        again = copied(session)
        assert again.info == session.info
        assert again.get().id == SESSION["id"]
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer secret"] * 2
