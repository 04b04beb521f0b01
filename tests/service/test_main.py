"""The wiring of the service: its life from start to stop, and the answers outside of any route."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from httpx2 import Client
from starlette.testclient import TestClient

from app.errors import StoreUnavailable
from app.main import create_app, wired
from app.settings import Settings
from app.store.memory import MemoryStore
from tests.service.calls import create, problem, serving
from tests.web.logs import Logs


class WarningStore(MemoryStore):
    """Warns when it is open, and notes when it is closed."""

    is_open: bool | None = None

    async def open(self) -> None:
        await super().open()
        self.is_open = True

    async def close(self) -> None:
        await super().close()
        self.is_open = False

    async def warnings(self) -> list[str]:
        assert self.is_open
        return ["the disk is nearly full"]


class AwayStore(MemoryStore):
    """Cannot be reached by the first sweep."""

    away = True

    async def sweep(self) -> int:
        if self.away:
            self.away = False
            raise StoreUnavailable("the store does not answer")
        return await super().sweep()


@pytest.mark.long
def test_importing_the_application_builds_nothing(tmp_path: Path) -> None:
    code = "import threading, app.main; print(threading.active_count())"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "OPTIM_STORE": "no store"}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=tmp_path, text=True)
    assert (said, list(tmp_path.iterdir())) == ("1\n", [])


@pytest.mark.long
def test_a_service_imports_only_what_it_needs(tmp_path: Path) -> None:
    code = "import sys, app.serve, app.worker; app.worker.application(); print(*sys.modules)"
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "OPTIM_STORE": "memory:"}
    said = subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=tmp_path, text=True)
    assert not {"app.demo", "lmdb", "numba", "optim_client", "redis", "rich", "typer"} & set(said.split())


def test_the_store_is_open_while_the_service_runs(logs: Logs) -> None:
    store = WarningStore(10)
    app = create_app(Settings(store="memory:"), store)
    assert store.is_open is None
    with TestClient(app):
        assert store.is_open
    assert store.is_open is False
    assert [(line["level"], line["event"]) for line in logs.lines()] == [("warning", "the disk is nearly full")]


def test_one_of_several_processes_may_keep_the_warnings_to_itself(logs: Logs) -> None:
    with TestClient(wired(Settings(store="memory:"), WarningStore(10), warns=False)):
        pass
    assert logs.lines() == []


def test_a_failed_sweep_is_logged_and_repeated(logs: Logs) -> None:
    with serving(AwayStore(10), sweep_seconds=0.01) as client:
        create(client, ttl_seconds=0.01)
        swept, deadline = [], time.monotonic() + 10
        while len(swept) < 2 and time.monotonic() < deadline:
            client.get("/livez")
            time.sleep(0.01)
            swept += [line for line in logs.lines() if line["event"].startswith("sw")]
    failed, removed = swept
    assert (failed["level"], failed["event"], failed["error"]) == (
        "warning", "sweep failed", "the store does not answer",
    )  # fmt: skip
    assert (removed["level"], removed["event"], removed["removed"]) == ("info", "swept", 1)


def test_an_unknown_method_is_answered_with_the_known_ones(client: Client) -> None:
    methods = {"/v1/sessions": "POST, GET, HEAD", "/v1/sessions/0": "GET, PATCH, DELETE, HEAD", "/livez": "GET, HEAD"}
    alike = dict.fromkeys(("/", "/page/main.js", "/docs", "/openapi.json"), "GET, HEAD")
    for path, allowed in {**methods, **alike, "/v1/sessions/0/steps": "POST"}.items():
        answer = client.put(path)
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path", ["/index.html", "/v1", "/v1/", "/v1/sessions/", "/v1/sessions/a/b", "/v1/sessions/a/steps/1"]
)
def test_a_path_that_is_none_is_not_found(client: Client, path: str) -> None:
    problem(client.get(path), 404, "route_not_found")
