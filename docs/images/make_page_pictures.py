"""The pictures of docs/watching.md: `python docs/images/make_page_pictures.py` trains, and takes them in Chromium.

Needs Chromium and the packages of the group `browser`, which `make page` brings.
"""

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from optim_client import Client, Session
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from app.demo import digits, network
from app.demo.server import Server

FOLDER = Path(__file__).parent
STEPS, BATCH = 800, 64
COSINE = {"kind": "warmup_cosine", "warmup_steps": 40, "total_steps": 2 * STEPS}
RUNS: Mapping[str, Mapping[str, Any]] = {
    "plain sgd": {"optimizer": "sgd", "lr": 0.1},
    "momentum": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "schedule": COSINE},
    "lion": {"optimizer": "lion", "lr": 0.001, "schedule": COSINE},
    "adamw": {"optimizer": "adamw", "lr": 0.005, "schedule": COSINE, "clip": {"global_norm": 1.0}, "undo": 2},
}
"""The runs in the order of their creation. The last one is half done in the pictures."""
SIZES: Mapping[str, ViewportSize] = {
    "list": {"width": 1120, "height": 400},
    "session": {"width": 1120, "height": 930},
    "compare": {"width": 1120, "height": 760},
    "phone": {"width": 390, "height": 844},
}


class Picture(NamedTuple):
    """A picture: what of the page it shows, where that is, and in which theme or on a phone."""

    view: str
    place: str
    look: str

    @property
    def file(self) -> Path:
        return FOLDER / f"page_{self.view}_{self.look}.png"

    @property
    def size(self) -> ViewportSize:
        return SIZES["phone" if self.look == "phone" else self.view]


class Run:
    """A training run of the digits."""

    def __init__(self, client: Client, name: str) -> None:
        self.session: Session = client.sessions.create(
            **RUNS[name], labels={"run": f"digits, {name}", "data": "digits 8×8"}
        )
        self._params = network.init()
        self._train = digits.load()[0]
        self._before = self._params
        self._t = 1

    def step(self, count: int) -> None:
        for _ in range(count):
            loss, grads = network.loss_and_grads(self._params, self._train.batch(self._t, BATCH))
            self._before = self._params
            self._params = self.session.step(self._params, grads, loss=loss)
            self._t += 1

    def undo(self) -> None:
        """Take the last step back."""
        self.session.undo()
        self._params = self._before
        self._t -= 1


def trained(client: Client) -> dict[str, Run]:
    """Return the runs, the newest last. That one is half done, with an undo and a changed setting."""
    runs = {name: Run(client, name) for name in RUNS}
    for name, run in runs.items():
        if name != "adamw":
            run.step(STEPS)
    newest = runs["adamw"]
    newest.step(STEPS // 4)
    newest.undo()
    newest.step(STEPS // 6)
    newest.session.update(lr=0.002)
    newest.step(STEPS // 6)
    return runs


@contextmanager
def going_on(run: Run) -> Iterator[None]:
    """Train a run in the background."""
    over = threading.Event()

    def train() -> None:
        while not over.wait(0.05):
            run.step(1)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def pictures(runs: Mapping[str, Run]) -> list[Picture]:
    ids = [run.session.id for run in reversed(runs.values())]
    places = {"list": "#/", "session": f"#/session/{ids[0]}", "compare": f"#/compare/{','.join(ids)}"}
    looks = {"list": ("light", "phone"), "session": ("light", "dark", "phone"), "compare": ("light", "phone")}
    return [Picture(view, places[view], look) for view in places for look in looks[view]]


def take(browser: Browser, url: str, picture: Picture) -> None:
    """Take a picture once the page is live and its curves are drawn."""
    theme: Any = "dark" if picture.look == "dark" else "light"
    with browser.new_context(viewport=picture.size, color_scheme=theme) as context:
        page = context.new_page()
        page.goto(f"{url}/{picture.place}")
        page.wait_for_selector("canvas, .spark path[d*=L]", state="attached")
        page.wait_for_timeout(4500)  # by then the list has seen the speed
        page.screenshot(path=picture.file)


def main() -> None:
    """Train, and take all pictures while the newest run goes on."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with Server() as server, Client(server.url) as client, sync_playwright() as playwright:
        runs = trained(client)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with browser, going_on(runs["adamw"]):
            for picture in pictures(runs):
                take(browser, server.url, picture)


if __name__ == "__main__":
    main()
