"""Both clients over a Unix socket: as over TCP, with keys, files and a server that comes back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from optim_client import APIConnectionError, Authentication

from tests.client.conftest import Connect
from tests.client.training import bits, grads_for, some_params
from tests.service.test_auth import row
from tests.unix_service import unix_service


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unix_service(tmp_path_factory.mktemp("u")) as url:
        yield url


def trained(client: Any) -> dict[str, Any]:
    session = client.sessions.create("adamw", lr=0.01)
    params = some_params()
    for number in range(1, 11):
        params = session.step(params, grads_for(params, number))
    return bits(params)


def test_ten_steps_are_those_of_the_engine(connect: Connect, url: str, unbroken: dict[str, Any]) -> None:
    client = connect(url)
    assert client.base_url == url
    assert trained(client) == unbroken


def test_files_pass_the_socket_both_ways(connect: Connect, url: str, tmp_path: Path) -> None:
    client = connect(url)
    session = client.sessions.create("adamw", lr=0.01)
    session.step({"w": np.float32([1, 2])}, {"w": np.float32([1, 2])})
    session.save_state(tmp_path / "state")
    assert client.sessions.create_from_state(tmp_path / "state").digest == session.digest


def test_a_transport_of_the_users_goes_before_the_path(connect: Connect, url: str) -> None:
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(str(request.url))
        return httpx2.Response(200, json={"status": "ready"})

    assert connect(url, transport=httpx2.MockTransport(answer)).ready()
    assert seen == ["http://localhost/readyz"]


def test_a_proxy_of_the_environment_is_not_asked(
    connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    session = connect(url, max_retries=0).sessions.create("sgd", lr=0.1)
    session.save_state(tmp_path / "state")


def test_an_absent_server_is_a_connection_error_with_the_path(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(APIConnectionError, match=f"GET /v1/sessions/s-1 at unix://{tmp_path}/none: no connection"):
        connect(f"unix://{tmp_path}/none", max_retries=0).sessions.get("s-1")


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # HTTPX leaves the one that found no server
def test_an_absent_server_of_a_file_is_named_too(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"state")
    with pytest.raises(APIConnectionError, match=f"POST /v1/sessions at unix://{tmp_path}/none: no connection"):
        connect(f"unix://{tmp_path}/none", max_retries=0).sessions.create_from_state(tmp_path / "state")


@pytest.mark.long
def test_keys_are_needed_as_over_tcp(connect: Connect, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [row("secret")]}))
    with unix_service(tmp_path, f"--api-keys-file={keys}") as url:
        with pytest.raises(Authentication):
            connect(url).sessions.create("sgd", lr=0.1)
        assert connect(url, api_key="secret").sessions.create("sgd", lr=0.1).info.step == 0


@pytest.mark.usefixtures("_short_waits")
@pytest.mark.long
def test_a_call_is_tried_until_the_server_is_back(connect: Connect, tmp_path: Path) -> None:
    store = f"--store=lmdb:{tmp_path}/store"
    with unix_service(tmp_path, store) as url:
        client = connect(url)
        session = client.sessions.create("sgd", lr=1.0)
        session.step({"w": np.float32([3])}, {"w": np.float32([1])})
    with unix_service(tmp_path, store):
        assert session.step({"w": np.float32([2])}, {"w": np.float32([1])})["w"].tolist() == [1.0]
