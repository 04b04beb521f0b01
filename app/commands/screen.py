"""The screen of `optim sessions watch`: a line for each session, and below them their curves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from app.commands.curves import Curves
from app.commands.following import short_ids
from app.commands.output import number
from app.commands.plot import Curve, Line, plot

COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
LAST_LINES = 24
"""The most lines of the last picture."""
LEAST_PLOT = 4
"""The fewest lines of a plot that can be read."""


class Screen:
    """A terminal that is drawn anew in place, and given back as it was."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._shown: tuple[int, int] | None = None

    @property
    def is_resized(self) -> bool:
        """Return whether the terminal has another size than when it was drawn."""
        return self._console.size != self._shown

    def draw(self, curves: Mapping[str, Curves]) -> None:
        """Draw the curves of each session, by its id."""
        self._shown = self._console.size
        self._live.update(frame(curves, *self._shown), refresh=True)


@contextmanager
def opened(curves: Mapping[str, Curves]) -> Iterator[Screen]:
    """Yield a screen. Its last picture stays below the command when it ends, also by Ctrl-C."""
    console = Console(highlight=False)
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            yield Screen(console, live)
    finally:
        last = frame(curves, console.width, min(console.height - 1, LAST_LINES))
        console.print(last, no_wrap=True, overflow="crop", crop=True)


def frame(curves: Mapping[str, Curves], width: int, height: int) -> Text:
    """Return the picture for a terminal of that size."""
    styles = dict(zip(curves, (COLOURS[at % len(COLOURS)] for at in range(len(curves))), strict=True))
    short = short_ids(curves)
    lines = [_legend(short[session_id], each, styles[session_id]) for session_id, each in curves.items()]
    lines = lines[: max(1, height - 2 * LEAST_PLOT)]
    rest = height - len(lines)
    below = rest * 2 // 5 if rest >= 2 * LEAST_PLOT else 0
    lines += _plot("loss", curves, styles, width, rest - below)
    if below:
        half = width // 2
        pair = [_plot(name, curves, styles, half, below) for name in ("lr", "grad_norm")]
        lines += [[*left, (" " * (half - _length(left)), ""), *right] for left, right in zip(*pair, strict=True)]
    return Text("\n", no_wrap=True, overflow="crop").join(Text.assemble(*line) for line in lines[:height])


def _plot(name: str, curves: Mapping[str, Curves], styles: Mapping[str, str], width: int, height: int) -> list[Line]:
    drawn = [Curve(*each.column(name), styles[session_id]) for session_id, each in curves.items()]
    marks = [(float(step), styles[session_id]) for session_id, each in curves.items() for step in each.undone]
    return plot(name.replace("_", " "), drawn, marks, width, height)


def _legend(name: str, curves: Curves, style: str) -> Line:
    line: Line = [("● ", style), (name, "bold")]
    if curves.points:
        last = curves.points[-1]
        facts = [("step", f"{last.step:,}"), ("loss", number(last.loss)), ("lr", number(last.lr))]
        facts += [("grad norm", number(last.grad_norm)), ("steps/s", number(curves.speed))]
        line += [piece for name, value in facts for piece in ((f"  {name} ", "dim"), (value, ""))]
    if curves.undone:
        line.append((f"  ↶ {len(curves.undone):,}", style))
    return [*line, ("  gone" if curves.is_over else "", "bold")]


def _length(line: Line) -> int:
    return sum(len(text) for text, _ in line)
