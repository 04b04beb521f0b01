"""The clients' own connections, against servers of bare sockets: early, late, cut and foreign answers, and who gets
which."""

import asyncio
import json
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import trustme
from optim_client import (
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    BodyTooLarge,
    Client,
    InvalidAnswer,
    _async_lane,
    _lane,
)

from tests.client.conftest import Connect
from tests.client.documents import SESSION, stepped
from tests.client.raw import Handler, RawServer, answer, answers, read_head, read_request, until_closed

SESSION_ANSWER = answer(json.dumps(SESSION).encode())
LARGE = {"w": np.arange(5_000_000, dtype=np.float32)}
TOO_LARGE = answer(b'{"code": "body_too_large", "detail": "too large"}', "413 Content Too Large", "Connection: close")


def step_answer(params: Any, step: int = 42) -> bytes:
    return answer(bytes(stepped(params, step=step).body))


def named(link: socket.socket) -> None:
    """Answers each request with the session that it asks for."""
    while True:
        path = read_head(link).split()[1].decode()
        link.sendall(answer(json.dumps({**SESSION, "id": path.rpartition("/")[2]}).encode()))


def session_then(handler: Handler) -> Handler:
    """The session on the same connection, then what is about its step."""

    def handle(link: socket.socket) -> None:
        answers(SESSION_ANSWER)(link)
        handler(link)

    return handle


def get(client: Any, session_id: str = "s-1") -> str:
    return str(client.sessions.get(session_id).id)


def assert_next_call_is_answered(client: Any, server: RawServer) -> None:
    """On a connection of its own: what is left of a failed one is nobody's answer."""
    before = server.connections
    assert get(client, "next") == "next"
    assert server.connections == before + 1


def test_a_training_loop_uses_one_connection(connect: Connect) -> None:
    steps = [step_answer(LARGE, number) for number in (42, 43, 44)]
    with RawServer(answers(SESSION_ANSWER, *steps)) as server:
        session = connect(server.url, max_retries=0).sessions.get("s-1")
        for _ in steps:
            assert np.array_equal(session.step(LARGE, LARGE)["w"], LARGE["w"])
    assert server.connections == 1


def test_an_array_does_not_change_while_later_answers_arrive(connect: Connect) -> None:
    given = [{"w": np.full(1_000_000, number, np.float32), "b": np.float64(number)} for number in range(5)]
    script = [step_answer(params, 42 + number) for number, params in enumerate(given)]
    with RawServer(answers(SESSION_ANSWER, *script)) as server:
        session = connect(server.url, max_retries=0).sessions.get("s-1")
        kept = [session.step(grads=given[0])["w"][::2] for _ in script]
    assert [set(array.tolist()) for array in kept] == [{0.0}, {1.0}, {2.0}, {3.0}, {4.0}]
    kept[0] += 1
    assert set(kept[1].tolist()) == {1.0}


def test_memory_is_used_again_once_nobody_looks_at_it(connect: Connect) -> None:
    with RawServer(answers(SESSION_ANSWER, *[step_answer(LARGE)] * 3)) as server:
        session = connect(server.url, max_retries=0).sessions.get("s-1")
        places = [session.step(grads=LARGE)["w"].ctypes.data for _ in range(3)]
    assert len(set(places)) == 1


def test_an_answer_that_comes_while_the_body_is_sent_is_the_answer(connect: Connect) -> None:
    def refuse(link: socket.socket) -> None:
        read_head(link)
        link.sendall(TOO_LARGE)

    with RawServer(session_then(refuse), named) as server:
        client = connect(server.url, max_retries=0)
        session = client.sessions.get("s-1")
        with pytest.raises(BodyTooLarge, match="too large"):
            session.step(LARGE, LARGE)
        assert_next_call_is_answered(client, server)


def read_only_the_head(link: socket.socket) -> None:
    read_head(link)


def test_a_connection_that_ends_while_the_body_is_sent_is_no_answer(connect: Connect) -> None:
    with RawServer(session_then(read_only_the_head), named) as server:
        client = connect(server.url, max_retries=0)
        session = client.sessions.get("s-1")
        with pytest.raises(APIConnectionError, match="no answer") as raised:
            session.step(LARGE, LARGE)
        assert raised.value.sent
        assert_next_call_is_answered(client, server)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999])
def test_an_answer_that_breaks_off_is_none(connect: Connect, share: float) -> None:
    whole = step_answer(LARGE)
    with RawServer(answers(SESSION_ANSWER, whole[: int(share * len(whole))]), named) as server:
        client = connect(server.url, max_retries=0)
        session = client.sessions.get("s-1")
        with pytest.raises(APIConnectionError, match="the connection was closed"):
            session.step(grads=LARGE)
        assert_next_call_is_answered(client, server)


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n",
    ],
    ids=["until-close", "chunked", "interim"],
)
def test_an_answer_of_another_form_is_read_too(connect: Connect, head: str) -> None:
    body = bytes(stepped(LARGE, step=42).body)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if "chunked" in head else body
    with RawServer(answers(SESSION_ANSWER, head.format(length=len(body)).encode() + framed)) as server:
        w = connect(server.url, max_retries=0).sessions.get("s-1").step(grads=LARGE)["w"]
    assert np.array_equal(w, LARGE["w"])
    w += 1


def test_garbage_is_no_answer(connect: Connect) -> None:
    with RawServer(answers(b"SSH-2.0-OpenSSH_9\r\n"), named) as server:
        client = connect(server.url, max_retries=0)
        with pytest.raises(APIConnectionError, match=r"it begins with b'SSH-2\.0"):
            get(client)
        assert_next_call_is_answered(client, server)


def test_tensors_that_cannot_be_read_are_an_invalid_answer(connect: Connect) -> None:
    with RawServer(answers(SESSION_ANSWER, answer(b"\xff" * 100_000))) as server:
        session = connect(server.url).sessions.get("s-1")
        with pytest.raises(InvalidAnswer, match="POST /v1/sessions/s-1/steps"):
            session.step(grads=LARGE)


def test_a_connection_that_the_service_closed_while_it_was_idle_costs_no_try(connect: Connect) -> None:
    with RawServer(answers(SESSION_ANSWER), answers(SESSION_ANSWER)) as server:
        client = connect(server.url, max_retries=0)
        get(client)
        server.closed[0].wait()
        get(client)
    assert server.connections == 2


@pytest.mark.parametrize("late", [False, True])
def test_bytes_that_nobody_asked_for_are_nobodys_answer(connect: Connect, late: bool) -> None:
    surplus, sent = answer(json.dumps({**SESSION, "id": "another"}).encode()), threading.Event()
    go = threading.Event()

    def too_much(link: socket.socket) -> None:
        read_request(link)
        link.sendall(SESSION_ANSWER if late else SESSION_ANSWER + surplus)
        if late:
            go.wait(10)
            link.sendall(surplus)
        sent.set()
        until_closed(link)

    with RawServer(too_much, named) as server:
        client = connect(server.url, max_retries=0)
        get(client)
        go.set()
        sent.wait()
        assert_next_call_is_answered(client, server)


def test_a_connection_that_was_idle_for_long_is_not_trusted(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lane, "IDLE_SECONDS", 0.0)
    with RawServer(named, named) as server:
        client = connect(server.url, max_retries=0)
        get(client)
        assert_next_call_is_answered(client, server)


stop = threading.Event()


def unread(_: socket.socket) -> None:
    stop.wait(10)


def unanswered(link: socket.socket) -> None:
    read_request(link)
    stop.wait(10)


@pytest.fixture(autouse=True)
def _stop() -> Iterator[None]:
    """Silent servers are silent until the test ends."""
    stop.clear()
    yield
    stop.set()


@pytest.fixture
def silent() -> Iterator[Callable[..., RawServer]]:
    with ExitStack() as stack:

        def start(*handlers: Handler) -> RawServer:
            server = stack.enter_context(RawServer(*handlers))
            stack.callback(stop.set)
            return server

        yield start


TIMEOUTS = {
    "write": (LARGE, unread),
    "read": ({"w": np.float32(1)}, unanswered),
}


@pytest.mark.parametrize("phase", TIMEOUTS)
def test_no_progress_is_a_timeout(connect: Connect, silent: Callable[..., RawServer], phase: str) -> None:
    grads, handler = TIMEOUTS[phase]
    server = silent(session_then(handler), named)
    client = connect(server.url, max_retries=0, timeout=httpx2.Timeout(10, **{phase: 0.1}))
    session = client.sessions.get("s-1")
    with pytest.raises(APITimeoutError, match="no answer in time") as raised:
        session.step(grads=grads)
    assert raised.value.sent
    assert_next_call_is_answered(client, server)


def test_a_slow_answer_is_waited_for_as_long_as_it_makes_progress(connect: Connect) -> None:
    whole = step_answer(LARGE)

    def slow(link: socket.socket) -> None:
        read_request(link)
        for start in range(0, len(whole), len(whole) // 8 + 1):
            stop.wait(0.1)
            link.sendall(whole[start : start + len(whole) // 8 + 1])

    with RawServer(session_then(slow)) as server:
        client = connect(server.url, max_retries=0, timeout=0.5)
        assert np.array_equal(client.sessions.get("s-1").step(grads=LARGE)["w"], LARGE["w"])


def test_a_connection_that_is_not_taken_is_a_timeout_and_was_never_sent(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):
            link = waiting.enter_context(socket.socket())
            link.setblocking(False)
            link.connect_ex(full.getsockname())
        client = connect(
            f"http://127.0.0.1:{full.getsockname()[1]}", max_retries=0, timeout=httpx2.Timeout(10, connect=0.1)
        )
        with pytest.raises(APITimeoutError) as raised:
            get(client)
    assert not raised.value.sent


POOL = httpx2.Timeout(10, pool=0.05)


def holding(held: threading.Event) -> Handler:
    """Lets the first call wait until the test ends."""

    def handle(link: socket.socket) -> None:
        read_request(link)
        held.set()
        stop.wait(10)

    return handle


def test_who_gets_no_connection_in_time_is_told(
    silent: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lane, "CONNECTIONS", 1)
    held = threading.Event()
    server = silent(holding(held))
    with ThreadPoolExecutor() as other, Client(server.url, max_retries=0) as client:
        other.submit(get, client)
        held.wait()
        with pytest.raises(APITimeoutError, match="calls are under way") as raised:
            get(client.with_options(timeout=POOL))
        stop.set()
    assert not raised.value.sent


async def test_who_gets_no_connection_in_time_is_told_in_async_code(
    silent: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_async_lane, "CONNECTIONS", 1)
    held = threading.Event()
    server = silent(holding(held))
    async with AsyncClient(server.url, max_retries=0) as client:
        first = asyncio.create_task(client.sessions.get("s-1"))
        await asyncio.to_thread(held.wait)
        with pytest.raises(APITimeoutError, match="calls are under way") as raised:
            await client.with_options(timeout=POOL).sessions.get("s-1")
        stop.set()
        with pytest.raises(APIConnectionError):
            await first
    assert not raised.value.sent


def takes_it(link: socket.socket) -> None:
    read_request(link)


def sends_half(link: socket.socket) -> None:
    read_request(link)
    whole = step_answer(LARGE)
    link.sendall(whole[: len(whole) // 2])


PHASES: dict[str, tuple[Any, Handler]] = {
    "sending": (LARGE, read_only_the_head),
    "waiting": ({"w": np.float32(1)}, takes_it),
    "receiving": (LARGE, sends_half),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancelled_call_ends_its_connection(phase: str) -> None:
    grads, begin = PHASES[phase]
    begun, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def handler(link: socket.socket) -> None:
        begin(link)
        loop.call_soon_threadsafe(begun.set)
        until_closed(link)
        ended.set()

    with RawServer(session_then(handler), named) as server:
        async with AsyncClient(server.url, max_retries=0) as client:
            session = await client.sessions.get("s-1")
            call = asyncio.create_task(session.step(grads=grads))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(ended.wait, 10)
            assert (await client.sessions.get("next")).id == "next"
            assert session.info.step == 41
    assert server.connections == 2


async def test_a_call_that_is_cancelled_before_it_begins_sends_nothing() -> None:
    with RawServer(named) as server:
        async with AsyncClient(server.url) as client:
            call = asyncio.create_task(client.sessions.get("s-1"))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (await client.sessions.get("next")).id == "next"


async def test_a_thousand_cancelled_calls_leave_no_foreign_answer_and_no_thread() -> None:
    with RawServer(*[named] * 1100) as server:
        async with AsyncClient(server.url, max_retries=0) as client:
            for number in range(100):
                calls = [asyncio.create_task(client.sessions.get(f"{number}-{one}")) for one in range(10)]
                await asyncio.sleep(0.0001 * (number % 10))
                for call in calls[::2]:
                    call.cancel()
                got = await asyncio.gather(*calls, return_exceptions=True)
                for one, session in enumerate(got):
                    assert isinstance(session, asyncio.CancelledError) or session.id == f"{number}-{one}"  # type: ignore[union-attr]
    for thread in threading.enumerate():
        if thread.name.startswith("optim-client"):
            thread.join(10)
            assert not thread.is_alive()


def test_an_interrupt_ends_the_connection() -> None:
    main = threading.get_ident()

    def interrupt(link: socket.socket) -> None:
        read_request(link)
        signal.pthread_kill(main, signal.SIGINT)
        assert until_closed(link) == 0

    with RawServer(interrupt, named) as server, Client(server.url, max_retries=0) as client:
        with pytest.raises(KeyboardInterrupt):
            get(client)
        assert_next_call_is_answered(client, server)


def test_threads_share_a_client_and_each_gets_its_own_answers() -> None:
    ids = [str(number) for number in range(400)]
    with (
        RawServer(*[named] * 8) as server,
        Client(server.url, max_retries=0) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        assert list(threads.map(lambda one: get(client, one), ids)) == ids


def test_a_closed_client_says_so(connect: Connect) -> None:
    with RawServer(named) as server:
        client = connect(server.url)
        get(client)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            get(client)


def test_a_key_with_a_line_break_is_refused_and_not_shown(connect: Connect) -> None:
    with pytest.raises(ValueError, match="api_key holds a line break") as raised:
        connect("http://127.0.0.1:1", api_key="secret\n")
    assert "secret" not in str(raised.value)


def test_a_proxy_of_the_environment_is_used_but_for_the_hosts_that_it_spares(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_https_is_spoken_with_who_is_trusted(
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
def test_https_is_refused_with_who_is_not_trusted_or_somebody_else(
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
