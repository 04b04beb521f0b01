"""Request ids: an answer to another request, step or service is an error."""

import functools
import re
import socket
from pathlib import Path

import pytest
from optim_client import ForeignAnswer, InvalidAnswer, NotFound

from tests.client.conftest import Connect
from tests.client.documents import W, stepped
from tests.client.raw import RawServer, read_head
from tests.client.raw import answer as raw_answer
from tests.client.scripted import BUSY, DROP, SESSION_ANSWER, STEPPED, Answer, ScriptedServer, session_of

pytestmark = pytest.mark.usefixtures("_short_waits")


def test_each_try_has_a_request_id_of_its_own(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, DROP, BUSY, SESSION_ANSWER) as server:
        client = connect(server.url)
        session_of(client)
        session_of(client)
    ids = [seen.headers["x-request-id"] for seen in server.seen]
    assert len(set(ids)) == 4
    assert all(re.fullmatch("optim-client-[0-9a-f]{16}-[1-9][0-9]*", one) for one in ids)


def echo(link: socket.socket, **changed: str) -> None:
    """Answer each request with the id that was sent, or another one."""
    while True:
        head = read_head(link)
        own = re.search(rb"x-request-id: (\S+)", head)
        assert own
        sent = changed.get("id", own[1].decode())
        link.sendall(raw_answer(SESSION_ANSWER.body, "200 OK", f"X-Request-ID: {sent}"))


def test_an_answer_to_another_request_is_refused(connect: Connect) -> None:
    other = functools.partial(echo, id="optim-client-0123456789abcdef-7")
    with RawServer(other, other, echo) as server:
        with pytest.raises(ForeignAnswer, match="received the answer to request optim-client-0123456789abcdef-7"):
            connect(server.url, max_retries=0).sessions.get("s-1")
        assert session_of(connect(server.url)).id == "s-1"  # at the second try, on a connection of its own
    assert server.connections == 3


def test_a_foreign_id_is_refused_once_ids_come_back(connect: Connect) -> None:
    def once(link: socket.socket) -> None:
        own = re.search(rb"x-request-id: (\S+)", read_head(link))
        assert own
        link.sendall(raw_answer(SESSION_ANSWER.body, "200 OK", f"X-Request-ID: {own[1].decode()}"))
        echo(link, id="7f1f0ad0")

    with RawServer(once) as server:
        client = connect(server.url, max_retries=0)
        assert session_of(client).id == "s-1"
        with pytest.raises(ForeignAnswer):
            session_of(client)


def test_a_proxy_may_replace_the_request_ids(connect: Connect) -> None:
    with RawServer(functools.partial(echo, id="7f1f0ad0")) as server:
        client = connect(server.url, max_retries=0)
        assert [session_of(client).id for _ in range(3)] == ["s-1"] * 3


def test_parameters_of_another_step_are_not_taken(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, Answer(body=stepped(W, step=43).body), STEPPED) as server:
        session = session_of(connect(server.url))
        with pytest.raises(InvalidAnswer, match="unexpected step 43; expected 42"):
            session.step(W, W)
        assert session.info.step == 41
        session.step(W, W)


def test_another_service_at_the_address_is_told_apart(connect: Connect) -> None:
    with ScriptedServer(Answer(body=b"<html>hello"), Answer(404, b"<html>nothing")) as server:
        client = connect(server.url)
        with pytest.raises(InvalidAnswer, match="GET /v1/sessions/s-1"):
            client.sessions.get("s-1")
        with pytest.raises(NotFound, match="nothing"):
            client.sessions.get("s-1")


@pytest.mark.parametrize("page", ["text/html", "text/plain; charset=utf-8"])
def test_a_login_page_is_no_answer_to_any_call(connect: Connect, page: str, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"old")
    login = Answer(200, b"<html>Please log in</html>", {"Content-Type": page})
    with ScriptedServer(SESSION_ANSWER, *[login] * 6) as server:
        session = session_of(connect(server.url))
        for call in (
            session.get,
            session.delete,
            lambda: session.put_params(W),
            lambda: session.save_state(tmp_path / "state"),
            lambda: session.load_state(tmp_path / "state"),
            lambda: session.step(W, W),
        ):
            with pytest.raises(InvalidAnswer, match="login page"):
                call()
    assert (tmp_path / "state").read_bytes() == b"old"


def test_an_unexpected_success_is_an_invalid_answer(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"old")
    other = Answer(200, b'{"status": "ok"}', {"Content-Type": "application/json"})
    with ScriptedServer(SESSION_ANSWER, *[other] * 6) as server:
        session = session_of(connect(server.url))
        for call in (
            session.get,
            session.delete,
            lambda: session.put_params(W),
            lambda: session.save_state(tmp_path / "state"),
            lambda: session.load_state(tmp_path / "state"),
            lambda: session.step(W, W),
        ):
            with pytest.raises(InvalidAnswer, match="the answer cannot be read"):
                call()
    assert (tmp_path / "state").read_bytes() == b"old"
