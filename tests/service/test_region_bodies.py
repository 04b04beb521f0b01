"""Steps whose bodies lie in regions: the same as sent ones, and whatever a client claims, only its own step suffers."""

import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.region_client import SAFETENSORS, RegionClient, metric, params_of, step_body
from tests.unix_service import unix_service

BYTES = 1 << 16


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unix_service(tmp_path_factory.mktemp("u"), "--port=0") as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[RegionClient]:
    """Return a client with two regions."""
    with RegionClient(url) as client:
        assert [client.lease(BYTES).status for _ in range(2)] == [204, 204]
        yield client


def put(client: RegionClient, body: bytes, start: int = 0) -> str:
    """Write the body into region 1; return the places of it and of an answer."""
    client.memories[1][start : start + len(body)] = body
    return f"1:{start}:{len(body)} 2:0:{BYTES}"


@pytest.mark.long
def test_a_placed_step_equals_a_sent_one(client: RegionClient) -> None:
    placed, sent = client.session(), client.session()
    for number in (1, 2):
        body = step_body([1, 2, 3], number)
        answer = client.step(placed, put(client, body, 8))
        other = client.ask("POST", f"{sent}/steps", body, Content_Type=SAFETENSORS)
        assert (answer.status, other.status, answer.headers["content-length"]) == (200, 200, "0")
        assert answer.headers["content-type"] == other.headers["content-type"]
        written = client.memories[2][: int(answer.headers["x-optim-regions"])]
        assert params_of(written) == params_of(other.body)


def test_a_sent_retry_of_a_placed_step_is_replayed(client: RegionClient) -> None:
    session, body = client.session(), step_body([1, 2, 3])
    first = client.step(session, put(client, body), Idempotency_Key='"k"')
    again = client.ask("POST", f"{session}/steps", body, Content_Type=SAFETENSORS, Idempotency_Key='"k"')
    third = client.step(session, put(client, body), Idempotency_Key='"k"')
    assert (first.status, again.status, third.status) == (200, 200, 200)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == third.headers["idempotent-replayed"] == "true"
    assert client.memories[2][: int(first.headers["x-optim-regions"])] == again.body


def test_a_large_answer_is_written_whole(url: str) -> None:
    nbytes = 4 << 20
    with RegionClient(url) as client:
        assert [client.lease(nbytes).status for _ in range(2)] == [204, 204]
        values = np.random.default_rng(0).standard_normal(nbytes // 12, np.float32)
        body, session, sent = step_body(values), client.session(), client.session()
        client.memories[1][: len(body)] = body
        answer = client.step(session, f"1:0:{len(body)} 2:3:{nbytes - 3}")
        other = client.ask("POST", f"{sent}/steps", body, Content_Type=SAFETENSORS)
        written = client.memories[2][3 : 3 + int(answer.headers["x-optim-regions"])]
    assert params_of(written) == params_of(other.body)


def test_an_answer_without_enough_room_is_sent(client: RegionClient) -> None:
    session, body = client.session(), step_body([1, 2, 3])
    answer = client.step(session, put(client, body).replace(f"2:0:{BYTES}", "2:0:16"))
    assert (answer.status, answer.headers.get("x-optim-regions")) == (200, None)
    assert params_of(answer.body) == [0.999, 1.998, 2.997] or len(params_of(answer.body)) == 3


def test_a_refusal_is_sent(client: RegionClient) -> None:
    answer = client.step("/v1/sessions/" + "0" * 32, put(client, step_body([1])))
    assert (answer.status, b"session_not_found" in answer.body) == (404, True)


@pytest.mark.parametrize(
    "places",
    [
        "", "1", "1:0:8", "1:0:8 2:0", "1:-1:8 2:0:8", "a:0:8 2:0:8", "1:0:8,2:0:8", "1:0:8 2:0:8 3:0:8",
        "3:0:8 2:0:8", "1:0:8 3:0:8", "0:0:8 2:0:8", f"1:0:{BYTES + 1} 2:0:8", f"1:{BYTES}:1 2:0:8",
        f"1:0:8 2:1:{BYTES}", "1:0:999999999999999 2:0:8", "1:999999999999999:8 2:0:8", "1:0:8 2:0:9999999999999999",
    ],
)  # fmt: skip
def test_places_that_are_not_the_connections_are_refused(client: RegionClient, places: str) -> None:
    session = client.session()
    answer = client.step(session, places)
    assert (answer.status, b"malformed_header" in answer.body) == (400, True)
    assert b'"step":0' in client.ask("GET", session).body


def test_another_connections_region_cannot_be_named(client: RegionClient, url: str) -> None:
    session, places = client.session(), put(client, step_body([1, 2]))
    with RegionClient(url) as stranger:
        answer = stranger.step(session, places)
    assert (answer.status, b"has no region 1" in answer.body) == (400, True)


def test_a_region_that_is_given_back_is_gone(client: RegionClient) -> None:
    session, places = client.session(), put(client, step_body([1, 2]))
    assert client.lease(BYTES, 1).status == 204
    assert client.step(session, places).status == 400


def test_a_body_of_zeros_or_cut_short_is_malformed(client: RegionClient) -> None:
    session, body = client.session(), step_body([1, 2])
    for places in ("1:0:0 2:0:64", "1:0:7 2:0:64", "1:0:4096 2:0:64", put(client, body[:-1])):
        answer = client.step(session, places)
        assert (answer.status, b"malformed_body" in answer.body) == (400, True), places


def test_two_bodies_are_refused(client: RegionClient) -> None:
    session, places = client.session(), put(client, step_body([1, 2]))
    answer = client.ask("POST", f"{session}/steps", b"{}", Content_Type=SAFETENSORS, X_Optim_Regions=places)
    assert (answer.status, b"sends none" in answer.body) == (400, True)


def test_json_is_not_parsed_in_a_region(client: RegionClient) -> None:
    answer = client.step(client.session(), put(client, b'{"grads":{"w":[1]}}'), Content_Type="application/json")
    assert (answer.status, b"unsupported_media_type" in answer.body) == (415, True)


def test_the_answer_may_overwrite_its_own_request(client: RegionClient) -> None:
    session, body = client.session(), step_body([1, 2, 3])
    put(client, body)
    answer = client.step(session, f"1:0:{len(body)} 1:0:{BYTES}")
    assert answer.status == 200
    assert len(params_of(client.memories[1][: int(answer.headers["x-optim-regions"])])) == 3


def test_a_client_that_writes_meanwhile_spoils_its_own_step_alone(client: RegionClient, url: str) -> None:
    """The header, its length and the numbers change all the time: never a failure of the service, nor of others."""
    values = np.ones(4000, np.float32)
    body = step_body(values)
    stop = threading.Event()
    draw = np.random.default_rng(0)

    def scribble() -> None:
        while not stop.is_set():
            start = int(draw.integers(0, len(body) - 8))
            client.memories[1][start : start + 8] = draw.bytes(8)
            client.memories[1][: len(body)] = body

    session = client.session()
    with RegionClient(url) as other:
        calm = other.session()
        scribbler = threading.Thread(target=scribble)
        scribbler.start()
        try:
            statuses = set()
            for number in range(1, 120):
                statuses.add(client.step(session, f"1:0:{len(body)} 2:0:{BYTES}").status)
                answer = other.ask("POST", f"{calm}/steps", step_body([1, 2], number), Content_Type=SAFETENSORS)
                assert answer.status == 200
        finally:
            stop.set()
            scribbler.join()
    assert statuses <= {200, 400, 409, 422}
    assert client.ask("GET", session).status == 200


def test_a_client_cannot_take_the_memory_away(client: RegionClient) -> None:
    descriptor = client.descriptors[0]
    for size in (0, BYTES - 1, BYTES + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    assert client.step(client.session(), put(client, step_body([1, 2]))).status == 200


def test_a_client_that_goes_mid_step_leaves_no_region(url: str) -> None:
    nbytes = 8 << 20
    before = metric(url, "optim_region_bytes")
    for _ in range(5):
        with RegionClient(url) as client:
            assert [client.lease(2 * nbytes).status for _ in range(2)] == [204, 204]
            body = step_body(np.ones(nbytes // 8, np.float32))
            session = client.session()
            client.memories[1][: len(body)] = body
            places = f"1:0:{len(body)} 2:0:{2 * nbytes}"
            client.send("POST", f"{session}/steps", Content_Type=SAFETENSORS, X_Optim_Regions=places)
    deadline = time.monotonic() + 20
    while metric(url, "optim_region_bytes") != before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_a_longer_body_than_allowed_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        unix_service(tmp_path_factory.mktemp("u"), "--max-body-bytes=4096") as url,
        RegionClient(url) as client,
    ):
        client.lease(BYTES)
        client.lease(BYTES)
        assert client.step(client.session(), put(client, step_body([1.0] * 2000))).status == 413
