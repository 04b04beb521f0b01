"""Keys, roles and tenants: who may do what, and whose sessions are seen."""

import hashlib
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client

from app import auth
from app import keys_file as keys_file_module
from app.auth import Keys
from tests.service.calls import W, create, problem, serving, stepped

KEYS = {
    "lab-writes": ("lab", "write", None),
    "lab-reads": ("lab", "read", None),
    "other-writes": ("other", "write", None),
    "expired": ("lab", "write", "2020-01-01T00:00:00Z"),
    "not-yet-expired": ("lab", "write", "2120-01-01T00:00:00+02:00"),
}


def row(key: str, tenant: str = "lab", role: str = "write", expires_at: str | None = None) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant, "role": role, "expires_at": expires_at,
    }  # fmt: skip


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row(key, *about) for key, about in KEYS.items()]}))
    return file


@pytest.fixture
def client(keys_file: Path) -> Iterator[Client]:
    """A client that writes for the tenant `lab`."""
    with serving(api_keys_file=keys_file) as client:
        client.headers["authorization"] = "Bearer lab-writes"
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


CALLS: list[tuple[str, str, bool]] = [
    ("POST", "/v1/sessions", True),
    ("GET", "/v1/sessions", False),
    ("GET", "{}", False),
    ("PATCH", "{}", True),
    ("DELETE", "{}", True),
    ("POST", "{}/steps", True),
    ("GET", "{}/params", False),
    ("PUT", "{}/params", True),
    ("GET", "{}/state", False),
    ("PUT", "{}/state", True),
    ("PATCH", "{}/tensors", True),
    ("GET", "{}/history", False),
]
"""Each call, and whether it changes something."""


@pytest.mark.parametrize(("method", "path", "writes"), CALLS)
class TestEachCall:
    def ask(self, client: Client, method: str, path: str, headers: dict[str, str]) -> Any:
        return client.request(method, path.format(create(client, hold_params=True)), headers=headers)

    @pytest.mark.parametrize(
        "authorization",
        [
            "",
            "Bearer",
            "Bearer ",
            "Bearer nobody",
            "Bearer expired",
            "Basic lab-writes",
            "lab-writes",
            "Bearer lab-writes2",
        ],
    )
    def test_needs_a_key(self, client: Client, method: str, path: str, writes: bool, authorization: str) -> None:
        answer = self.ask(client, method, path, {"authorization": authorization})
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"

    def test_needs_a_role_that_may_do_it(self, client: Client, method: str, path: str, writes: bool) -> None:
        answer = self.ask(client, method, path, bearer("lab-reads"))
        if writes:
            assert "'read'" in problem(answer, 403, "forbidden")["detail"]
        else:
            assert answer.status_code == 200

    def test_does_not_find_another_tenant_s_session(self, client: Client, method: str, path: str, writes: bool) -> None:
        if "{}" not in path:
            assert client.request("GET", path, headers=bearer("other-writes")).json()["sessions"] == []
            return
        session = create(client, hold_params=True)
        body: dict[str, Any] = {"json": {} if method == "PATCH" else W} if method in ("POST", "PATCH") else {}
        if method == "PUT":
            media_type = "application/json" if path.endswith("params") else "application/vnd.safetensors"
            empty = b'{"params": {}}' if path.endswith("params") else client.get(f"{session}/state").content
            body = {"content": empty, "headers": {"content-type": media_type}}
        body["headers"] = body.get("headers", {}) | bearer("other-writes")
        before = client.get(session).content
        problem(client.request(method, path.format(session), **body), 404, "session_not_found")
        assert client.get(session).content == before


@pytest.mark.parametrize(
    "authorization", ["Bearer lab-writes", "bearer lab-writes", "BEARER  lab-writes ", "Bearer not-yet-expired"]
)
def test_a_key_of_the_role_and_tenant_lets_in(client: Client, authorization: str) -> None:
    client.headers["authorization"] = authorization
    session = create(client)
    assert stepped(client, session, **W)["step"] == 1


def test_each_tenant_lists_its_own_sessions(client: Client) -> None:
    ours = create(client)
    client.headers["authorization"] = "Bearer other-writes"
    theirs = create(client)
    listed = {
        key: [
            f"/v1/sessions/{session['id']}"
            for session in client.get("/v1/sessions", headers=bearer(key)).json()["sessions"]
        ]
        for key in ("lab-reads", "other-writes")
    }
    assert listed == {"lab-reads": [ours], "other-writes": [theirs]}


def test_a_key_expires_while_the_service_runs(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    soon = datetime.fromtimestamp(time.time() + 0.1, UTC).isoformat()
    file.write_text(json.dumps({"keys": [row("key", expires_at=soon)]}))
    with serving(api_keys_file=file) as client:
        assert client.get("/v1/sessions", headers=bearer("key")).status_code == 200
        time.sleep(0.11)
        problem(client.get("/v1/sessions", headers=bearer("key")), 401, "unauthenticated")


def test_without_a_keys_file_every_caller_may_do_everything() -> None:
    with serving() as client:
        session = create(client)
        assert client.get(session, headers=bearer("whatever")).status_code == 200
        assert client.delete(session).status_code == 204


def test_a_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"keys": []}')
    with serving(api_keys_file=file) as client:
        problem(client.get("/v1/sessions", headers=bearer("")), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "JSON"),
        ("[]", "it: "),
        ("{}", "keys"),
        ('{"keys": [], "more": 1}', "more"),
        ('{"keys": [{"key": "secret", "tenant": "lab", "role": "write"}]}', "sha256"),
        (json.dumps({"keys": [row("a") | {"sha256": "secret"}]}), "sha256"),
        (json.dumps({"keys": [row("a") | {"role": "owner"}]}), "role"),
        (json.dumps({"keys": [row("a") | {"tenant": "a/b"}]}), "tenant"),
        (json.dumps({"keys": [row("a") | {"tenant": ""}]}), "tenant"),
        (json.dumps({"keys": [row("a", expires_at="2030-01-01T00:00:00")]}), "expires_at"),
        (json.dumps({"keys": [row("a", "lab"), row("a", "other")]}), "one key twice"),
    ],
)
def test_a_malformed_keys_file_is_refused_by_name(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=words) as raised:
        Keys(file)
    assert str(file) in str(raised.value)
    assert "the file of API keys" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_keys_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the file of API keys .*none.json cannot be read: No such file"):
        Keys(tmp_path / "none.json")


def test_one_key_can_be_given_by_its_hash(keys_file: Path) -> None:
    sole = hashlib.sha256(b"sole").hexdigest()
    with serving(api_key_sha256=sole) as client:
        for nobody in ("", "lab-writes", sole):
            problem(client.get("/v1/sessions", headers=bearer(nobody)), 401, "unauthenticated")
        assert client.get("/metrics", headers=bearer("sole")).status_code == 200
    with serving(api_key_sha256=sole, api_keys_file=keys_file) as client:
        for key in ("sole", "lab-reads"):
            assert client.get("/v1/sessions", headers=bearer(key)).status_code == 200


def test_a_key_with_only_the_id_of_another_is_unknown(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    known = row("key")
    file.write_text(
        json.dumps(
            {"keys": [known | {"sha256": known["sha256"][:-1] + "0123456789abcdef"[known["sha256"][-1] == "0"]}]}
        )
    )
    with serving(api_keys_file=file) as client:
        problem(client.get("/v1/sessions", headers=bearer("key")), 401, "unauthenticated")


class TestWhileTheServiceRuns:
    @pytest.fixture(autouse=True)
    def look_at_each_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(auth, "LOOK_SECONDS", 0.0)

    def status(self, client: Client, key: str) -> int:
        return client.get("/v1/sessions", headers=bearer(key)).status_code

    def test_a_key_is_made_and_revoked(self, tmp_path: Path) -> None:
        file = tmp_path / "keys.json"
        first, _ = keys_file_module.create(file, "lab", "write")
        with serving(api_keys_file=file) as client:
            second, row_of_second = keys_file_module.create(file, "lab", "read")
            assert [self.status(client, key) for key in (first, second)] == [200, 200]
            keys_file_module.revoke(file, row_of_second.id)
            assert [self.status(client, key) for key in (first, second)] == [200, 401]

    @pytest.mark.parametrize("broken", ["", '{"keys": [', '{"keys": [{"key": "secret"}]}', None])
    def test_a_broken_file_keeps_the_old_keys_and_logs_once(
        self, keys_file: Path, broken: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        good = keys_file.read_bytes()
        with serving(api_keys_file=keys_file) as client:
            if broken is None:
                keys_file.unlink()
            else:
                keys_file.write_text(broken)
            for _ in range(3):
                assert [self.status(client, key) for key in ("lab-reads", "nobody")] == [200, 401]
            (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            assert "the old keys stay in force" in said
            assert str(keys_file) in said
            assert "secret" not in said
            keys_file.write_bytes(good.replace(b'"read"', b'"admin"'))
            assert client.get("/metrics", headers=bearer("lab-reads")).status_code == 200

    def test_the_file_is_not_read_again_before_it_changes(
        self, keys_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(api_keys_file=keys_file) as client:
            monkeypatch.setattr(keys_file_module, "read", None)
            assert self.status(client, "lab-reads") == 200


def test_the_file_is_not_checked_at_each_request(keys_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LOOK_SECONDS", 3600.0)
    with serving(api_keys_file=keys_file) as client:
        keys_file.write_text('{"keys": []}')
        assert client.get("/v1/sessions", headers=bearer("lab-reads")).status_code == 200


def test_a_tenant_s_requests_are_limited_and_nobody_else_s(keys_file: Path) -> None:
    with serving(api_keys_file=keys_file, rate_limit="3/hour") as client:
        for left in (2, 1, 0):
            answer = client.get("/v1/sessions", headers=bearer("lab-reads"))
            assert answer.status_code == 200
            assert answer.headers["ratelimit-policy"] == '"tenant";q=3;w=3600'
            assert re.fullmatch(rf'"tenant";r={left};t=3[56]\d\d', answer.headers["ratelimit"])
        answer = client.get("/v1/sessions", headers=bearer("lab-writes"))
        assert "3/hour" in problem(answer, 429, "rate_limited")["detail"]
        assert 3500 < int(answer.headers["retry-after"]) <= 3600
        assert answer.headers["ratelimit"] == f'"tenant";r=0;t={answer.headers["retry-after"]}'
        assert client.get("/v1/sessions", headers=bearer("other-writes")).status_code == 200
        for path in ("/livez", "/readyz"):
            assert "ratelimit" not in client.get(path).headers


def test_every_answer_to_a_limited_tenant_says_what_is_left(keys_file: Path) -> None:
    with serving(api_keys_file=keys_file, rate_limit="9/hour") as client:
        client.headers["authorization"] = "Bearer lab-writes"
        answers = [
            client.get("/v1/sessions/none"), client.get("/v1/sessions?limit=0"), client.post("/v1/sessions"),
            client.post("/v1/sessions", json={"optimizer": "sgd"}),
        ]  # fmt: skip
        assert [answer.status_code for answer in answers] == [404, 400, 415, 201]
        assert [answer.headers.get("ratelimit", "").partition(";t")[0] for answer in answers] == [
            f'"tenant";r={left}' for left in (8, 7, 6, 5)
        ]


def test_who_is_not_limited_is_told_of_no_limit(client: Client) -> None:
    assert not [name for name in client.get("/v1/sessions").headers if name.startswith("ratelimit")]


def test_who_is_not_let_in_uses_up_nobody_s_limit(keys_file: Path) -> None:
    with serving(api_keys_file=keys_file, rate_limit="1/hour") as client:
        for key in ("nobody", "expired"):
            problem(client.get("/v1/sessions", headers=bearer(key)), 401, "unauthenticated")
        assert client.get("/v1/sessions", headers=bearer("lab-reads")).status_code == 200
