"""Pages of other origins: none by default; those of `OPTIM_CORS_ORIGINS` may do and read all that a client may."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from httpx2 import Client
from pydantic import ValidationError

from app.main import create_app
from app.settings import Settings
from app.store.base import Head
from app.store.memory import MemoryStore
from tests.service.calls import W, create, problem, serving, step
from tests.service.test_auth import row
from tests.web.sockets import Wire, listening, post

PAGE = "https://app.example"
ALLOW = "access-control-allow-origin"
SENT = "authorization,content-type,idempotency-key,if-match,if-none-match,prefer,x-request-id"


@pytest.fixture
def allowing() -> Iterator[Client]:
    with serving(cors_origins=f"{PAGE}, http://localhost:5173") as client:
        yield client


def preflight(client: Client, path: str, method: str, page: str = PAGE, sends: str = SENT) -> httpx2.Response:
    headers = {
        "origin": page, "access-control-request-method": method, "access-control-request-headers": sends,
    }  # fmt: skip
    return client.options(path, headers=headers)


def test_no_page_is_allowed_by_default(client: Client) -> None:
    problem(preflight(client, "/v1/sessions", "POST"), 405, "method_not_allowed")
    answer = client.get("/v1/sessions", headers={"origin": PAGE})
    assert not {name for name in answer.headers if name.startswith("access-control")}
    assert "vary" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/sessions", "/v1/sessions/x/steps", "/v1/sessions/x/state", "/livez", "/nowhere"])
def test_a_preflight_is_answered_on_every_path(allowing: Client, path: str, method: str) -> None:
    answer = preflight(allowing, path, method)
    assert answer.status_code == 200
    assert answer.headers[ALLOW] == PAGE
    assert method in answer.headers["access-control-allow-methods"]
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert set(SENT.split(",")) <= set(allowed)
    assert "Origin" in answer.headers["vary"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("page", "method", "sends"),
    [("https://evil.example", "POST", ""), (PAGE, "TRACE", ""), (PAGE, "POST", "x-evil"), ("null", "POST", "")],
)
def test_a_preflight_for_more_than_is_allowed_is_refused(allowing: Client, page: str, method: str, sends: str) -> None:
    answer = preflight(allowing, "/v1/sessions", method, page, sends)
    assert "OPTIM_CORS_ORIGINS" in problem(answer, 400, "malformed_header")["detail"]
    assert "Origin" in answer.headers["vary"]
    assert page == PAGE or ALLOW not in answer.headers


def test_only_an_allowed_page_may_read_an_answer(allowing: Client) -> None:
    for page, allowed in (
        (PAGE, PAGE),
        ("http://localhost:5173", "http://localhost:5173"),
        ("https://evil.example", None),
    ):
        answer = allowing.get("/v1/sessions", headers={"origin": page})
        assert answer.status_code == 200
        assert answer.headers.get(ALLOW) == allowed
        assert answer.headers["vary"] == "Origin"
    assert allowing.get("/v1/sessions").headers["vary"] == "Origin"


def test_a_page_may_read_the_fields_that_clients_use(allowing: Client) -> None:
    answer = allowing.post("/v1/sessions", json={"optimizer": "sgd"}, headers={"origin": PAGE})
    assert answer.status_code == 201
    shown = set(answer.headers["access-control-expose-headers"].split(", "))
    assert shown >= {
        "ETag", "Location", "X-Request-ID", "Idempotent-Replayed", "Retry-After", "RateLimit", "RateLimit-Policy",
        "X-Should-Retry",
    }  # fmt: skip


def test_an_asterisk_allows_any_page() -> None:
    with serving(cors_origins="*") as client:
        assert preflight(client, "/v1/sessions", "POST", "https://any.example").headers[ALLOW] == "*"
        assert client.get("/v1/sessions", headers={"origin": "null"}).headers[ALLOW] == "*"


@pytest.mark.parametrize("written", ["https://APP.example:443", "HTTPS://app.example"])
def test_an_origin_is_normalized_as_browsers_do(written: str) -> None:
    with serving(cors_origins=written) as client:
        assert client.get("/v1/sessions", headers={"origin": PAGE}).headers[ALLOW] == PAGE


@pytest.mark.parametrize(
    "text", ["app.example", "https://app.example/", "https://app.example/x", "null", "a://b c", "*.a"]
)
def test_a_malformed_origin_is_refused_as_a_setting(text: str) -> None:
    with pytest.raises(ValidationError, match=r"not an origin|not a host name"):
        Settings(store="memory:", cors_origins=text)


class BrokenStore(MemoryStore):
    """Has a defect."""

    async def load(self, session_id: str) -> Head | None:
        raise ZeroDivisionError


def test_a_page_may_read_every_refusal(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row("secret")]}))
    origin, key = {"origin": PAGE}, {"authorization": "Bearer secret"}
    settings = {"cors_origins": PAGE, "api_keys_file": file, "rate_limit": "4/hour", "max_body_bytes": 1024}
    with serving(BrokenStore(10), **settings, allowed_hosts="localhost") as client:
        client.headers = httpx2.Headers(origin)
        refusals = [
            (client.get("/v1/sessions"), 401),
            (client.get("/nowhere"), 404),
            (client.put("/livez"), 405),
            (client.get("/livez", headers={"host": ""}), 400),
            (client.get("/v1/sessions", headers={"host": "evil.example"}), 421),
            (client.get("/v1/sessions/0", headers=key), 500),
            (
                client.post("/v1/sessions", content=b" " * 2000, headers={**key, "content-type": "application/json"}),
                413,
            ),
            (client.post("/v1/sessions", content=b"x", headers={**key, "content-type": "text/plain"}), 415),
            (client.post("/v1/sessions", json={}, headers=key), 422),
            (client.get("/v1/sessions", headers=key), 429),
        ]
    for answer, status in refusals:
        assert (answer.status_code, answer.headers[ALLOW], answer.headers["vary"]) == (status, PAGE, "Origin")


def test_a_page_may_read_that_the_service_is_stopping() -> None:
    with listening(create_app(Settings(store="memory:", cors_origins=PAGE))) as address:
        wire = Wire(address)
        begun = post("/v1/sessions", b"half", content_type="application/json", origin=PAGE, expect="100-continue")
        wire.send(begun[:-1])
        assert wire.answer() == (100, b"")
    with wire:
        head, document = wire.refusal()
    assert document["code"] == "overloaded"
    assert f"{ALLOW}: {PAGE}".encode() in head


def test_a_page_can_train(allowing: Client) -> None:
    allowing.headers["origin"] = PAGE
    answer = step(allowing, create(allowing), "key", **W)
    assert (answer.status_code, answer.headers[ALLOW]) == (200, PAGE)
