"""Settings: each one as a variable and as a flag, what it may not be, and what it does."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from app import admission, cli
from app.main import create_app
from app.settings import Settings
from app.store.base import Head
from app.store.memory import MemoryStore
from tests.service.calls import SAFETENSORS, W, binary_step, create, path_of, problem, serving, step, stepped
from tests.service.faults import SlowStore

TEXTS: dict[str, tuple[str, Any]] = {
    "store": ("redis://example.org:6380/2", "redis://example.org:6380/2"),
    "host": ("0.0.0.0", "0.0.0.0"),
    "port": ("9000", 9000),
    "workers": ("3", 3),
    "api_keys_file": (__file__, Path(__file__)),
    "api_key_sha256": ("0" * 64, "0" * 64),
    "insecure": ("True", True),
    "allowed_hosts": ("optim,*.example.org", "optim,*.example.org"),
    "cors_origins": ("https://app.example.org", "https://app.example.org"),
    "ssl_certfile": (__file__, Path(__file__)),
    "ssl_keyfile": (__file__, Path(__file__)),
    "ssl_keyfile_password": ("secret", "secret"),
    "max_body_bytes": ("4096", 4096),
    "max_json_bytes": ("2048", 2048),
    "head_seconds": ("2.5", 2.5),
    "body_seconds": ("60", 60.0),
    "answer_seconds": ("60", 60.0),
    "max_tensors": ("7", 7),
    "max_name_length": ("9", 9),
    "max_dimensions": ("3", 3),
    "max_json_depth": ("9", 9),
    "max_sessions": ("4", 4),
    "max_state_bytes": ("1000", 1000),
    "compute_threads": ("2", 2),
    "max_waiting_steps": ("5", 5),
    "max_waiting_bytes": ("1048576", 1048576),
    "rate_limit": ("100/second", "100/second"),
    "state_cache_bytes": ("0", 0),
    "spare_bytes": ("0", 0),
    "history_limit": ("11", 11),
    "store_timeout_seconds": ("1.5", 1.5),
    "lmdb_map_bytes": ("1048576", 1048576),
    "lmdb_sync": ("relaxed", "relaxed"),
    "sweep_seconds": ("0.5", 0.5),
    "shutdown_seconds": ("0", 0),
    "log_level": ("warning", "warning"),
    "log_format": ("json", "json"),
}
"""Each setting as it is written, and as it is then."""
WRONG: dict[str, list[str]] = {
    "store": ["", "lmdb", "lmdb:", "sqlite:x", "redis:", "http://example.org"],
    "port": ["", "-1", "65536", "http"],
    "workers": ["0", "257", "two"],
    "api_keys_file": ["", "/nowhere/keys.json", "/"],
    "api_key_sha256": ["", "secret", "0" * 63, "sha256:" + "0" * 64],
    "insecure": ["", "maybe"],
    "allowed_hosts": ["optim:8000", "http://optim", "*.*"],
    "cors_origins": ["app.example.org", "https://app.example.org/", "null"],
    "ssl_certfile": ["", "/nowhere/cert.pem", "/"],
    "ssl_keyfile": ["", "/nowhere/key.pem", "/"],
    "max_body_bytes": ["0", "1023", "1MB"],
    "max_json_bytes": ["0", "1023", "1MB"],
    "head_seconds": ["0", "-1", "soon"],
    "body_seconds": ["0", "-1", "soon"],
    "answer_seconds": ["0", "-1", "soon"],
    "max_tensors": ["0", "many"],
    "max_name_length": ["0", "4097"],
    "max_dimensions": ["0", "33"],
    "max_json_depth": ["0", "1025"],
    "max_sessions": ["0", "few"],
    "max_state_bytes": ["0", "1GB"],
    "compute_threads": ["-1", "1025"],
    "max_waiting_steps": ["0"],
    "max_waiting_bytes": ["0", "65535", "1GB"],
    "rate_limit": ["", "100", "0/second", "often", "100/fortnight", "1.5/second"],
    "state_cache_bytes": ["-1"],
    "spare_bytes": ["-1", "1GB"],
    "history_limit": ["0"],
    "store_timeout_seconds": ["0", "-1", "soon"],
    "lmdb_map_bytes": ["0"],
    "lmdb_sync": ["", "off", "FULL"],
    "sweep_seconds": ["0"],
    "shutdown_seconds": ["-1", "1.5"],
    "log_level": ["", "trace", "INFO"],
    "log_format": ["", "xml"],
}
"""What they may not be. A host is found wrong where it is listened on, a password where the key is read."""
ON_OR_OFF = {"insecure": "True"}
"""Settings whose flag has no value, and what it stands for."""


@pytest.fixture(autouse=True)
def surroundings() -> Iterator[None]:
    """No setting of this machine, and none left over."""
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OPTIM_")}
    yield
    for name in [name for name in os.environ if name.startswith("OPTIM_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `optim serve` would have run with."""
    served: list[Settings] = []
    monkeypatch.setattr(cli, "run_server", served.append)
    return served


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def flags(name: str, text: str) -> list[str]:
    return [flag(name)] if (name, text) in ON_OR_OFF.items() else [flag(name), text]


def test_there_is_a_text_for_each_setting() -> None:
    assert TEXTS.keys() == Settings.model_fields.keys()
    assert WRONG.keys() == Settings.model_fields.keys() - {"host", "ssl_keyfile_password"}


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_is_read_from_its_variable(name: str, served: list[Settings]) -> None:
    text, value = TEXTS[name]
    os.environ[f"OPTIM_{name.upper()}"] = text
    assert getattr(Settings(), name) == value
    assert CliRunner().invoke(cli.app, ["serve"]).exit_code == 0
    assert getattr(served[0], name) == value


@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_is_read_from_its_flag_which_wins_and_is_there_for_the_server_processes(
    name: str, served: list[Settings]
) -> None:
    text, value = TEXTS[name]
    os.environ[f"OPTIM_{name.upper()}"] = "what is not looked at"
    result = CliRunner().invoke(cli.app, ["serve", *flags(name, text)])
    assert result.exit_code == 0, result.output
    assert getattr(served[0], name) == value
    assert Settings() == served[0]


@pytest.mark.parametrize("form", ["{}\n", "{}\r\n", "\ufeff{}", " {}\t\n", "\n{}\n\n"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_setting_drops_line_breaks_and_marks_around_it(name: str, form: str) -> None:
    text, value = TEXTS[name]
    form = form.replace(" ", "").replace("\t", "") if name == "ssl_keyfile_password" else form
    os.environ[f"OPTIM_{name.upper()}"] = form.format(text)
    assert getattr(Settings(), name) == value


def test_a_password_keeps_its_blanks() -> None:
    os.environ["OPTIM_SSL_KEYFILE_PASSWORD"] = " secret \n"
    assert Settings().ssl_keyfile_password == " secret "


@pytest.mark.parametrize("within", ["\n", "\r", "\x00", "\x1b", "\ufeff"])
@pytest.mark.parametrize("name", ["store", "host", "ssl_keyfile_password", "rate_limit"])
def test_a_control_character_within_a_setting_is_refused(name: str, within: str) -> None:
    text, _ = TEXTS[name]
    with pytest.raises(ValidationError, match="give it in one line"):
        Settings(**{name: text[:3] + within + text[3:]})


def test_a_key_hash_may_be_in_capitals() -> None:
    assert Settings(api_key_sha256="AB" * 32).api_key_sha256 == "ab" * 32


@pytest.mark.parametrize("address", ["tcp://10.96.12.7:8000", "tcp://[fd00::1]:8000", "udp://10.96.12.7:53"])
def test_the_port_is_not_the_address_of_a_kubernetes_service(address: str) -> None:
    os.environ["OPTIM_PORT"] = address
    assert Settings().port == 8000
    assert Settings(port="8897").port == 8897


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in WRONG.items() for text in texts])
def test_a_wrong_setting_is_refused_by_its_name(name: str, text: str, served: list[Settings]) -> None:
    os.environ[f"OPTIM_{name.upper()}"] = text
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert [error["loc"] for error in raised.value.errors()] == [(name,)]
    del os.environ[f"OPTIM_{name.upper()}"]
    result = CliRunner().invoke(cli.app, ["serve", *flags(name, text)], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert name in ON_OR_OFF or f"{flag(name)} or OPTIM_{name.upper()}" in result.output
    assert served == []


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="stroe"):
        Settings(stroe="memory:")  # type: ignore[call-arg]
    assert CliRunner().invoke(cli.app, ["serve", "--stroe", "memory:"]).exit_code == 2


def test_settings_are_not_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1


@pytest.mark.parametrize("data", [None, "/data"])
def test_the_default_store_is_in_the_user_s_data_folder(monkeypatch: pytest.MonkeyPatch, data: str | None) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    if data is None:
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_DATA_HOME", data)
    assert Settings().store == f"lmdb:{data or '/home/me/.local/share'}/optim-service"


def test_a_wrong_setting_is_not_shown_for_it_may_be_a_secret() -> None:
    os.environ["OPTIM_STORE"] = "postgres://:password@host"
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "password" not in str(raised.value)


def test_so_many_tensors_are_taken_and_no_more() -> None:
    with serving(max_tensors=2) as client:
        session = create(client)
        two = {"a": 1.0, "b": 1.0}
        stepped(client, session, params=two, grads=two)
        three = {**two, "c": 1.0}
        refused = problem(step(client, session, params=three, grads=three), 400, "malformed_body")
        assert "the 2 that" in refused["detail"]


def test_names_are_so_long_and_no_longer() -> None:
    with serving(max_name_length=3) as client:
        session = create(client)
        stepped(client, session, params={"abc": 1.0}, grads={"abc": 1.0})
        for name in ("abcd", ""):
            problem(step(client, session, params={name: 1.0}, grads={name: 1.0}), 400, "malformed_body")


@pytest.mark.parametrize("binary", [False, True])
def test_tensors_have_so_many_dimensions_and_no_more(binary: bool) -> None:
    with serving(max_dimensions=2) as client:
        session = create(client)
        for dimensions, status in ((2, 200), (3, 400)):
            array = np.ones((1,) * dimensions, np.float32)
            tensors = {"w": array if binary else array.tolist()}
            answer = (
                binary_step(client, session, tensors, tensors)
                if binary
                else step(client, session, params=tensors, grads=tensors)
            )
            assert answer.status_code == status
        assert "3 dimensions, the limit is 2" in problem(answer, 400, "malformed_body")["detail"]


def test_json_nests_so_deep_and_no_deeper() -> None:
    with serving(max_json_depth=4) as client:
        session = create(client)
        stepped(client, session, params={"w": [[1.0]]}, grads={"w": [[1.0]]})
        answer = step(client, session, params={"w": [[[1.0]]]}, grads={"w": [[[1.0]]]})
        assert "more than 4 lists and objects" in problem(answer, 400, "malformed_body")["detail"]
        answer = client.post("/v1/sessions", json={"optimizer": "adam", "metadata": {"a": {"b": {"c": {}}}}})
        assert "more than 4 lists and objects" in problem(answer, 400, "malformed_body")["detail"]


def test_a_place_is_free_again_after_a_step_whatever_became_of_it() -> None:
    with serving(max_waiting_steps=1) as client:
        session = create(client)
        for _ in range(3):
            stepped(client, session, **W)
            problem(step(client, session, grads={"w": ["x"]}), 400, "malformed_body")
            problem(step(client, session, **W, step=9), 409, "step_conflict")


async def test_a_step_that_finds_no_place_waits_for_one() -> None:
    store = SlowStore()
    app = create_app(Settings(store="memory:", max_waiting_steps=1), store)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        steps = path_of(await client.post("/v1/sessions", json={"optimizer": "sgd"})) + "/steps"
        both = [asyncio.create_task(client.post(steps, json=W)) for _ in range(2)]
        await store.begun.wait()
        store.go_on.set()
        answers = await asyncio.gather(*both)
    assert [answer.json()["step"] for answer in answers] == [1, 2]


@pytest.mark.parametrize("upload", ["params", "state"])
async def test_an_upload_takes_a_place_as_a_step_does(upload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", (0, 0))
    store = SlowStore()
    app = create_app(Settings(store="memory:", max_waiting_steps=1), store)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        session = path_of(await client.post("/v1/sessions", json={"optimizer": "sgd"}))
        step = asyncio.create_task(client.post(f"{session}/steps", json=W))
        await store.begun.wait()
        refused = await client.put(f"{session}/{upload}", content=b"", headers={"content-type": SAFETENSORS})
        store.go_on.set()
        assert (await step).status_code == 200
    problem(refused, 503, "overloaded")


class CountingStore(MemoryStore):
    """Counts how often a state is read, and when things are swept."""

    def __init__(self) -> None:
        super().__init__(10)
        self.reads = self.sweeps = 0

    async def read(self, head: Head, into: memoryview) -> None:
        self.reads += 1
        await super().read(head, into)

    async def sweep(self) -> int:
        self.sweeps += 1
        return await super().sweep()


@pytest.mark.parametrize(("cached", "reads"), [(0, 2), (1 << 20, 0)])
def test_the_states_of_recent_sessions_are_kept_up_to_so_many_bytes(cached: int, reads: int) -> None:
    store = CountingStore()
    with serving(store, state_cache_bytes=cached) as client:
        session = create(client)
        stepped(client, session, **W)
        store.reads = 0
        for _ in range(2):
            stepped(client, session, **W)
    assert store.reads == reads


def test_what_was_used_longest_ago_leaves_the_cache_first() -> None:
    store = CountingStore()
    with serving(store, state_cache_bytes=33_000) as client:
        first, second, third = (create(client) for _ in range(3))
        stepped(client, first, **W)
        stepped(client, second, **W)
        client.get(f"{first}/state")
        stepped(client, third, **W)
        reads = []
        for session in (third, first, second):
            store.reads = 0
            client.get(f"{session}/state")
            reads.append(store.reads)
    assert reads == [0, 0, 1]


def test_what_has_expired_is_swept_every_so_often() -> None:
    store = CountingStore()
    with serving(store, sweep_seconds=0.01) as client:
        session = create(client, ttl_seconds=0.01)
        deadline = time.monotonic() + 10
        while store._heads and time.monotonic() < deadline:
            client.get("/livez")
            time.sleep(0.01)
        assert store._heads == {}
        assert store.sweeps >= 1
        problem(client.get(session), 404, "session_not_found")
