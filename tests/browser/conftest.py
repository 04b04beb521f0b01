"""Fixtures for tests in real Chromium: the browser, a site of another origin, and a service that allows its pages."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.service import Service, wait_for
from tests.docs.blocks import ROOT
from tests.reaper import tied
from tests.servers import free_port

NAMES = ("chromium", "chromium-browser", "google-chrome")
OTHER_NAME = "optim.example"
"""A name by which the browser also finds this machine."""


@pytest.fixture(scope="session")
def launch() -> Iterator[Callable[..., Browser]]:
    """Return a function that starts the machine's Chromium, without a window."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    assert path, f"none of {', '.join(NAMES)} is on this machine: install Chromium with its package manager"
    flags = ["--no-sandbox", f"--host-resolver-rules=MAP {OTHER_NAME} 127.0.0.1"]
    expect.set_options(timeout=60_000)  # a machine may be busy
    with sync_playwright() as playwright:
        yield lambda *more: playwright.chromium.launch(executable_path=path, args=[*flags, *more])


@pytest.fixture(scope="session")
def chromium(launch: Callable[..., Browser]) -> Iterator[Browser]:
    with launch() as browser:
        yield browser


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Serve the files of the repository; yield their origin."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(ROOT), str(port)]
    with tied(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        wait_for(f"http://127.0.0.1:{port}/LICENSE", server)
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture
def service(tmp_path: Path, site: str) -> Iterator[Service]:
    with Service(tmp_path, f"--cors-origins={site}") as service:
        yield service


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Yield an empty page. The test fails with an error that a script of the page does not catch."""
    with chromium.new_context() as context:
        page = context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        yield page
        assert not failures
