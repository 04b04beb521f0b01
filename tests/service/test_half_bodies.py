"""Bodies that have come by half, of one tenant or of all: others' requests are answered as if there were none."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from app.main import create_app
from app.settings import Settings
from app.web import admission
from app.web.body import BULK_BYTES
from tests.bodies import encode
from tests.service.calls import W
from tests.service.test_auth import row
from tests.web.sockets import Wire, listening, post, post_chunked

JSON, SAFETENSORS = "application/json", "application/vnd.safetensors"
NOBODYS = f"/v1/sessions/{'0' * 32}"
PLACES = 4
BYTES = 1 << 20
LARGE = encode({part: {"w": np.ones(50_000, np.float32)} for part in ("params", "grads")}, {})
"""A step of 400 KB."""

Address = tuple[str, int]


@pytest.fixture(params=["keys", "no keys"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Address]:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", (0, 0))
    settings = Settings(store="memory:", max_waiting_steps=PLACES, max_waiting_bytes=BYTES)
    if request.param == "keys":
        file = tmp_path / "keys.json"
        file.write_text(json.dumps({"keys": [row("evil", tenant="evil"), row("good", tenant="good")]}))
        settings = settings.model_copy(update={"api_keys_file": file})
    with listening(create_app(settings)) as address:
        yield address


def sent(key: str, path: str, body: bytes, media_type: str = JSON, method: str = "POST", **fields: str) -> bytes:
    request = post(path, body, content_type=media_type, authorization=f"Bearer {key}", **fields)
    return request.replace(b"POST", method.encode(), 1)


def session(address: Address, key: str, **settings: object) -> str:
    """Return the path of a new session."""
    with Wire(address) as wire:
        wire.send(sent(key, "/v1/sessions", json.dumps({"optimizer": "sgd", **settings}).encode()))
        status, body = wire.answer()
        assert status == 201, body
        return f"/v1/sessions/{json.loads(body)['id']}"


def halves(path: str) -> dict[str, bytes]:
    """Return requests whose bodies have come by half, of each kind."""
    steps = f"{path}/steps"
    large, small = bytes(4 * BULK_BYTES), bytes(1000)
    chunked = post_chunked(steps, [large]).replace(
        b"host", b"content-type: application/json\r\nauthorization: Bearer evil\r\nhost", 1
    )
    return {
        "a large step": sent("evil", steps, large)[: -2 * BULK_BYTES],
        "a large binary step": sent("evil", steps, large, SAFETENSORS)[: -2 * BULK_BYTES],
        "a step that has hardly begun": sent("evil", steps, large)[:-BULK_BYTES],
        "a small step": sent("evil", steps, small)[:-1],
        "a step in chunks": chunked[:-BULK_BYTES],
        "parameters": sent("evil", f"{path}/params", large, SAFETENSORS, "PUT")[: -2 * BULK_BYTES],
        "a state": sent("evil", f"{path}/state", large, SAFETENSORS, "PUT")[: -2 * BULK_BYTES],
        "a session": sent("evil", "/v1/sessions", large)[: -2 * BULK_BYTES],
        "settings": sent("evil", path, large, method="PATCH")[: -2 * BULK_BYTES],
    }


def steps_are_taken(address: Address, path: str, times: int = 3) -> None:
    with Wire(address) as wire:
        for _ in range(times):
            wire.send(sent("good", f"{path}/steps", json.dumps(W).encode()))
            status, body = wire.answer()
            assert status == 200, body


@pytest.mark.parametrize("kind", halves(NOBODYS))
@pytest.mark.parametrize("whose", ["nobody's", "their own"])
def test_half_bodies_of_one_keep_no_step_of_another_waiting(address: Address, kind: str, whose: str) -> None:
    good = session(address, "good")
    evil = session(address, "evil", hold_params=True) if whose == "their own" else NOBODYS
    with ExitStack() as stack:
        for _ in range(5 * PLACES):
            stack.enter_context(Wire(address)).send(halves(evil)[kind])
        steps_are_taken(address, good)


@pytest.mark.parametrize("kind", ["a large step", "a large binary step", "parameters", "a state"])
def test_a_large_body_for_no_session_is_refused_unread(address: Address, kind: str) -> None:
    with Wire(address) as wire:
        wire.send(halves(NOBODYS)[kind].split(b"\r\n\r\n")[0] + b"\r\nexpect: 100-continue\r\n\r\n")
        status, body = wire.answer()
        assert (status, json.loads(body)["code"]) == (404, "session_not_found")


def test_unwanted_large_parameters_are_refused_unread(address: Address) -> None:
    with Wire(address) as wire:
        wire.send(halves(session(address, "evil"))["parameters"])
        status, body = wire.answer()
        assert (status, json.loads(body)["code"]) == (422, "invalid_session")


@pytest.mark.long
def test_bodies_hold_no_more_memory_than_they_may(address: Address) -> None:
    """Three bodies come slowly, with room for two, when the fourth comes at once."""
    good, evil = session(address, "good"), session(address, "evil")
    slow = sent("evil", f"{evil}/steps", LARGE, SAFETENSORS)
    with Wire(address) as first, Wire(address) as second, Wire(address) as third:
        for wire in (first, second, third):
            wire.send(slow[:-1])
        time.sleep(3)
        with Wire(address) as quick:
            quick.send(sent("good", f"{good}/steps", LARGE, SAFETENSORS))
            assert quick.answer()[0] == 200
        found = []
        for wire in (first, second, third):
            wire.send(slow[-1:])
            status, body = wire.answer()
            found.append(status)
            assert status == 200 or json.loads(body)["code"] == "overloaded"
            wire.send(sent("evil", f"{evil}/steps", LARGE, SAFETENSORS))
            assert wire.answer()[0] == 200
    assert sorted(found) in ([200, 503, 503], [200, 200, 503])


def test_a_body_larger_than_max_waiting_bytes_is_too_large(address: Address) -> None:
    evil = session(address, "evil")
    with Wire(address) as wire:
        wire.send(sent("evil", f"{evil}/steps", bytes(BYTES + 1), SAFETENSORS)[: -BYTES - 1])
        status, body = wire.answer()
        assert (status, json.loads(body)["limit"]) == (413, BYTES)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("after", [0, 1000, BULK_BYTES])
def test_a_dropped_body_ends_its_request_and_keeps_the_connection(loop: str, after: int) -> None:
    app = create_app(Settings(store="memory:", max_waiting_bytes=BULK_BYTES * 4))
    with listening(app, loop) as address, Wire(address) as wire, Wire(address) as other:
        path = session(address, "any")
        request = sent("any", f"{path}/steps", bytes(4 * BULK_BYTES), SAFETENSORS)
        wire.send(request[: -2 * BULK_BYTES])
        other.send(request[:-1])
        status, body = wire.answer()
        assert (status, json.loads(body)["code"]) == (503, "overloaded")
        wire.send(request[-2 * BULK_BYTES :][:after])
        wire.send(request[-2 * BULK_BYTES :][after:] + sent("any", f"{path}/steps", json.dumps(W).encode()))
        assert wire.answer()[0] == 200


def test_a_chunked_body_is_let_go_as_others_are() -> None:
    with listening(create_app(Settings(store="memory:", max_waiting_bytes=BULK_BYTES * 4))) as address:
        path = session(address, "any")
        chunked = post_chunked(f"{path}/steps", [bytes(2 * BULK_BYTES)])
        chunked = chunked.replace(b"host", b"content-type: application/json\r\nhost", 1)
        with Wire(address) as wire, Wire(address) as other:
            wire.send(chunked[:-1])
            other.send(sent("any", f"{path}/steps", bytes(4 * BULK_BYTES), SAFETENSORS)[:-1])
            status, body = wire.answer()
            assert (status, json.loads(body)["code"]) == (503, "overloaded")
            wire.send(chunked[-1:] + sent("any", f"{path}/steps", json.dumps(W).encode()))
            assert wire.answer()[0] == 200


def test_a_body_that_no_machine_has_memory_for_is_refused() -> None:
    exbibyte = 1 << 60
    settings = Settings(store="memory:", max_body_bytes=exbibyte, max_waiting_bytes=exbibyte)
    with listening(create_app(settings)) as address, Wire(address) as wire:
        request = sent("any", f"{session(address, 'any')}/steps", bytes(2 * BULK_BYTES), SAFETENSORS)
        wire.send(request.replace(b"content-length: %d" % (2 * BULK_BYTES), b"content-length: %d" % exbibyte))
        status, body = wire.answer()
        assert (status, json.loads(body)["code"]) == (503, "overloaded")
