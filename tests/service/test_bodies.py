"""Bodies of requests: their media type, length and form, and those that break off."""

from typing import Any

import pytest
from httpx2 import Client

from app.main import create_app
from app.settings import Settings
from tests.service.calls import SAFETENSORS, create, problem, serving
from tests.service.connection import Connection


@pytest.mark.parametrize(
    ("method", "below"),
    [
        ("POST", ""),
        ("PATCH", "/{}"),
        ("POST", "/{}/fork"),
        ("POST", "/{}/undo"),
        ("POST", "/{}/steps"),
        ("POST", "/{}/preview"),
        ("PUT", "/{}/params"),
        ("PUT", "/{}/state"),
        ("PATCH", "/{}/tensors"),
    ],
)
class TestBodies:
    def path(self, client: Client, below: str) -> str:
        return "/v1/sessions" + below.format(create(client, hold_params=True).rpartition("/")[2])

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""]
    )
    def test_of_another_media_type_are_not_read(
        self, client: Client, method: str, below: str, content_type: str
    ) -> None:
        answer = client.request(method, self.path(client, below), content=b"{}", headers={"content-type": content_type})
        problem(answer, 415, "unsupported_media_type")

    def test_without_a_media_type_are_not_read(self, client: Client, method: str, below: str) -> None:
        answer = client.request(method, self.path(client, below), content=b"{}")
        problem(answer, 415, "unsupported_media_type")

    def test_that_are_compressed_are_not_read(self, client: Client, method: str, below: str) -> None:
        media_type = SAFETENSORS if below.endswith("state") else "application/json"
        headers = {"content-type": media_type, "content-encoding": "gzip"}
        answer = client.request(method, self.path(client, below), content=b"{}", headers=headers)
        assert "gzip" in problem(answer, 415, "unsupported_media_type")["detail"]

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"a": NaN}', b'"\\ud800"', b"[" * 2000])
    def test_that_are_not_what_they_say_are_malformed(
        self, client: Client, method: str, below: str, content: bytes
    ) -> None:
        media_type = SAFETENSORS if below.endswith("state") else "application/json"
        headers = {"content-type": media_type}
        answer = client.request(method, self.path(client, below), content=content, headers=headers)
        problem(answer, 400, "malformed_body")

    @pytest.mark.parametrize("announced", [True, False])
    def test_that_are_too_long_are_refused(self, method: str, below: str, announced: bool) -> None:
        with serving(max_body_bytes=1024) as client:
            media_type = SAFETENSORS if below.endswith("state") else "application/json"
            content: Any = b" " * 1025 if announced else iter([b" "] * 1025)
            path = self.path(client, below)
            answer = client.request(method, path, content=content, headers={"content-type": media_type})
            refused = problem(answer, 413, "body_too_large")
            assert refused["limit"] == 1024


async def test_a_body_that_is_announced_too_long_is_refused_unread() -> None:
    app = create_app(Settings(store="memory:"))
    connection = Connection(headers={"content-type": "application/json", "content-length": str(2**40)})
    status, document = await connection.ask(app)
    assert (status, document["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("length", ["-1", "ten", "1e3", "٣", "+1"])
async def test_a_length_that_is_none_is_refused(length: str) -> None:
    app = create_app(Settings(store="memory:"))
    connection = Connection(headers={"content-type": "application/json", "content-length": length})
    status, document = await connection.ask(app)
    assert (status, document["code"]) == (400, "malformed_header")


@pytest.mark.parametrize("announced", [{"content-length": "100"}, {}])
async def test_a_body_that_breaks_off_changes_nothing(announced: dict[str, str]) -> None:
    app = create_app(Settings(store="memory:"))
    started = {"type": "http.request", "body": b'{"optimizer": "sgd"}', "more_body": True}
    gone = {"type": "http.disconnect"}
    connection = Connection(started, gone, headers={"content-type": "application/json", **announced})
    status, document = await connection.ask(app)
    assert (status, document["code"]) == (400, "malformed_body")
    assert await app.state.service.store.list("default", 10) == []
