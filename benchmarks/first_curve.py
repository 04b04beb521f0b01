"""The time from `GET /` to the first drawn curve of a session of 100,000 steps, in Chromium on the same machine.

`python -m benchmarks.first_curve [STEPS]` prints the first, median and slowest of ten visits, each with an empty
cache, and the median of as many visits to a picture of the same service: what the browser itself takes. Playwright
watches the network meanwhile, which takes a part of both. It needs Chromium and the packages that `make page` brings.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.long_session import long_session
from tests.browser.conftest import NAMES

STEPS = 100_000
VISITS = 10
TIMEOUT_SECONDS = 60.0
MARK = "performance.getEntriesByName('first-curve')"
PAINT = "performance.getEntriesByType('paint')"
"""The times of drawing, by the page and by the browser: in milliseconds since the navigation began."""


def main(steps: int = STEPS) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="optim-first-curve-") as folder,
        long_session(Path(folder), steps) as session,
        sync_playwright() as playwright,
    ):
        url = session.service.url
        chromium = next(filter(None, map(shutil.which, NAMES)))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found = [moment(browser, f"{url}/#/session/{session.id}", MARK) for _ in range(VISITS)]
        least = [moment(browser, f"{url}/page/icon.svg", PAINT) for _ in range(VISITS)]
        browser.close()
    print(f"first visit {found[0]:.0f} ms, median {statistics.median(found):.0f} ms, slowest {max(found):.0f} ms")
    print(f"a picture alone: median {statistics.median(least):.0f} ms")


def moment(browser: Browser, url: str, entries: str) -> float:
    """Return the time of the first of some entries of a page's performance, in a new profile."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(url)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not page.evaluate(f"{entries}.length"):  # `wait_for_function` is not allowed by the page's policy
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing was drawn in {TIMEOUT_SECONDS:.0f} s")
            page.wait_for_timeout(10)
        found: float = page.evaluate(f"{entries}[0].startTime")
        return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
