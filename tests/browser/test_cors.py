"""Calls of another origin's page in a real browser, which sends preflights and hides what CORS does not allow."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page

from tests.browser.conftest import OTHER_NAME
from tests.durability.processes import ServerProcess
from tests.service.test_auth import row

JSON = {"Content-Type": "application/json"}
FETCH = """async ([url, method, headers, body]) => {
  const bytes = typeof body === 'number' ? new Uint8Array(body) : body
  const answer = await fetch(url, { method, headers, body: bytes })
  const text = await answer.text()
  return {
    status: answer.status,
    headers: Object.fromEntries(answer.headers),
    document: text.startsWith('{') ? JSON.parse(text) : text,
  }
}"""
BINARY_STEP = """async ([url, elements]) => {
  const entry = (n) => ({ dtype: 'F32', shape: [elements], data_offsets: [n * 4 * elements, (n + 1) * 4 * elements] })
  const header = new TextEncoder().encode(JSON.stringify({ 'grads/w': entry(0), 'params/w': entry(1) }))
  const length = new BigUint64Array([BigInt(header.length)])
  const body = new Blob([length, header, new Float32Array(elements).fill(1), new Float32Array(elements).fill(3)])
  const headers = { 'Content-Type': 'application/vnd.safetensors' }
  const answer = await fetch(url, { method: 'POST', headers, body })
  const bytes = await answer.arrayBuffer()
  const last = new DataView(bytes).getFloat32(bytes.byteLength - 4, true)
  return { status: answer.status, type: answer.headers.get('Content-Type'), length: bytes.byteLength, last }
}"""


class Caller:
    """A page that calls one service."""

    def __init__(self, page: Page, site: str, url: str) -> None:
        self.page, self.url = page, url
        page.goto(f"{site}/examples/")

    def call(self, method: str, path: str, headers: Mapping[str, str] = JSON, body: Any = None) -> Any:
        """Return the answer as the page may read it. A body that is a number is that many bytes."""
        body = json.dumps(body) if isinstance(body, dict) else body
        return self.page.evaluate(FETCH, [self.url + path, method, {**headers}, body])

    def create(self) -> str:
        created = self.call("POST", "/v1/sessions", body={"optimizer": "sgd", "hyperparameters": {"lr": 1}})
        return f"/v1/sessions/{created['document']['id']}"


@pytest.fixture
def caller(page: Page, site: str, service: ServerProcess) -> Caller:
    return Caller(page, site, service.url)


def test_a_page_steps_once_and_reads_the_headers(caller: Caller) -> None:
    path = caller.create()
    body = {"step": 1, "params": {"w": [3]}, "grads": {"w": [1]}}
    headers = JSON | {"Idempotency-Key": '"once"', "X-Request-ID": "mine"}
    first, again = [caller.call("POST", f"{path}/steps", headers, body) for _ in range(2)]
    assert (first["status"], first["document"]["params"]) == (200, {"w": [2]})
    assert first["headers"]["x-request-id"] == "mine"
    assert "idempotent-replayed" not in first["headers"]
    assert again["headers"]["idempotent-replayed"] == "true"
    assert again["document"] == first["document"]
    session = caller.call("GET", path, {})
    assert session["document"]["step"] == 1
    assert session["headers"]["etag"] == first["headers"]["etag"]


@pytest.mark.parametrize("elements", [1, 3_000_000], ids=["small", "through the lane"])
def test_a_page_steps_in_safetensors(caller: Caller, elements: int) -> None:
    answer = caller.page.evaluate(BINARY_STEP, [f"{caller.url}{caller.create()}/steps", elements])
    assert (answer["status"], answer["type"], answer["last"]) == (200, "application/vnd.safetensors", 2)
    assert answer["length"] > 4 * elements


def test_a_page_changes_and_removes_a_session(caller: Caller) -> None:
    path = caller.create()
    etag = caller.call("GET", path, {})["headers"]["etag"]
    changed = caller.call("PATCH", path, JSON | {"If-Match": etag}, {"labels": {"from": "a page"}})
    assert changed["document"]["labels"] == {"from": "a page"}
    late = caller.call("DELETE", path, {"If-Match": etag})
    assert (late["status"], late["document"]["code"]) == (412, "precondition_failed")
    assert caller.call("PUT", f"{path}/params", body={"params": {"w": [1]}})["status"] == 422
    assert caller.call("DELETE", path, {"If-Match": changed["headers"]["etag"]})["status"] == 204
    assert caller.call("GET", path, {})["status"] == 404


@pytest.fixture
def guarded(tmp_path: Path, new_service: Callable[..., ServerProcess]) -> ServerProcess:
    """Start a service with one key, `secret`, and narrow limits."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row("secret")]}))
    file.chmod(0o600)
    flags = [f"--api-keys-file={file}", "--allowed-hosts=localhost"]
    limits = ["--max-json-bytes=1000000", "--max-body-bytes=1000000", "--rate-limit=4/hour"]
    service = new_service(*flags, *limits)
    service.start()
    return service


def test_a_page_reads_why_it_was_refused(page: Page, site: str, guarded: ServerProcess) -> None:
    caller = Caller(page, site, guarded.url)
    misled = Caller(page, site, guarded.url.replace("127.0.0.1", OTHER_NAME))
    key = JSON | {"Authorization": "Bearer secret"}
    session = caller.call("POST", "/v1/sessions", key, {"optimizer": "sgd"})
    steps = f"/v1/sessions/{session['document']['id']}/steps"
    step = {"step": 7, "params": {"w": [1]}, "grads": {"w": [1]}}
    refusals = [
        (caller.call("POST", steps, body=step), 401, "unauthenticated"),
        (caller.call("POST", steps, body=8_000_000), 401, "unauthenticated"),
        (misled.call("POST", steps, key, step), 421, "misdirected"),
        (caller.call("POST", steps, key, step), 409, "step_conflict"),
        (caller.call("POST", steps, key, 2_000_000), 413, "body_too_large"),
        (
            caller.call("PUT", steps.replace("steps", "state"), key | {"Content-Type": "text/plain"}, 10),
            415,
            "unsupported_media_type",
        ),
        (caller.call("GET", "/v1/optimizers?x=1", key), 400, "malformed_query"),
        (caller.call("POST", steps, key, step), 429, "rate_limited"),
    ]
    for answer, status, code in refusals:
        assert (answer["status"], answer["document"].get("code")) == (status, code)
        assert answer["headers"]["x-request-id"]
    assert int(refusals[-1][0]["headers"]["retry-after"]) > 0


def test_a_page_of_another_origin_reads_nothing(page: Page, site: str, service: ServerProcess) -> None:
    other = Caller(page, site.replace("127.0.0.1", "localhost"), service.url)
    for method, headers in (("POST", JSON), ("GET", {})):
        with pytest.raises(Error, match="Failed to fetch"):
            other.call(method, "/v1/sessions", headers, {"optimizer": "sgd"} if method == "POST" else None)
    assert Caller(page, site, service.url).call("GET", "/v1/sessions", {})["document"]["sessions"] == []


def test_a_public_page_reaches_this_machine_if_its_user_agrees(
    launch: Callable[..., Browser], site: str, service: ServerProcess
) -> None:
    with launch(f"--ip-address-space-overrides={site.removeprefix('http://')}=public") as browser:
        caller = Caller(browser.new_page(), site, service.url)
        with pytest.raises(Error, match="Failed to fetch"):
            caller.create()
        caller.page.context.grant_permissions(["local-network-access"], origin=site)
        assert caller.create()
