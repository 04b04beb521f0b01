import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.demo.server import Server
from tests.docs import curl

HERE = "http://127.0.0.1:8000"
"""The address of the service in the documents."""


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


@pytest.fixture
def here(url: str) -> Callable[[str], str]:
    """Return a function that puts the address of the test's service into a document's lines."""
    return lambda text: text.replace(HERE, url)


@pytest.fixture(params=["curl", "httpx2"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a PATH with a curl: the machine's own, or the stand-in where there is none."""
    own = tmp_path / "bin"
    own.mkdir()
    if request.param == "httpx2" or shutil.which("curl") is None:
        (own / "curl").write_text(f"#!/bin/sh\nexec '{sys.executable}' '{curl.__file__}' \"$@\"\n")
        (own / "curl").chmod(0o755)
    return f"{own}{os.pathsep}{os.environ['PATH']}"
