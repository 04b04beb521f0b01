"""The picture of `optim sessions watch`: `python docs/images/make_watch_picture.py` trains, and writes watch.svg."""

from collections.abc import Iterator
from html import escape
from itertools import pairwise
from pathlib import Path

import numpy as np
from optim_client import Client, Session
from rich.text import Text

from app.commands.curves import POINTS, Curves
from app.commands.plot import BLANK, DOTS
from app.commands.screen import frame
from app.demo.server import Server

COLUMNS, LINES = 100, 28
CELL_WIDTH, CELL_HEIGHT, MARGIN = 8, 17, 16
STYLE = """
  text { font: 13px ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", Consolas, monospace; fill: #1f2328 }
  .card { fill: #ffffff; stroke: #d0d7de }
  .dim { fill: #59636e } .bold { font-weight: 600 } .cyan { fill: #0969da } .magenta { fill: #8250df }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .card { fill: #0d1117; stroke: #3d444d }
    .dim { fill: #9198a1 } .cyan { fill: #4493f8 } .magenta { fill: #ab7df8 }
  }
"""


def main() -> None:
    """Train two sessions, draw what the command shows of them, and print the picture's path."""
    with Server() as server, Client(server.url) as client:
        sessions = [trained(client, lr) for lr in (3e-3, 1e-2)]
        curves = {session.id: Curves(session.history(points=POINTS)) for session in sessions}
    picture = Path(__file__).with_name("watch.svg")
    picture.write_text(draw(frame(curves, COLUMNS, LINES)), encoding="utf-8")
    print(picture)


def trained(client: Client, lr: float) -> Session:
    """Return a session that fits a line through noisy points, and has undone some steps."""
    session = client.sessions.create("adamw", lr=lr, undo=1, schedule={"kind": "cosine", "total_steps": 400})
    random, truth = np.random.default_rng(7), np.linspace(-1, 1, 8)
    params = {"w": np.zeros(8, np.float32)}
    for number in range(1, 401):
        inputs = random.standard_normal((32, 8))
        errors = inputs @ (params["w"] - truth) + 0.3 * random.standard_normal(32)
        before = params
        params = session.step(params, {"w": np.float32(inputs.T @ errors / 32)}, loss=float((errors**2).mean()))
        if number % 150 == 0:
            session.undo()
            params = before
    return session


def draw(text: Text) -> str:
    """Return the whole picture as SVG. Dots are drawn: fonts of browsers have braille of other widths."""
    width, height = 2 * MARGIN + COLUMNS * CELL_WIDTH, 2 * MARGIN + LINES * CELL_HEIGHT
    parts = [f'<rect class="card" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>']
    for row, line in enumerate(text.split("\n")):
        cuts = sorted({0, len(line.plain), *(at for span in line.spans for at in (span.start, span.end))})
        for start, end in pairwise(cuts):
            style = next((str(span.style) for span in line.spans if span.start <= start < span.end), "")
            parts += _piece(line.plain[start:end], style, start, row)
    label = (
        'role="img" aria-label="Live curves of loss, learning rate and gradient norm of two sessions, in a terminal"'
    )
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>\n<style>{STYLE}</style>\n'
    return svg + "\n".join(parts) + "\n</svg>\n"


def _piece(text: str, style: str, column: int, row: int) -> Iterator[str]:
    """Yield the elements of a piece of one style: its dots as one path, or its text."""
    dots = [(column + at, each) for at, each in enumerate(text) if BLANK < ord(each) < BLANK + 256]
    if dots:
        places = [place for at, each in dots for place in _dots(ord(each) - BLANK, at, row)]
        squares = "".join(f"M{x:g} {y:g}h2.4v2.4h-2.4z" for x, y in places)
        yield f'<path class="{style}" d="{squares}"/>'
    elif text.strip() and ord(text[0]) < BLANK:
        left = len(text) - len(text.lstrip())
        x, y = MARGIN + (column + left) * CELL_WIDTH, MARGIN + row * CELL_HEIGHT + 13
        said = escape(text.strip())
        yield f'<text class="{style}" x="{x}" y="{y}" textLength="{len(text.strip()) * CELL_WIDTH}">{said}</text>'


def _dots(cell: int, column: int, row: int) -> Iterator[tuple[float, float]]:
    for (down, across), bit in np.ndenumerate(DOTS):
        if cell & bit:
            yield (
                MARGIN + (column + across / 2) * CELL_WIDTH + 0.8,
                MARGIN + (row + down / 4) * CELL_HEIGHT + 0.9,
            )


if __name__ == "__main__":
    main()
