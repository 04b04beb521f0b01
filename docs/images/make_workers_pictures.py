"""The pictures of docs/workers.md: `python docs/images/make_workers_pictures.py` writes them.

They are narrow and have large letters, so that a phone can show them.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from optim_engine import Config, State, step
from optim_engine.arrays import Array

WIDTH = 440
ONE, TWO, THREE, SERVICE, WORDS = 40, 100, 160, 226, 246
"""The places of the lanes of three workers and of the service, and of the words beside it."""
LINE = 19
"""The distance of two lines of words."""

STYLE = """
  text { font: 15px ui-sans-serif, -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; fill: #57606a }
  .title { font-size: 18px; font-weight: 600; fill: #1f2328 } .name { font-weight: 600; fill: #1f2328 }
  .middle { text-anchor: middle } .in { fill: #ffffff; font-weight: 600 }
  .code { font: 14px ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328 }
  .card { fill: #ffffff; stroke: #d0d7de }
  path { fill: none; stroke-linejoin: round; stroke-linecap: round }
  .lane { stroke: #d0d7de; stroke-width: 2 } .open { stroke: #0969da; stroke-width: 6; opacity: 0.35 }
  .a { stroke: #8250df; fill: #8250df } .b { stroke: #bc4c00; fill: #bc4c00 } .c { stroke: #1a7f37; fill: #1a7f37 }
  .d { stroke: #bf3989; fill: #bf3989 } .s { stroke: #0969da; fill: #0969da } .bad { stroke: #cf222e; fill: #cf222e }
  rect.a, rect.b, rect.c, rect.d { opacity: 0.85; stroke: none }
  path.way { fill: none; stroke-width: 2 } path.thin { stroke-width: 1.25 } path.wide { stroke-width: 3 }
  path.lost { stroke-dasharray: 5 4 } .no { fill: #cf222e; font-weight: 600 }
  .contour { stroke: #d8dee4; stroke-width: 1.5 } .wait { stroke: #0969da; stroke-width: 2; stroke-dasharray: 2 5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 } .title, .name, .code { fill: #f0f6fc } .in { fill: #0d1117 }
    .card { fill: #0d1117; stroke: #3d444d } .lane { stroke: #3d444d } .contour { stroke: #2a313c }
    .a { stroke: #ab7df8; fill: #ab7df8 } .b { stroke: #f0883e; fill: #f0883e } .c { stroke: #3fb950; fill: #3fb950 }
    .d { stroke: #db61a2; fill: #db61a2 } .s { stroke: #4493f8; fill: #4493f8 } .bad { stroke: #ff7b72; fill: #ff7b72 }
    .open, .wait { stroke: #4493f8 } .no { fill: #ff7b72 }
  }
"""


def main() -> None:
    """Write the pictures and print their paths."""
    for name, picture in pictures().items():
        path = Path(__file__).with_name(name)
        path.write_text(picture, encoding="utf-8")
        print(path)


def pictures() -> dict[str, str]:
    """Return the pictures by the names of their files."""
    return {
        "workers_round.svg": _round(),
        "workers_async.svg": _async(),
        "workers_diloco.svg": _diloco(),
        "workers_failure.svg": _failure(),
    }


def _round() -> str:
    lanes = {ONE: "gpu-1", TWO: "gpu-2", THREE: "gpu-3"}
    parts = [*_lanes(lanes, 66, 420), *_gives(lanes, 104), _way("open", [(SERVICE, 158), (SERVICE, 300)])]
    for look, x, y in (("a", ONE, 158), ("b", TWO, 208), ("c", THREE, 258)):
        parts += [*_work(look, x, 116, y - 14), *_arrow(look, x, y - 8, SERVICE, y)]
    parts += [
        *_words(104, "all have the parameters", "of step 41"),
        *_words(154, "weight 512: opens round", "42; have 1, need 1"),
        *_words(204, "weight 384: have 2,", "need 0, the quorum"),
        *_words(254, "weight 512: all expected", "are in, so it closes"),
        *_box(300, "Σ wᵢ gᵢ / Σ wᵢ, then one step"),
        *_gives(lanes, 386),
        *_words(372, "the parameters of step", "42, the same bytes", "for all"),
        *_closings(470),
    ]
    return _picture("A round", "expected 3, quorum 2; time goes down", 668, parts)


def _closings(top: int) -> Iterable[str]:
    """Draw the three ways in which a round closes, one below the other; time goes to the right."""
    yield _way("lane", [(20, top - 34), (WIDTH - 20, top - 34)])
    yield _text(20, top - 8, "name", "It closes as soon as one of these is true:")
    rows = (
        ("all expected are in", ((20, "a"), (60, "b"), (110, "c")), 110, ()),
        ("the quorum has waited for grace_seconds", ((20, "a"), (60, "b")), 230, ((60, 230),)),
        ("deadline_seconds are over, and a quorum is in", ((20, "a"), (380, "b")), 380, ((20, 380),)),
    )
    for i, (words, dots, end, waits) in enumerate(rows):
        y = top + 18 + 54 * i
        yield _text(20, y, "", words)
        yield from (_way("wait", [(28 + start, y + 18), (28 + stop, y + 18)]) for start, stop in waits)
        yield from (f'<circle class="{look}" cx="{28 + x}" cy="{y + 18}" r="6"/>' for x, look in dots)
        yield _way("s way wide", [(28 + end + 12, y + 7), (28 + end + 12, y + 29)])
    yield _text(20, top + 18 + 54 * len(rows), "", "Without a quorum it stays open.")


def _async() -> str:
    fast, slow = ONE + 20, THREE - 10
    parts = [*_lanes({fast: "gpu-1", slow: "phone"}, 66, 420), *_gives((fast, slow), 108), _step(104)]
    parts += [*_words(104, "both take the", "parameters of step 40")]
    for base, top in ((40, 120), (41, 214)):
        parts += [*_work("a", fast, top, top + 46), *_arrow("a", fast, top + 52, SERVICE - 8, top + 60)]
        parts += [*_arrow("s", SERVICE, top + 72, fast, top + 82), _step(top + 60)]
        parts += _words(top + 56, f"from step {base}: becomes", f"step {base + 1}, staleness 0")
    parts += [
        *_work("b", slow, 120, 322),
        *_arrow("b", slow, 330, SERVICE - 8, 338),
        _step(338),
        *_words(334, "from step 40: becomes", "step 43, staleness 2:", "lr / √(1 + 2), with", "staleness: scale"),
        *_arrow("s", SERVICE, 352, slow, 362),
        _text(20, 442, "", "Nobody waits. A gradient that is more than"),
        _text(20, 442 + LINE, "", "max_staleness steps late is refused: 409 stale."),
    ]
    return _picture("Async", "each contribution is a step at once; time goes down", 480, parts)


def _failure() -> str:
    lanes = {ONE: "gpu-1", TWO: "gpu-2", THREE: "gpu-3"}
    parts = [
        *_lanes(lanes, 66, 606),
        _way("open", [(SERVICE, 128), (SERVICE, 336)]),
        *_work("a", ONE, 84, 114),
        *_arrow("a", ONE, 120, SERVICE, 128),
        *_lost("s", SERVICE, 138, ONE, 146),
        *_words(132, "in, and stored; but its", "answer is lost"),
        *_arrow("a", ONE, 186, SERVICE, 194),
        *_words(190, "the same bytes again:", "still one contribution"),
        *_work("b", TWO, 84, 226),
        *_cross(TWO, 236),
        *_words(240, "gpu-2 dies, or is cut", "off; its lease ends,", "which fences nobody"),
        *_work("c", THREE, 84, 292),
        *_arrow("c", THREE, 298, SERVICE, 306),
        *_words(306, "the quorum: 2 of 3"),
        *_box(336, "after grace_seconds: step 42 without it"),
        _dot("b", (TWO, 404), 6),
        *_arrow("b", TWO, 404, SERVICE, 412),
        *_words(412, "gpu-2 is started anew", "and joins: a new epoch"),
        *_arrow("s", SERVICE, 426, TWO, 434),
        *_work("b", TWO, 442, 486),
        *_arrow("b", TWO, 492, SERVICE, 500),
        *_words(498, "its part of round 43"),
        *_arrow("bad", TWO, 536, SERVICE, 544, "way lost"),
        *_words(536, "its old process was only", "stuck, and pushes:"),
        _text(WORDS, 536 + 2 * LINE, "no", "409 worker_fenced"),
        _text(20, 632, "", "If a server dies: all that was answered is in the"),
        _text(20, 632 + LINE, "", "store, and any other closes the round in time."),
    ]
    return _picture("Failure", "expected 3, quorum 2; time goes down", 670, parts)


def _diloco() -> str:
    """Draw local runs on four quadratic losses, and the outer steps that the engine takes from them."""
    start, looks = np.array([0.0, 0.0]), "abcd"
    aims = [(3.6, 0.5), (4.9, 1.7), (3.7, 3.3), (1.9, 2.7)]
    paths = [_local_run(start, np.array(aim), seed) for seed, aim in enumerate(aims)]
    delta = sum(start - path[-1] for path in paths) / len(paths)
    fedavg, diloco = _outer(start, delta, lr=1.0), _outer(start, delta, lr=0.7, momentum=0.9, nesterov=True)

    def place(point: Array) -> tuple[float, float]:
        return 44 + 74 * float(point[0]), 366 - 88 * float(point[1])

    parts = [f'<clipPath id="plot"><rect x="1" y="66" width="{WIDTH - 2}" height="344"/></clipPath>']
    parts += [_ellipse(place(np.array([3.7, 2.2])), 50 * size, 34 * size) for size in range(1, 6)]
    for look, path in zip(looks, paths, strict=True):
        dots = [_dot(look, place(point), 2.5) for point in path[1:-1]]
        parts += [_way(f"{look} way", [place(point) for point in path]), *dots, _dot(look, place(path[-1]), 6)]
    parts += [
        *_arrow("bad", *place(paths[0][-1]), *place(start + 0.06 * (paths[0][-1] - start)), "way lost"),
        *_arrow("s", *place(start), *place(diloco), "way wide"),
        *(_dot("s", place(point), 7) for point in (start, fedavg, diloco)),
        *(
            _label(place(path[-1]), (x, 6), f"θ{i}")
            for i, x, path in zip("₁₂₃₄", (10, 10, 10, -27), paths, strict=True)
        ),
        _label(place(start), (-4, 28), "θ"),
        _label(place(0.6 * paths[0][-1]), (14, 34), "Δ₁ = θ − θ₁"),
        _label(place(fedavg), (12, 14), "1"),
        _label(place(diloco), (12, 14), "2"),
        *_legend(440),
    ]
    return _picture("DiLoCo and federated averaging", "four workers, 20 local steps each, then one push", 566, parts)


def _legend(top: int) -> Iterable[str]:
    lines = (
        "Each sends Δᵢ = θ − θᵢ as its gradient. It points",
        "back, because an optimizer steps against it.",
        "1 is sgd with lr 1: the weighted mean of the θᵢ,",
        "as in federated averaging.",
        "2 is sgd with lr 0.7, momentum 0.9, nesterov, as",
        "in DiLoCo: it goes on beyond the mean.",
    )
    return (_text(20, top + (LINE + 2) * i, "", words) for i, words in enumerate(lines))


def _local_run(start: Array, aim: Array, seed: int) -> Array:
    """Return the 21 points of 20 noisy steps of gradient descent towards a worker's own best parameters."""
    noise = np.random.default_rng(seed).normal(0, 0.09, (20, 2))
    return np.array(list(accumulate(noise, lambda at, e: at + 0.09 * (aim - at) + e, initial=start)))


def _outer(start: Array, delta: Array, **hyperparameters: object) -> Array:
    """Return the parameters after one step of `sgd` with the mean pseudo-gradient, by the engine."""
    config = Config.parse("sgd", hyperparameters=hyperparameters)
    return step(config, State.empty(), {"w": start}, {"w": delta}).params["w"]


def _picture(title: str, subtitle: str, height: int, parts: Iterable[str]) -> str:
    view = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    card = f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
    head = [card, _text(20, 30, "title", title), _text(20, 52, "", subtitle)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {view} role="img" aria-label="{title}: {subtitle}">\n'
        f"<style>{STYLE}</style>\n" + "\n".join([*head, *parts]) + "\n</svg>\n"
    )


def _lanes(names: dict[int, str], top: int, bottom: int) -> Iterable[str]:
    """Draw the lanes of the workers, and that of the service."""
    for x, name in {**names, SERVICE: "service"}.items():
        yield _way("lane", [(x, top + 18), (x, bottom)])
        yield _text(x, top + 12, "name middle", name)


def _gives(lanes: Iterable[int], y: float) -> Iterable[str]:
    """Draw the arrows that bring the parameters to each worker."""
    for x in lanes:
        yield from _arrow("s", SERVICE, y - 8, x, y + 4)


def _work(look: str, x: float, top: float, bottom: float) -> Iterable[str]:
    """Draw the time in which a worker computes."""
    yield f'<rect class="{look}" x="{x - 7}" y="{top}" width="14" height="{bottom - top}" rx="4"/>'


def _step(y: float) -> str:
    """Draw a step on the lane of the service."""
    return _dot("s", (SERVICE, y), 7)


def _box(y: float, words: str) -> Iterable[str]:
    """Draw the close of a round, across all lanes."""
    yield f'<rect class="s" x="20" y="{y}" width="{WIDTH - 40}" height="34" rx="6"/>'
    yield _text(WIDTH / 2, y + 22, "in middle", words)


def _words(y: float, *lines: str) -> Iterable[str]:
    """Write lines beside the lane of the service."""
    return (_text(WORDS, y + LINE * i, "", words) for i, words in enumerate(lines))


def _label(place: tuple[float, float], by: tuple[float, float], words: str) -> str:
    return _text(place[0] + by[0], place[1] + by[1], "name", words)


def _arrow(look: str, x: float, y: float, to_x: float, to_y: float, kind: str = "way") -> Iterable[str]:
    """Draw an arrow; its head is a triangle at the end of the line."""
    angle = math.atan2(to_y - y, to_x - x)
    ends = [(to_x - 10 * math.cos(angle + turn), to_y - 10 * math.sin(angle + turn)) for turn in (0.4, -0.4)]
    yield _way(f"{look} {kind}", [(x, y), (to_x, to_y)])
    yield f'<path class="{look}" d="M{_points([ends[0], (to_x, to_y), ends[1]])}Z"/>'


def _lost(look: str, x: float, y: float, to_x: float, to_y: float) -> Iterable[str]:
    """Draw a dashed line that does not arrive: a cross ends it."""
    stop_x, stop_y = x + 0.2 * (to_x - x), y + 0.2 * (to_y - y)
    yield _way(f"{look} way lost", [(x, y), (stop_x, stop_y)])
    yield from _cross(stop_x, stop_y)


def _cross(x: float, y: float) -> Iterable[str]:
    yield _way("bad way wide", [(x - 6, y - 6), (x + 6, y + 6)])
    yield _way("bad way wide", [(x - 6, y + 6), (x + 6, y - 6)])


def _ellipse(place: tuple[float, float], rx: float, ry: float) -> str:
    at = f'cx="{place[0]:.1f}" cy="{place[1]:.1f}" rx="{rx:.1f}" ry="{ry:.1f}"'
    return f'<ellipse class="contour" fill="none" clip-path="url(#plot)" {at}/>'


def _dot(look: str, place: tuple[float, float], radius: float) -> str:
    return f'<circle class="{look}" cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius}"/>'


def _way(look: str, places: Sequence[tuple[float, float]]) -> str:
    return f'<path class="{look}" d="M{_points(places)}"/>'


def _points(places: Sequence[tuple[float, float]]) -> str:
    return "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _text(x: float, y: float, look: str, words: str) -> str:
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}">{words}</text>'


if __name__ == "__main__":
    main()
