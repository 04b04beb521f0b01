"""The picture of the demo: `python docs/images/make_demo_picture.py` runs the demo and writes demo.svg."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from optim_client import Client
from rich.console import Console

from app.demo import digits, network
from app.demo.display import Display
from app.demo.remote import RemoteRun
from app.demo.run import crash
from app.demo.server import Server
from app.demo.training import STEPS, Point, first_difference
from optim_engine import Average

WIDTH, LEFT, RIGHT = 860, 76, 824
LOSS_TOP, LOSS_BOTTOM = 92, 262
ACCURACY_TOP, ACCURACY_BOTTOM = 300, 410
HEIGHT = 466

STYLE = """
  text { font: 13px ui-sans-serif, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; fill: #57606a }
  .title { font-size: 17px; font-weight: 600; fill: #1f2328 }
  .label { font-weight: 600; fill: #1f2328 }
  .kill { fill: #cf222e } .end { text-anchor: end } .middle { text-anchor: middle }
  .card { fill: #ffffff; stroke: #d0d7de }
  .grid { stroke: #d8dee4; stroke-width: 1 }
  .behind { fill: #ffffff }
  .batch, .loss, .accuracy { fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round }
  .batch, .loss { stroke: #0969da } .accuracy { stroke: #1a7f37 } .batch { stroke-width: 1; opacity: 0.4 }
  .crash { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 5 4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 } .title, .label { fill: #f0f6fc } .kill { fill: #ff7b72 }
    .card, .behind { fill: #0d1117 } .card { stroke: #3d444d } .grid { stroke: #2a313c }
    .batch, .loss { stroke: #4493f8 } .accuracy { stroke: #3fb950 } .crash { stroke: #ff7b72 }
  }
"""


def main() -> None:
    """Run the demo, draw the picture and print its path."""
    quiet = Display(Console(file=io.StringIO()), STEPS)
    with Server() as server, Client(server.url) as client:
        run = RemoteRun(client, STEPS, quiet.show)
        run.until(STEPS // 2)
        away = crash(run, server, quiet)
        crashed = len(run.points)
        run.until(STEPS)
    train, test = digits.load()
    if step := first_difference(run.points, train):
        raise SystemExit(f"not equal to the run without a service from step {step} on; nothing drawn")
    picture = Path(__file__).with_name("demo.svg")
    picture.write_text(draw(run.points, test, crashed, away), encoding="utf-8")
    print(picture)


def draw(points: Sequence[Point], test: digits.Digits, crashed: int, away: float) -> str:
    """Return the whole picture as SVG."""
    last = points[-1].step

    def x(step: float) -> float:
        return LEFT + (RIGHT - LEFT) * step / last

    def loss_y(loss: float) -> float:
        return _between(LOSS_BOTTOM, LOSS_TOP, math.log10(loss / 0.005) / math.log10(4 / 0.005))

    def accuracy_y(accuracy: float) -> float:
        return _between(ACCURACY_BOTTOM, ACCURACY_TOP, accuracy)

    accuracies = [(point.step, network.accuracy(point.params, test)) for point in points[4::5]]
    parts = [
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        _text(24, 34, "title", "A network learns through the service; the server is killed in the middle of a step"),
        _text(24, 57, "", "hand-written digits, AdamW behind HTTP, every step durable and applied exactly once"),
        *_axis("loss of each batch, and its running average", LOSS_TOP, loss_y, (0.01, 0.1, 1)),
        *_axis("accuracy on unseen images", ACCURACY_TOP, accuracy_y, (0, 0.5, 1)),
        *(_text(x(step), ACCURACY_BOTTOM + 20, "middle", f"{step:,}") for step in range(0, last + 1, last // 10)),
        _text(x(last / 2), ACCURACY_BOTTOM + 42, "label middle", "step"),
        _line("batch", [(x(point.step), loss_y(point.loss)) for point in points]),
        _line("loss", [(x(point.step), loss_y(loss)) for point, loss in zip(points, _averages(points), strict=True)]),
        _line("accuracy", [(x(step), accuracy_y(accuracy)) for step, accuracy in accuracies]),
        f'<path class="crash" d="M{x(crashed):.1f} {LOSS_TOP}V{ACCURACY_BOTTOM}"/>',
        f'<rect class="behind" x="{x(crashed) + 4:.1f}" y="{LOSS_TOP}" width="{RIGHT - x(crashed):.1f}" height="84"/>',
        _text(x(crashed) + 10, LOSS_TOP + 16, "label kill", f"kill -9 in the middle of step {crashed}"),
        _text(x(crashed) + 10, LOSS_TOP + 35, "", f"{away:.1f} s later step {crashed} is answered, applied once;"),
        _text(x(crashed) + 10, LOSS_TOP + 54, "", f"training goes on: all {last:,} steps equal, to the bit,"),
        _text(x(crashed) + 10, LOSS_TOP + 73, "", "those of an unbroken run without a service"),
        _text(RIGHT - 6, accuracy_y(accuracies[-1][1]) + 22, "label end", f"{accuracies[-1][1]:.3f}"),
    ]
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    label = 'role="img" aria-label="Loss falls and accuracy rises over 1,000 steps, across a kill -9 of the server"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {view} {label}>\n<style>{STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _averages(points: Sequence[Point]) -> Iterator[float]:
    average = Average.of_shape((), 0.9)
    for point in points:
        average = average.advance(np.asarray(point.loss))
        yield float(average.value())


def _axis(name: str, top: float, y: Callable[[float], float], ticks: Sequence[float]) -> list[str]:
    lines = [f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{RIGHT}"/>' for tick in ticks]
    numbers = [_text(LEFT - 10, y(tick) + 4, "end", f"{tick:g}") for tick in ticks]
    return [*lines, *numbers, _text(LEFT, top - 8, "label", name)]


def _line(name: str, places: Sequence[tuple[float, float]]) -> str:
    return f'<path class="{name}" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in places) + '"/>'


def _text(x: float, y: float, name: str, text: str) -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}">{text}</text>'


def _between(start: float, end: float, share: float) -> float:
    return start + (end - start) * share


if __name__ == "__main__":
    main()
