"""A training run in a thread of its own, and what a page's charts hold of it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from optim_client import Session
from playwright.sync_api import Page

DIMENSIONS = 32


class Training:
    """A run that goes on until it is stopped: a quadratic function with noise in its gradients."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the present step. Raises what the run failed with."""
        self._is_over.set()
        self._thread.join()
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        random = np.random.default_rng(0)
        w = random.standard_normal(DIMENSIONS).astype(np.float32)
        try:
            while not self._is_over.wait(0.03):
                noise = random.standard_normal(DIMENSIONS).astype(np.float32)
                w = self._session.step({"w": w}, {"w": w + 0.1 * noise}, loss=float(w @ w))["w"]
        except BaseException as error:
            self._failure = error


@contextmanager
def training(session: Session) -> Iterator[Training]:
    """Train a session in the background."""
    run = Training(session)
    run.start()
    try:
        yield run
    finally:
        run.stop()


def table(page: Page, metric: str = "loss") -> list[list[Any]]:
    """Return what a chart holds: the places, then the values of each line."""
    chart = f"document.querySelector('figure.chart[data-metric={metric}]').chart"
    found: list[list[Any]] = page.evaluate(f"{chart}.data.map((line) => Array.from(line))")
    return found


def painted(page: Page, colour: str, metric: str = "loss") -> int:
    """Return how many pixels of a chart have nearly a colour of the theme, such as `--accent`."""
    count: int = page.evaluate(
        """([metric, name]) => {
          const probe = document.body.appendChild(document.createElement('i'))
          probe.style.color = `var(${name})`
          const one = new OffscreenCanvas(1, 1).getContext('2d')
          one.fillStyle = getComputedStyle(probe).color
          probe.remove()
          one.fillRect(0, 0, 1, 1)
          const wanted = one.getImageData(0, 0, 1, 1).data
          const { canvas } = document.querySelector(`figure.chart[data-metric=${metric}]`).chart
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
          let count = 0
          for (let i = 0; i < data.length; i += 4)
            count += data[i + 3] > 200 && [0, 1, 2].every((part) => Math.abs(data[i + part] - wanted[part]) < 24)
          return count
        }""",
        [metric, colour],
    )
    return count


def waited(page: Page, holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something holds, while the page goes on."""
    for _ in range(int(seconds * 20)):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"it does not hold after {seconds} s")
