"""The time from `GET /` to the first drawn curve of a session of 100,000 steps, in Chromium on the same machine.

`python -m benchmarks.first_curve [STEPS]` prints the first, median and slowest of ten visits, each with an empty
cache. It needs Chromium and the packages that `make page` brings.
"""

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.bare_client import BareClient, Request
from benchmarks.peers.service import JSON, ROOM, Service
from tests.browser.conftest import NAMES

STEPS = 100_000
VISITS = 10
TIMEOUT_SECONDS = 60.0
DRAWN = "performance.getEntriesByName('first-curve').length > 0"
MOMENT = "performance.getEntriesByName('first-curve')[0].startTime"
"""In milliseconds since the navigation began."""


def main(steps: int = STEPS) -> None:
    with tempfile.TemporaryDirectory(prefix="optim-first-curve-") as folder:
        server = Service(f"lmdb:{folder}/store", Path(folder) / "log", 2, "--lmdb-sync=relaxed")
        try:
            server.start()
            session_id = trained(server.port, steps)
            with sync_playwright() as playwright:
                chromium = next(filter(None, map(shutil.which, NAMES)))
                browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                found = [first_curve(browser, f"{server.url}/#/session/{session_id}") for _ in range(VISITS)]
                browser.close()
        finally:
            server.kill()
    median, slowest = statistics.median(found), max(found)
    print(f"first visit {found[0]:.0f} ms, median {median:.0f} ms, slowest {slowest:.0f} ms")


def trained(port: int, steps: int) -> str:
    """Return the id of a session that has taken so many steps, each with a loss."""
    with BareClient(port, ROOM) as bare:
        session_id: str = json.loads(bytes(bare.send("POST", "/v1/sessions", JSON, b'{"optimizer": "adamw"}')))["id"]
        for step in range(1, steps + 1):
            body = {"params": {"w": [1.0]}, "grads": {"w": [1.0 + step % 7]}, "loss": 1.0 / step + step % 11 / 1000}
            bare.ask(Request("POST", f"/v1/sessions/{session_id}/steps", JSON, json.dumps(body).encode()))
    return session_id


def first_curve(browser: Browser, url: str) -> float:
    """Return the milliseconds from the beginning of a navigation to the first drawn curve, in a new profile."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(url)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not page.evaluate(DRAWN):  # `wait_for_function` is not allowed by the page's policy
            if time.monotonic() > deadline:
                raise TimeoutError(f"no curve in {TIMEOUT_SECONDS:.0f} s")
            page.wait_for_timeout(10)
        moment: float = page.evaluate(MOMENT)
        return moment


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
