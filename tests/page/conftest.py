"""Fixtures for tests of the page in real Chromium: services with sessions, and a page that keeps to its origin."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import Client, Session
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.browser.conftest import chromium, launch  # noqa: F401
from tests.docs.blocks import ROOT
from tests.durability.processes import ServerProcess, servers
from tests.service.test_auth import row

KEY = "the-readers-key"
AXE = ROOT / "tests/page/node_modules/axe-core/axe.min.js"
VIOLATIONS = """addEventListener('securitypolicyviolation', (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)
})"""
REFUSED = "Failed to load resource"
"""The beginning of the browser's words about an answer such as 401, or about none."""


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    expect.set_options(timeout=30_000)  # a machine may be busy


@contextmanager
def started(folder: Path, *options: str) -> Iterator[ServerProcess]:
    """Start a service on LMDB in a folder."""
    with servers([f"lmdb:{folder / 'store'}"], folder, options=options) as [service]:
        yield service


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Start the service of all tests."""
    with started(tmp_path_factory.mktemp("shared")) as service:
        yield service


@pytest.fixture
def service(shared: ServerProcess) -> ServerProcess:
    """Return that service without sessions."""
    with Client(shared.url) as client:
        return emptied(shared, client)


@pytest.fixture(scope="session")
def shared_guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Start the service of all tests that has a key: `KEY`, of the role admin."""
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": [row(KEY)]}))
    file.chmod(0o600)
    with started(folder, f"--api-keys-file={file}") as service:
        yield service


@pytest.fixture
def guarded(shared_guarded: ServerProcess) -> ServerProcess:
    """Return that service without sessions."""
    with Client(shared_guarded.url, api_key=KEY) as client:
        return emptied(shared_guarded, client)


def emptied(service: ServerProcess, client: Client) -> ServerProcess:
    """Return a service once the sessions of earlier tests are deleted: the pages that showed them are closed."""
    for session in client.sessions:
        session.delete()
    return service


@pytest.fixture
def client(service: ServerProcess) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """Return an empty page of a desktop."""
    return new_page()


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[Callable[..., Page]]:  # noqa: F811
    """Return a function that opens an empty page, with options of a context such as `color_scheme`.

    The test fails if a page does what `noted` notes.
    """
    faults: list[str] = []
    contexts = []

    def opened(**options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = noted(context.new_page(), faults)
        page.set_default_timeout(30_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def noted(page: Page, faults: list[str]) -> Page:
    """Note each request of a page to another origin than its first one, each breach of its policy, and each error."""
    origins = set[str]()

    def ask(url: str) -> None:
        if not url.startswith(("data:", "blob:")):
            origins.add("/".join(url.split("/", 3)[:3]))
        if len(origins) > 1:
            faults.append(f"a request leaves the origin: {url}")

    def hear(said: ConsoleMessage) -> None:
        if said.type == "error" and not said.text.startswith(REFUSED):
            faults.append(said.text)

    page.add_init_script(VIOLATIONS)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", hear)
    page.on("request", lambda request: ask(request.url))
    return page


def trained(
    client: Client, steps: int, labels: Mapping[str, str], optimizer: str = "adamw", **settings: Any
) -> Session:
    """Return a session that has taken so many steps; its loss falls from 2.3."""
    session = client.sessions.create(optimizer, labels=dict(labels), **settings)
    step(session, steps)
    return session


def step(session: Session, steps: int, offset: int = 0) -> None:
    """Take more steps of a session, from the loss of that step on."""
    params = {"w": np.ones((4, 8), np.float32), "bias": np.zeros(8, np.float32)}
    for t in range(offset, offset + steps):
        grads = {name: np.full_like(value, 0.1 + 0.01 * t) for name, value in params.items()}
        params = session.step(params, grads, loss=2.3 * math.exp(-t / 20))


def faults_of_access(page: Page) -> list[str]:
    """Return what axe-core finds that is serious or critical, a line each."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{fault['id']} ({fault['impact']}): {node['target']} {node['failureSummary']}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]
