"""Fixtures for tests of the page in real Chromium: services with sessions, and a page that keeps to its origin."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import Client, Session
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import chromium, launch  # noqa: F401
from tests.docs.blocks import ROOT
from tests.durability.processes import ServerProcess
from tests.service.test_auth import row

KEY = "the-readers-key"
AXE = ROOT / "tests/page/node_modules/axe-core/axe.min.js"
VIOLATIONS = """addEventListener('securitypolicyviolation', (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`)
})"""


@pytest.fixture(scope="session", autouse=True)
def patience() -> None:
    expect.set_options(timeout=30_000)  # a machine may be busy


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServerProcess]:
    """Start a service on LMDB."""
    service = ServerProcess(f"lmdb:{tmp_path / 'store'}", tmp_path / "server.log")
    try:
        service.start()
        yield service
    finally:
        service.kill()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[ServerProcess]:
    """Start a service on LMDB whose key is `KEY`, of the role admin."""
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row(KEY)]}))
    file.chmod(0o600)
    service = ServerProcess(
        f"lmdb:{tmp_path / 'guarded'}", tmp_path / "guarded.log", options=[f"--api-keys-file={file}"]
    )
    try:
        service.start()
        yield service
    finally:
        service.kill()


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

    The test fails if a page sends a request to another origin than its first one, breaks its policy, or has a script
    that fails.
    """
    faults: list[str] = []
    contexts = []

    def opened(**options: Any) -> Page:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.add_init_script(VIOLATIONS)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "policy" in said.text.lower() else None)
        origins = set[str]()

        def note(url: str) -> None:
            if not url.startswith(("data:", "blob:")):
                origins.add("/".join(url.split("/", 3)[:3]))
            if len(origins) > 1:
                faults.append(f"a request leaves the origin: {url}")

        page.on("request", lambda request: note(request.url))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


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
