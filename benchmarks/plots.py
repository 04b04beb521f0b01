"""Plots of cost against size as SVG, on logarithmic axes, in the reader's light or dark colours.

Knows only names and numbers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Curve = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 76, 640, 84, 408
LABEL_X, LABEL_GAP = 668, 19

STYLE = """
  text { font: 13px ui-sans-serif, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; fill: #57606a }
  .title { font-size: 17px; font-weight: 600; fill: #1f2328 } .name { fill: #1f2328 }
  .end { text-anchor: end } .middle { text-anchor: middle }
  .card { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #d8dee4 }
  circle { fill: #ffffff; stroke-width: 2 }
  path { fill: none; stroke-linejoin: round; stroke-linecap: round } .to { opacity: 0.5 }
  .line { stroke-width: 2.25 } .line.peer { stroke-dasharray: 7 5 } .line.floor { stroke-dasharray: 1.5 4.5 }
  .c0 { stroke: #0969da } .c1 { stroke: #1a7f37 } .c2 { stroke: #8250df } .c3 { stroke: #bf3989 }
  .c4 { stroke: #bc4c00 } .c5 { stroke: #9a6700 } .c6 { stroke: #57606a } .c7 { stroke: #cf222e }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 } .title, .name { fill: #f0f6fc }
    .card { fill: #0d1117; stroke: #3d444d } .grid { stroke: #2a313c } circle { fill: #0d1117 }
    .c0 { stroke: #4493f8 } .c1 { stroke: #3fb950 } .c2 { stroke: #ab7df8 } .c3 { stroke: #db61a2 }
    .c4 { stroke: #f0883e } .c5 { stroke: #d29922 } .c6 { stroke: #9198a1 } .c7 { stroke: #ff7b72 }
  }
"""


@dataclass(frozen=True)
class Line:
    """A line. `look` is a colour from `c0` to `c7`, with `peer` (dashed) or `floor` (dotted) if it is not ours."""

    name: str
    look: str
    points: Curve


@dataclass(frozen=True)
class Chart:
    """A chart. `unit` is that of the y axis; the x axis counts parameters."""

    title: str
    subtitle: str
    unit: str
    lines: Sequence[Line]


def draw(chart: Chart) -> str:
    """Return the picture. Dots are measured sizes; each name stands at the end of its line."""
    sizes = [size for line in chart.lines for size, _ in line.points]
    costs = [cost for line in chart.lines for _, cost in line.points]
    x, y = _scale(sizes, LEFT + 14, RIGHT), _scale(costs, BOTTOM - 10, TOP + 6)
    parts = [
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
        _text(24, 34, "title", chart.title),
        _text(24, 57, "", chart.subtitle),
        *(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{RIGHT}"/>' for tick in _ticks(costs)),
        *(_text(LEFT - 10, y(tick) + 4, "end", f"{tick:,g} {chart.unit}") for tick in _ticks(costs)),
        *(_text(x(tick), BOTTOM + 20, "middle", _count(tick)) for tick in _ticks(sizes)),
        _text((LEFT + RIGHT) / 2, BOTTOM + 44, "middle name", "float32 parameters"),
    ]
    for line, place in zip(chart.lines, _apart([y(line.points[-1][1]) for line in chart.lines]), strict=True):
        parts += _curve(line, [(x(size), y(cost)) for size, cost in line.points], place)
    view = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {view} role="img" aria-label="{escape(chart.title)}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def _curve(line: Line, places: Curve, label_y: float) -> list[str]:
    x, y = places[-1]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    return [
        f'<path class="to {line.look}" d="M{x + 5:.1f} {y:.1f}L{LABEL_X - 6} {label_y:.1f}"/>',
        f'<path class="line {line.look}" d="M{path}"/>',
        *(f'<circle class="{line.look}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places),
        _text(LABEL_X, label_y + 4, "name", line.name),
    ]


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    lowest, highest = math.log10(min(values)), math.log10(max(values))
    return lambda value: start + (end - start) * (math.log10(value) - lowest) / (highest - lowest or 1)


def _ticks(values: Sequence[float]) -> list[float]:
    """Return powers of ten, with their double and fivefold if they are few."""
    lowest, highest = min(values), max(values)
    decades = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    factors = (1, 2, 5) if len(decades) < 4 else (1,)
    return [f * 10.0**n for n in decades for f in factors if lowest <= f * 10.0**n <= highest]


def _apart(wanted: Sequence[float]) -> list[float]:
    """Return places as near as possible to the wanted ones, without an overlap of labels."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [0.0] * len(wanted)
    lowest = -math.inf
    for i in order:
        places[i] = lowest = max(wanted[i], lowest + LABEL_GAP)
    highest = BOTTOM + LABEL_GAP
    for i in reversed(order):
        places[i] = highest = min(places[i], highest - LABEL_GAP)
    return places


def _count(number: float) -> str:
    return f"{number / 1e6:,.0f} M" if number >= 1e6 else f"{number / 1e3:,.0f} k"


def _text(x: float, y: float, look: str, text: str) -> str:
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'
