"""Bodies of state files: their media type, their length, and those that are none."""

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import SAFETENSORS, create, problem, serving
from tests.service.state_files import BINARY, download, made_of, upload
from tests.wire import package


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (b"", "malformed_body"),
        (b"\0" * 100, "malformed_body"),
        (package.save({}, {"session": "{"}), "malformed_body"),
        (package.save({}, {"session": "[]"}), "invalid_state"),
        (package.save({"w": np.ones(1)}), "malformed_body"),
        (package.save({"x/w": np.ones(1)}), "malformed_body"),
    ],
)
def test_what_is_no_state_at_all_is_refused(client: Client, file: bytes, code: str) -> None:
    problem(upload(client, create(client), file), 400 if code == "malformed_body" else 422, code)


def test_only_safetensors_goes_in_and_out(client: Client, trained: str) -> None:
    answer = client.put(f"{trained}/state", content=b"{}", headers={"content-type": "application/json"})
    problem(answer, 415, "unsupported_media_type")
    problem(client.get(f"{trained}/state", headers={"accept": "application/json"}), 406, "not_acceptable")
    for accept in (SAFETENSORS, "application/octet-stream", "*/*"):
        assert client.get(f"{trained}/state", headers={"accept": accept}).status_code == 200


@pytest.mark.parametrize("create_anew", [False, True])
@pytest.mark.parametrize(("length", "status", "code"), [(1024, 400, "malformed_body"), (1025, 413, "body_too_large")])
def test_the_limit_of_a_body_decides_for_no_state_file(create_anew: bool, length: int, status: int, code: str) -> None:
    with serving(max_body_bytes=1024) as client:
        path = create(client)
        send = made_of if create_anew else lambda client, file: upload(client, path, file)
        problem(send(client, b" " * length), status, code)


def test_a_header_does_not_count_towards_the_limit() -> None:
    """Upload what was downloaded, however long its names are."""
    with serving(max_body_bytes=1024) as client:
        session = create(client, "sgd", hold_params=True)
        for name in (f"{'long ' * 40}{i}" for i in range(8)):
            assert client.put(f"{session}/params", json={"params": {name: [1.0]}}).status_code == 204
        file = download(client, session)
        assert len(file) > 1024
        assert upload(client, session, file).status_code == 204


@pytest.mark.parametrize("header", [{"idempotency-key": '"'}, {"if-match": "none"}])
def test_a_malformed_condition_is_refused_before_the_file(client: Client, trained: str, header: dict[str, str]) -> None:
    before = client.get(trained).content
    answer = client.put(f"{trained}/state", content=download(client, trained), headers={**BINARY, **header})
    problem(answer, 400, "malformed_header")
    assert client.get(trained).content == before
