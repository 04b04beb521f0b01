"""Fixtures for tests in real Chromium: the browser, a site of another origin, and a service that allows its pages."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.docs.blocks import ROOT
from tests.durability.processes import ServerProcess

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


class Files(SimpleHTTPRequestHandler):
    """The files of the repository."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Serve the files of the repository; yield their origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(ROOT))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def new_service(tmp_path: Path, site: str) -> Iterator[Callable[..., ServerProcess]]:
    """Return a function that makes a service for the pages of the site, with more flags; it is not started yet."""
    with ExitStack() as stack:

        def made(*flags: str) -> ServerProcess:
            store, log = f"lmdb:{tmp_path / 'store'}", tmp_path / "server.log"
            service = ServerProcess(store, log, options=[f"--cors-origins={site}", *flags])
            stack.callback(service.kill)
            return service

        yield made


@pytest.fixture
def service(new_service: Callable[..., ServerProcess]) -> ServerProcess:
    service = new_service()
    service.start()
    return service


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """Yield an empty page. The test fails with an error that a script of the page does not catch."""
    with chromium.new_context() as context:
        page = context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        yield page
        assert not failures
