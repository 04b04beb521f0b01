"""The command `optim`: its overviews, its version and its refusals."""

import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.command import Optim

IMPORTED = """
import sys
from app.cli import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
HEAVY = {"asyncio", "attr", "fastapi", "httpx2", "importlib.metadata", "lmdb", "numba", "numpy", "optim_client"}
HEAVY |= {"optim_engine", "orjson", "prometheus_client", "pydantic", "redis", "rich", "starlette", "uvicorn"}
"""Modules that take long to import."""


def test_help_names_every_command(optim: Optim) -> None:
    status, words, _ = optim("--help")
    assert status == 0
    for command in ("serve", "demo", "keys", "sessions", "workers"):
        assert re.search(rf"^  {command} ", words, re.MULTILINE)


@pytest.mark.parametrize("group", [[], ["keys"], ["sessions"]], ids=" ".join)
def test_no_line_of_the_overviews_is_cut(optim: Optim, group: list[str]) -> None:
    status, words, _ = optim(*group, "--help", COLUMNS="80")
    assert status == 0
    assert "..." not in words.partition("Commands:")[2]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "keys",
        "keys create",
        "sessions",
        "sessions list",
        "backup",
        "restore",
        "bench",
        "doctor",
        "demo",
        "serve",
        "workers",
    ],
)
def test_help_imports_no_service(words: str) -> None:
    command = [sys.executable, "-c", IMPORTED, *words.split(), "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    ours = {"app.flags", "app.settings", "app.web", "app.web.names", "app.wrong_values"} if words == "serve" else set()
    theirs = {"importlib.metadata", "pydantic"} if words == "serve" else set()
    modules = set(said.split())
    service = {name for name in modules if re.match(r"app\b(?!\.commands)", name)}
    assert service == {"app", "app.cli", "app.roles"} | ours
    assert modules & HEAVY <= theirs


def test_the_version_is_that_of_the_package(optim: Optim) -> None:
    assert optim("--version") == (0, f"optim {version('optim-service')}\n", "")


@pytest.mark.parametrize(
    ("url", "code", "reason"),
    [
        ("http://127.0.0.1:1", 4, "GET http://127.0.0.1:1/v1/sessions: no connection"),
        (
            "nonsense",
            1,
            "unknown base_url 'nonsense'; expected one of http://…, https://…, unix:///PATH, memory:, lmdb:PATH",
        ),
    ],
)
def test_an_unreachable_service_is_reported_in_one_line(optim: Optim, url: str, code: int, reason: str) -> None:
    status, _, words = optim("sessions", "list", "--url", url)
    assert status == code
    assert words.startswith(f"optim: {reason}")
    assert words.count("\n") == 1
