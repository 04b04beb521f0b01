"""The hosts that the service answers for, and the pages that may change something on it."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpx2 import Client
from pydantic import ValidationError
from starlette.responses import PlainTextResponse

from app.settings import Settings
from app.web.hosts import HostGate
from app.web.problems import Problem
from tests.service.calls import W, create, problem, serving, stepped
from tests.service.test_auth import row

LOOPBACK = [
    "localhost", "LocalHost", "localhost.", "localhost:8000", "localhost.:1", "localhost:", "optim.localhost:80",
    "a.b.localhost", "127.0.0.1", "127.0.0.1:8000", "127.0.0.1.", "127.1.2.3", "127.255.255.254:9", "[::1]", "[::1]:80",
    "[0:0:0:0:0:0:0:1]:8000",
]  # fmt: skip
FOREIGN = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost",
    "128.0.0.1", "0.0.0.0", "0.0.0.0:8000", "10.0.0.1:8000", "[::]", "[fe80::1]:8000", "optim:8000", "service",
    "127.0.0.256",
    "localhost.example", "host.docker.internal:8000", "localhost..",
]  # fmt: skip


def asked(client: Client, host: str, method: str = "GET", path: str = "/v1/sessions", **fields: str) -> httpx2.Response:
    body = {"optimizer": "sgd"} if method == "POST" else None
    return client.request(method, path, headers={"host": host, **fields}, json=body)


def keyed(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row("secret")]}))
    return {"api_keys_file": file, **settings}


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_names_are_answered_without_keys(client: Client, host: str) -> None:
    assert asked(client, host).status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/v1/sessions", "/docs", "/openapi.json", "/metrics", "/nowhere", "/livez/"])
def test_other_hosts_are_misdirected_without_keys(client: Client, host: str, path: str) -> None:
    document = problem(asked(client, host, path=path), 421, "misdirected")
    assert "OPTIM_ALLOWED_HOSTS" in document["detail"]


def test_a_misdirected_request_changes_nothing() -> None:
    with serving() as client:
        session = create(client)
        stepped(client, session, **W)
        before = client.get(session).content
        for method, path in (("POST", "/v1/sessions"), ("DELETE", session), ("PATCH", session)):
            problem(asked(client, "evil.example", method, path), 421, "misdirected")
        assert client.get(session).content == before
        assert len(client.get("/v1/sessions").json()["sessions"]) == 1


@pytest.mark.parametrize("host", ["10.1.2.3:8000", "[fd00::1]:8000", "optim-7d9f.default.svc:8000"])
def test_a_probe_may_name_any_host(client: Client, host: str) -> None:
    """A kubelet asks for the address of the pod, which no setting can know."""
    for path in ("/livez", "/readyz"):
        assert asked(client, host, path=path).status_code == 200


def test_the_insecure_flag_adds_no_hosts() -> None:
    with serving(insecure=True, host="0.0.0.0") as client:
        problem(asked(client, "192.168.1.5:8000"), 421, "misdirected")


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("optim", "optim:8000", 200),
        ("optim", "OPTIM.", 200),
        ("optim", "localhost", 200),
        ("optim", "other", 421),
        ("optim", "optim.example.org", 421),
        ("Optim.Example.org.", "optim.example.org", 200),
        (" a , optim,", "optim", 200),
        ("*.example.org", "a.example.org", 200),
        ("*.example.org", "a.b.example.org:1", 200),
        ("*.example.org", "example.org", 421),
        ("*.example.org", "aexample.org", 421),
        ("*.example.org", "a.example.org.evil", 421),
        ("10.1.2.3", "10.1.2.3:8000", 200),
        ("10.1.2.3", "10.1.2.30", 421),
        ("fd00::1", "[fd00:0::1]:8000", 200),
        ("[fd00::1]", "[FD00::1]", 200),
        ("*", "evil.example", 200),
        ("", "evil.example", 421),
    ],
)
def test_the_hosts_in_the_setting_are_answered(allowed: str, host: str, status: int) -> None:
    with serving(allowed_hosts=allowed) as client:
        assert asked(client, host).status_code == status


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        (None, "anything.example", 200),
        ("optim.example.org", "optim.example.org", 200),
        ("optim.example.org", "127.0.0.1:8000", 200),
        ("optim.example.org", "evil.example", 421),
    ],
)
def test_keys_allow_any_host_unless_some_are_set(tmp_path: Path, allowed: str | None, host: str, status: int) -> None:
    with serving(**keyed(tmp_path, allowed_hosts=allowed)) as client:
        assert asked(client, host, authorization="Bearer secret").status_code == status
        assert asked(client, host).status_code == (401 if status == 200 else 421)


@pytest.mark.parametrize("host", ["", "a b", "a, b", "localhost:x", "[::1", "user@localhost"])
def test_a_malformed_host_is_refused_even_with_keys(tmp_path: Path, host: str) -> None:
    with serving(**keyed(tmp_path)) as client:
        problem(asked(client, host, authorization="Bearer secret"), 400, "malformed_header")


@pytest.mark.parametrize(
    "allowed", ["optim:8000", "http://optim", "a b", "*.*.org", "exa*mple", "*.", "a,b:1", "[::1]:8"]
)
def test_a_malformed_host_name_is_refused_as_a_setting(allowed: str) -> None:
    with pytest.raises(ValidationError, match="not a host name"):
        Settings(store="memory:", allowed_hosts=allowed)


OURS = ["http://localhost:8000", "http://127.0.0.1:5173", "https://[::1]", "http://app.localhost"]
THEIRS = ["https://evil.example", "http://evil.example:8000", "null", "http://localhost.evil.example", "file://", ""]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("page", THEIRS)
def test_another_sites_page_may_not_write_without_keys(client: Client, method: str, page: str) -> None:
    for path in ("/v1/sessions", create(client), "/nowhere"):
        document = problem(asked(client, "localhost", method, path, origin=page), 403, "forbidden")
        assert "OPTIM_CORS_ORIGINS" in document["detail"]


@pytest.mark.parametrize("page", OURS)
def test_a_page_of_this_machine_may_write(client: Client, page: str) -> None:
    assert asked(client, "localhost", "POST", origin=page).status_code == 201


@pytest.mark.parametrize("page", THEIRS)
def test_another_sites_page_may_read(client: Client, page: str) -> None:
    """The page cannot read the answer."""
    assert asked(client, "localhost", origin=page).status_code == 200


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-origin", 201), ("none", 201), ("same-site", 201)]
)
def test_sec_fetch_site_decides_without_an_origin(client: Client, site: str, status: int) -> None:
    assert asked(client, "localhost", "POST", **{"sec-fetch-site": site}).status_code == status


@pytest.mark.parametrize(
    ("settings", "page"),
    [
        ({"cors_origins": "https://app.example"}, "https://app.example"),
        ({"cors_origins": "*"}, "https://evil.example"),
        ({"allowed_hosts": "optim.example"}, "https://optim.example:8443"),
        ({"allowed_hosts": "*"}, "https://evil.example"),
    ],
)
def test_a_page_in_the_settings_may_write(settings: dict[str, str], page: str) -> None:
    with serving(**settings) as client:
        headers = {"origin": page, "sec-fetch-site": "cross-site"}
        assert asked(client, "localhost", "POST", **headers).status_code == 201


def test_any_page_with_a_key_may_write(tmp_path: Path) -> None:
    with serving(**keyed(tmp_path)) as client:
        headers = {"origin": "https://evil.example", "authorization": "Bearer secret"}
        assert asked(client, "localhost", "POST", **headers).status_code == 201


async def asked_of_gate(server: Any, *hosts: str) -> int:
    """Return the status for a request that came to the address `server`, with these `Host` fields."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/v1/sessions",
        "server": server,
        "headers": [(b"host", host.encode()) for host in hosts],
    }
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    gate = HostGate(PlainTextResponse("in"), Problem, [], [], has_keys=False)
    await gate(scope, None, send)  # type: ignore[arg-type]
    return int(messages[0]["status"])


@pytest.mark.parametrize(
    ("hosts", "status"), [([], 200), ([""], 200), (["localhost"], 200), (["evil.example"], 421), (["", ""], 400)]
)
async def test_a_unix_socket_needs_no_host_name(hosts: list[str], status: int) -> None:
    assert await asked_of_gate(("/run/optim/optim.sock", None), *hosts) == status


@pytest.mark.parametrize("server", [("127.0.0.1", 8000), ("localhost", None), None])
async def test_a_request_over_tcp_needs_a_host_name(server: Any) -> None:
    assert [await asked_of_gate(server, *hosts) for hosts in ([], [""])] == [400, 400]
