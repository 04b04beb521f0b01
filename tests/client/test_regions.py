"""Both clients with regions: the same results as without, arrays that stay, and every way back to the socket."""

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from optim_client import APIConnectionError, Client, _regions
from optim_client._lane import CONNECTIONS, Lane
from optim_client._protocol import Request
from optim_client._request_ids import RequestIds

from app.web.regions import RegionMemory
from tests.client.conftest import Connect
from tests.client.raw import read_head
from tests.client.test_fork import assert_right
from tests.region_client import metric
from tests.unix_service import unix_service

SIZE = 300_000
"""Elements of float32: more than a body that is sent may have."""
LEASED = 'optim_regions_total{outcome="leased"}'


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unix_service(tmp_path_factory.mktemp("u")) as url:
        yield url


def gradients(number: int, size: int = SIZE) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(number).standard_normal(size, np.float32)


def held(client: Any, size: int = SIZE) -> Any:
    session = client.sessions.create("adamw", lr=0.01, hold_params=True)
    session.put_params({"w": gradients(0, size)})
    return session


def sent(size: int = SIZE, steps: int = 4) -> list[bytes]:
    """Return the parameters of each step of a client without regions."""
    with Client("memory:") as client:
        session = held(client, size)
        return [session.step(grads={"w": gradients(number, size)})["w"].tobytes() for number in range(1, steps + 1)]


@pytest.mark.long
def test_large_steps_take_regions_and_change_no_bit(connect: Connect, url: str) -> None:
    before = metric(url, LEASED)
    session = held(connect(url))
    assert [session.step(grads={"w": gradients(number)})["w"].tobytes() for number in range(1, 5)] == sent()
    assert 2 <= metric(url, LEASED) - before <= 3


def test_parameters_pass_a_region_too(connect: Connect, url: str) -> None:
    before = metric(url, LEASED)
    session = connect(url).sessions.create("sgd", lr=1.0)
    params = session.step(
        {"w": gradients(1), "b": np.zeros((0,), np.float32)}, {"w": gradients(2), "b": np.float32([])}
    )
    assert np.array_equal(params["w"], gradients(1) - gradients(2))
    assert metric(url, LEASED) > before


def test_small_steps_take_no_region(connect: Connect, url: str) -> None:
    before = metric(url, LEASED)
    session = held(connect(url), 1000)
    session.step(grads={"w": gradients(1, 1000)})
    assert metric(url, LEASED) == before


def test_an_array_never_changes_under_its_owner(connect: Connect, url: str) -> None:
    client = connect(url)
    session = held(client)
    kept = [session.step(grads={"w": gradients(number)})["w"][::2] for number in range(1, 5)]
    before = [array.copy() for array in kept]
    kept[0] += 1
    for number in range(5, 9):
        session.step(grads={"w": gradients(number)})
    client.close()
    assert np.array_equal(kept[0], before[0] + 1)
    assert all(np.array_equal(*pair) for pair in zip(kept[1:], before[1:], strict=True))


def test_a_region_is_used_again_once_nobody_views_it(connect: Connect, url: str) -> None:
    session = held(connect(url))
    places = [session.step(grads={"w": gradients(number)})["w"].ctypes.data for number in range(1, 9)]
    assert len(set(places)) <= 3


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list of the copies into regions from now on."""
    copied: list[object] = []
    copy = _regions._copy
    monkeypatch.setattr(_regions, "_copy", lambda *args: (copied.append(args), copy(*args)))
    return copied


def test_gradients_in_a_region_are_not_copied(connect: Connect, url: str, copied: list[object]) -> None:
    client = connect(url)
    session = held(client)
    grads = client.empty({"w": SIZE})
    before = metric(url, LEASED)
    params = []
    for number in range(1, 5):
        grads["w"][:] = gradients(number)
        params.append(session.step(grads=grads)["w"].tobytes())
    assert (params, copied) == (sent(), [])
    assert 1 <= metric(url, LEASED) - before <= 2  # the room for the answers
    session.step(grads={"w": gradients(5)})
    assert len(copied) == 1


SHAPES = [
    {"a": SIZE, "b": 9},
    {"a": 9, "b": SIZE},
    {"a": 7, "b": SIZE, "c": 9, "d": 5, "e": SIZE, "f": 3, "g": 1},
]


@pytest.mark.parametrize("shapes", SHAPES)
def test_small_arrays_beside_large_ones_copy_none(
    connect: Connect, url: str, copied: list[object], shapes: dict[str, int]
) -> None:
    client = connect(url)
    session = client.sessions.create("sgd", lr=1.0, hold_params=True)
    session.put_params({name: np.zeros(size, np.float32) for name, size in shapes.items()})
    grads = client.empty(shapes)
    for name, size in shapes.items():
        grads[name][:] = gradients(size, size)
    params = session.step(grads=grads)
    assert copied == []
    assert all(np.array_equal(params[name], -gradients(size, size)) for name, size in shapes.items())


@pytest.mark.parametrize("name", ["a", "b"])
def test_other_gradients_beside_made_ones_are_copied(
    connect: Connect, url: str, copied: list[object], name: str
) -> None:
    client = connect(url)
    session = client.sessions.create("sgd", lr=1.0, hold_params=True)
    session.put_params({"a": np.zeros(9, np.float32), "b": np.zeros(SIZE, np.float32)})
    grads = client.empty({"a": 9, "b": SIZE})
    grads["a"][:], grads["b"][:] = 1, 1
    other = np.full_like(grads[name], 2)
    params = session.step(grads={**grads, name: other})
    assert len(copied) == 1
    assert set(params[name].tolist()) == {-2}
    assert set(grads[name].tolist()) == {1}


def test_a_part_of_the_made_gradients_keeps_the_rest(connect: Connect, url: str) -> None:
    client = connect(url)
    session = client.sessions.create("sgd", lr=1.0, hold_params=True)
    session.put_params({"b": gradients(0)})
    grads = client.empty({"a": SIZE, "b": SIZE})
    grads["a"][:], grads["b"][:] = gradients(1), gradients(2)
    after = session.step(grads={"b": grads["b"]})
    assert np.array_equal(after["b"], gradients(0) - gradients(2))
    assert np.array_equal(grads["a"], gradients(1))


def test_made_gradients_serve_another_connection(connect: Connect, url: str) -> None:
    grads = connect(url).empty({"w": SIZE})
    grads["w"][:] = gradients(1)
    assert held(connect(url)).step(grads=grads)["w"].tobytes() == sent(steps=1)[0]


def test_steps_of_several_sizes_take_what_they_need(connect: Connect, url: str) -> None:
    client = connect(url)
    sizes = (SIZE, 4 * SIZE, 2 * SIZE)
    sessions = [held(client, size) for size in sizes]
    for number in range(1, 3):
        for session, size in zip(sessions, sizes, strict=True):
            params = session.step(grads={"w": gradients(number, size)})["w"]
    assert params.tobytes() == sent(2 * SIZE, 2)[-1]


def test_after_a_lost_step_made_gradients_are_private(tmp_path: Path) -> None:
    """The service may still read the request: what the caller writes for the next one must not get into it."""
    memory, descriptor = RegionMemory(1 << 26).make(1 << 23, 0)
    places: list[bytes] = []

    def lose_the_step() -> None:
        link, _ = listener.accept()
        with link:
            for _ in range(2):
                read_head(link)
                socket.send_fds(link, [b"HTTP/1.1 103 Early Hints\r\n\r\n"], [descriptor])
                link.sendall(b"HTTP/1.1 204 No Content\r\nX-Optim-Region: 1\r\n\r\n")
            places.append(read_head(link))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        server = threading.Thread(target=lose_the_step)
        server.start()
        lane = Lane(httpx2.URL("http://localhost"), {}, RequestIds(), str(tmp_path / "socket"))
        grads = lane.empty(1 << 21, 4096, httpx2.Timeout(10))
        grads[:] = 1
        request = Request("POST", "/v1/sessions/s/steps", body=[b"head" * 2, grads.data])
        outcome = lane.exchange(request, httpx2.Timeout(10))
        server.join()
        lane.close()
    assert isinstance(outcome, APIConnectionError)
    assert b"x-optim-regions: 1:4088:2097160 1:0:" in places[0]
    assert memory[4088 : 4096 + (1 << 21)] == b"head" * 2 + b"\1" * (1 << 21)
    grads[:] = 2
    assert memory[4096] == 1
    assert set(grads.tolist()) == {2}


def test_a_silent_service_delays_made_gradients_by_the_timeout(
    connect: Connect, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "optim_client")
    given_up: list[bytes] = []

    def wait_for_the_end() -> None:
        link, _ = listener.accept()
        with link:
            link.settimeout(20)
            read_head(link)
            given_up.append(link.recv(1))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        server = threading.Thread(target=wait_for_the_end)
        server.start()
        grads = connect(f"unix://{tmp_path}/socket", timeout=0.2).empty({"w": SIZE})
        server.join()
    assert given_up == [b""]
    assert grads["w"].shape == (SIZE,)
    assert f"will be copied: POST /v1/regions at unix://{tmp_path}/socket: no answer in time" in caplog.text


def test_made_gradients_wait_for_a_connection_like_any_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "optim_client")
    lane = Lane(httpx2.URL("http://localhost"), {}, RequestIds(), str(tmp_path / "socket"))
    for _ in range(CONNECTIONS):
        lane._places.get()
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(lane.empty(1 << 21, 0, httpx2.Timeout(0.1))), daemon=True)
    thread.start()
    thread.join(20)
    assert [len(memory) for memory in made] == [1 << 21]
    assert "will be copied: 100 calls are under way" in caplog.text


@pytest.mark.parametrize("limit", [0, 1 << 20, 6 << 20])
@pytest.mark.long
def test_without_enough_regions_bodies_are_sent(connect: Connect, tmp_path: Path, limit: int) -> None:
    with unix_service(tmp_path, f"--max-region-bytes={limit}") as url:
        client = connect(url)
        session = held(client)
        grads = client.empty({"w": SIZE})
        kept = []
        for number in range(1, 5):
            grads["w"][:] = gradients(number)
            kept.append(session.step(grads=grads if number % 2 else {"w": gradients(number)})["w"])
        assert [array.tobytes() for array in kept] == sent()


@pytest.mark.usefixtures("_short_waits")
@pytest.mark.long
def test_a_server_that_comes_back_gives_new_regions(connect: Connect, tmp_path: Path) -> None:
    store = f"--store=lmdb:{tmp_path}/store"
    with unix_service(tmp_path, store) as url:
        client = connect(url)
        session = held(client)
        grads = client.empty({"w": SIZE})
        grads["w"][:] = gradients(1)
        kept = [session.step(grads=grads)["w"]]
    with unix_service(tmp_path, store):
        for number in range(2, 5):
            grads["w"][:] = gradients(number)
            kept.append(session.step(grads=grads)["w"])
        assert metric(url, LEASED) >= 2
    assert [array.tobytes() for array in kept] == sent()


@pytest.mark.long
def test_a_fork_shares_no_array_of_a_region(url: str) -> None:
    assert_right("region_arrays", url)
