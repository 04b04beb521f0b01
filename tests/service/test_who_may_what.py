"""Permissions: every route of the schema, asked by everyone there is, and the exact status of each.

A route that is new fails here until its row is written.
"""

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpx2 import Client

from app import auth
from app.main import create_app
from app.settings import Settings
from tests.chaos.trial import Trial
from tests.reaper import tied
from tests.service.calls import SAFETENSORS, W, create, problem, serving, stepped

JSON = "application/json"
CALLERS = {
    "owner": "Bearer owner-secret",
    "admin": "Bearer admin-secret",
    "reader": "Bearer reader-secret",
    "other tenant": "Bearer other-secret",
    "other reader": "Bearer other-reader-secret",
    "other admin": "Bearer other-admin-secret",
    "expired": "Bearer expired-secret",
    "revoked": "Bearer revoked-secret",
    "unknown": "Bearer unknown-secret",
    "none": None,
    "malformed": "Basic owner-secret",
    "malformed: no scheme": "owner-secret",
    "malformed: no key": "Bearer",
    "malformed: two keys": "Bearer owner-secret, Bearer owner-secret",
    "malformed: bytes": "Bearer \xff\xfe",
}
KEYS = [
    ("owner-secret", "lab", "write", None),
    ("admin-secret", "lab", "admin", None),
    ("reader-secret", "lab", "read", None),
    ("other-secret", "other", "write", None),
    ("other-reader-secret", "other", "read", None),
    ("other-admin-secret", "other", "admin", None),
    ("expired-secret", "lab", "admin", "2020-01-01T00:00:00Z"),
]
REVOKED = ("revoked-secret", "lab", "admin", None)


def statuses(owner: int, admin: int, reader: int, other: int, other_reader: int, other_admin: int) -> dict[str, int]:
    """The row of a route; whoever has no key that holds is 401 everywhere."""
    known = dict(zip(CALLERS, (owner, admin, reader, other, other_reader, other_admin), strict=False))
    return {caller: known.get(caller, 401) for caller in CALLERS}


def open_to_all(status: int = 200) -> dict[str, int]:
    return dict.fromkeys(CALLERS, status)


EXPECTED: dict[tuple[str, str], dict[str, int]] = {
    ("post", "/v1/sessions"): statuses(201, 201, 403, 201, 403, 201),
    ("get", "/v1/sessions"): statuses(200, 200, 200, 200, 200, 200),
    ("get", "/v1/sessions/{session_id}"): statuses(200, 200, 200, 404, 404, 404),
    ("patch", "/v1/sessions/{session_id}"): statuses(200, 200, 403, 404, 403, 404),
    ("delete", "/v1/sessions/{session_id}"): statuses(204, 204, 403, 404, 403, 404),
    ("post", "/v1/sessions/{session_id}/fork"): statuses(201, 201, 403, 404, 403, 404),
    ("post", "/v1/sessions/{session_id}/undo"): statuses(409, 409, 403, 404, 403, 404),
    ("post", "/v1/sessions/{session_id}/steps"): statuses(200, 200, 403, 404, 403, 404),
    ("post", "/v1/sessions/{session_id}/preview"): statuses(200, 200, 403, 404, 403, 404),
    ("put", "/v1/sessions/{session_id}/workers/{worker}"): statuses(409, 409, 403, 404, 403, 404),
    ("get", "/v1/sessions/{session_id}/workers"): statuses(200, 200, 200, 404, 404, 404),
    ("delete", "/v1/sessions/{session_id}/workers/{worker}"): statuses(204, 204, 403, 404, 403, 404),
    ("put", "/v1/sessions/{session_id}/rounds/{round_number}/contributions/{worker}"): statuses(
        409, 409, 403, 404, 403, 404
    ),
    ("put", "/v1/sessions/{session_id}/contributions/{worker}/{seq}"): statuses(409, 409, 403, 404, 403, 404),
    ("get", "/v1/sessions/{session_id}/rounds/{round_number}"): statuses(409, 409, 409, 404, 404, 404),
    ("post", "/v1/sessions/{session_id}/rounds/{round_number}/close"): statuses(409, 409, 403, 404, 403, 404),
    ("get", "/v1/sessions/{session_id}/params"): statuses(200, 200, 200, 404, 404, 404),
    ("put", "/v1/sessions/{session_id}/params"): statuses(204, 204, 403, 404, 403, 404),
    ("post", "/v1/sessions/{session_id}/params/rows"): statuses(200, 200, 200, 404, 404, 404),
    ("get", "/v1/sessions/{session_id}/state"): statuses(200, 200, 200, 404, 404, 404),
    ("put", "/v1/sessions/{session_id}/state"): statuses(204, 204, 403, 404, 403, 404),
    ("get", "/v1/sessions/{session_id}/tensors"): statuses(200, 200, 200, 404, 404, 404),
    ("patch", "/v1/sessions/{session_id}/tensors"): statuses(200, 200, 403, 404, 403, 404),
    ("get", "/v1/sessions/{session_id}/events"): statuses(200, 200, 200, 404, 404, 404),
    ("get", "/v1/sessions/{session_id}/history"): statuses(200, 200, 200, 404, 404, 404),
    ("get", "/v1/optimizers"): statuses(200, 200, 200, 200, 200, 200),
    ("get", "/metrics"): statuses(403, 200, 403, 403, 403, 200),
    ("get", "/livez"): open_to_all(),
    ("get", "/readyz"): open_to_all(),
    ("get", "/openapi.json"): open_to_all(),
    ("get", "/docs"): open_to_all(),
    ("get", "/"): open_to_all(),
    ("get", "/page/main.js"): open_to_all(),
}


SENT: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "sessions"): {"optimizer": "sgd"},
    ("post", "fork"): {"labels": {"run": "2"}},
    ("post", "undo"): {"step": 1},
    ("post", "steps"): {"grads": W["grads"]},
    ("post", "preview"): {"grads": W["grads"]},
    ("post", "rows"): {"rows": {"w": [0]}},
    ("patch", "tensors"): {"reset": ["w"]},
    ("patch", "{session_id}"): {"labels": {"run": "2"}},
    ("put", "params"): {"params": W["params"]},
    ("put", "workers/{worker}"): {},
    ("put", "contributions/{worker}"): {"grads": W["grads"], "epoch": 1},
    ("put", "contributions/{worker}/{seq}"): {"grads": W["grads"], "epoch": 1, "base_step": 1},
}
"""The JSON that the owner could send, by the method and the end of the path."""


def body(client: Client, method: str, path: str, session: str) -> dict[str, Any]:
    """Return what the owner could send there."""
    if (method, path.rpartition("/")[2]) == ("put", "state"):
        return {"content": client.get(f"{session}/state").content, "headers": {"content-type": SAFETENSORS}}
    return next(({"json": sent} for (of, end), sent in SENT.items() if of == method and path.endswith(f"/{end}")), {})


def written(*keys: tuple[str, str, str, str | None]) -> str:
    rows = [
        {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant, "role": role, "expires_at": expires_at}
        for key, tenant, role, expires_at in keys
    ]
    return json.dumps({"keys": rows})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The owner's client. One of the keys was good once, and is revoked."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    file.write_text(written(*KEYS, REVOKED))
    with pytest.MonkeyPatch.context() as patch, serving(api_keys_file=file) as client:
        patch.setattr(auth, "LOOK_SECONDS", 0.0)
        revoked = {"authorization": "Bearer revoked-secret"}
        assert client.get("/v1/sessions", headers=revoked).status_code == 200
        file.write_text(written(*KEYS))
        problem(client.get("/v1/sessions", headers=revoked), 401, "unauthenticated")
        client.headers["authorization"] = "Bearer owner-secret"
        yield client


def routes() -> set[tuple[str, str]]:
    schema = create_app(Settings(store="memory:")).openapi()
    listed = {(method, path) for path, methods in schema["paths"].items() for method in methods}
    return listed | {("get", path) for path in ("/openapi.json", "/docs", "/", "/page/main.js")}


def test_there_is_a_row_for_each_route() -> None:
    assert EXPECTED.keys() == routes()


def asked(
    client: Client, method: str, path: str, caller: str, session: str, session_id: str | None = None
) -> httpx2.Response:
    """Return the answer to that caller, who sends what would do for `session`."""
    sent = body(client, method, path, session)
    if path.endswith("/events") and EXPECTED[method, path][caller] == 200:
        method = "head"  # the answer to GET has no end
    session_id = session_id or session.rpartition("/")[2]
    request = client.build_request(
        method, path.format(session_id=session_id, worker="a", round_number=2, seq=1), **sent
    )
    del request.headers["authorization"]
    if (said := CALLERS[caller]) is not None:
        request.headers.update({b"authorization": said.encode("latin-1")})
    return client.send(request)


def check(client: Client, method: str, path: str, caller: str) -> None:
    """The caller gets the one status there, and what is refused changes nothing and tells nothing."""
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    before = client.get(f"{session}/state").content
    answer = asked(client, method, path, caller, session)
    status = EXPECTED[method, path][caller]
    assert answer.status_code == status, (method, path, caller, answer.text)
    if status == 401:
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    if status == 403:
        problem(answer, 403, "forbidden")
    if status == 404:
        problem(answer, 404, "session_not_found")
    if status >= 400:
        assert client.get(f"{session}/state").content == before
        assert session.rpartition("/")[2] not in answer.text or status == 404


@pytest.mark.requirement("R13")
@pytest.mark.long
def test_each_caller_of_each_route_gets_the_one_status(client: Client, trial: Trial) -> None:
    for method, path in EXPECTED:
        for caller in CALLERS:
            check(client, method, path, caller)
            trial.tried["cells of route and caller"] += 1
    trial.tried["routes"] = len(EXPECTED)
    trial.tried["kinds of caller"] = len(CALLERS)


@pytest.mark.parametrize("caller", ["other tenant", "other reader", "other admin"])
def test_another_tenants_session_looks_like_one_that_never_existed(client: Client, caller: str) -> None:
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    session_id, nothing = session.rpartition("/")[2], "0" * 32
    for method, path in EXPECTED:
        if "{session_id}" in path:
            there = asked(client, method, path, caller, session)
            none = asked(client, method, path, caller, session, nothing)
            assert (there.status_code, there.text.replace(session_id, nothing)) == (none.status_code, none.text)


def assert_no_key_in(text: str) -> None:
    for key, *_ in (*KEYS, REVOKED, ("unknown-secret",)):
        assert key not in text
        assert hashlib.sha256(key.encode()).hexdigest() not in text


def waited_for(log: Path, words: str, meanwhile: Callable[[], object] = lambda: time.sleep(0.01)) -> str:
    """The log, once it has the words."""
    deadline = time.monotonic() + 60
    while words not in (said := log.read_text()):
        assert time.monotonic() < deadline, said
        meanwhile()
    return said


@pytest.mark.requirement("R13")
@pytest.mark.long
def test_no_key_is_in_any_log(tmp_path: Path, trial: Trial) -> None:
    file, log = tmp_path / "keys.json", tmp_path / "log"
    file.write_text(written(*KEYS))
    command = [sys.executable, "-m", "app.cli", "serve", "--store=memory:", "--port=0", "--log-level=debug"]
    with log.open("wb") as stream, tied([*command, f"--api-keys-file={file}"], stderr=stream) as server:
        try:
            url = re.findall(r"url=(\S+)", waited_for(log, "listening"))[0]
            with Client(base_url=url, headers={"authorization": "Bearer owner-secret"}) as client:
                session = create(client, hold_params=True)
                stepped(client, session, **W)
                for method, path in sorted(EXPECTED.keys() - {("delete", "/v1/sessions/{session_id}")}):
                    for caller, status in EXPECTED[method, path].items():
                        assert asked(client, method, path, caller, session).status_code == status
                        trial.tried["requests"] += 1
                client.get("/v1/sessions", headers={"x-request-id": "named"})
                metrics = client.get("/metrics", headers={"authorization": "Bearer admin-secret"}).text
                file.write_text("owner-secret")
                waited_for(log, "the old keys stay in force", lambda: client.get("/v1/sessions"))
        finally:
            server.terminate()
    said = log.read_text()
    assert "request_id=named" in said
    assert said.count("status=401") > 8 * 11
    assert_no_key_in(said)
    assert 'status="401"' in metrics
    assert_no_key_in(metrics)
    trial.tried["lines of log without a key"] = len(said.splitlines())
