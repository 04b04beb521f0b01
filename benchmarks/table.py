"""The promises: each row is a piece of work, what it is compared with, and the highest ratio of their costs.

Reads only results, and needs neither torch nor Ray.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

Measured = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""Group, size, competitor, then median, p10, p90 (milliseconds; `peak-memory` MiB) and rounds: as in the JSON."""


@dataclass(frozen=True)
class Row:
    """A row. `work` and `against` are words for the reader, `this` and `that` the names in the group.

    `at_most` is the promise; a row without one is a comparison.
    """

    work: str
    against: str
    at_most: float | None
    group: str
    size: int
    this: str
    that: str


@dataclass(frozen=True)
class Result:
    """The two medians of a row, in milliseconds or MiB."""

    row: Row
    this: float
    that: float

    @property
    def ratio(self) -> float:
        return self.this / self.that

    @property
    def verdict(self) -> str:
        if self.row.at_most is None:
            return ""
        return "yes" if self.ratio <= self.row.at_most else "**no**"


NOT_MEASURED = "not measured"

K, M = 1_000, 1_000_000
RPC, FUSED = "torch RPC", "engine fused"
ONE, TWO = "one-thread", "two-threads"
ALWAYS = "appendfsync-always"

ROWS = (
    Row("40 MB up and down, no step", "bare-socket exchange", 1.25, "exchange", 10 * M, "service", "bare socket"),
    Row("step of 10 M, `memory:`", RPC, 0.60, "step", 10 * M, "service, memory:", RPC),
    Row("step of 10 M, Redis", RPC, 1.00, "step", 10 * M, "service, Redis", RPC),
    Row("step of 10 M, LMDB relaxed", RPC, 0.90, "step", 10 * M, "service, LMDB relaxed", RPC),
    Row("step of 10 M, LMDB", RPC, 1.60, "step", 10 * M, "service, LMDB", RPC),
    Row("step of 10 M, Redis", "the floor", 1.30, "step", 10 * M, "service, Redis", "floor, Redis"),
    Row(
        "step of 10 M, Python client", "the same, bare-socket client", 1.15,
        "step", 10 * M, "service, memory:, Python client", "service, memory:",
    ),
    Row("engine, NumPy, one thread, 10 M", "torch foreach, one thread", 0.60, ONE, 10 * M, "engine", "torch foreach"),
    Row("engine, fused, one thread, 10 M", "torch fused, one thread", 1.05, ONE, 10 * M, FUSED, "torch fused"),
    Row("engine, fused, two threads, 10 M", "torch fused, two threads", 1.05, TWO, 10 * M, FUSED, "torch fused"),
    Row("step of 1 k, Redis", RPC, 0.80, "step", 1 * K, "service, Redis", RPC),
    Row("step of 100 k as JSON, Redis", "plain FastAPI", 0.10, "json", 100 * K, "service, Redis", "plain FastAPI"),
    Row(
        "engine, 1,000 tensors of 100", "engine, one tensor of 100,000", 3.0,
        "tensors", 100 * K, "1,000 tensors", "one tensor",
    ),
    Row(
        "peak memory, step of 10 M", "3 × state + 2 × body", 1.2,
        "peak-memory", 10 * M, "server on memory:", "3 × state + 2 × body",
    ),
)  # fmt: skip
"""The promises."""

BESIDE = (
    Row("step of 10 M, `memory:`", "the floor, unsaved", None, "step", 10 * M, "service, memory:", "floor, memory"),
    Row("the floor, unsaved, 10 M", RPC, None, "step", 10 * M, "floor, memory", RPC),
    Row("the floor, 10 M", RPC, None, "step", 10 * M, "floor, Redis", RPC),
    Row("Ray actor, 10 M", RPC, None, "step", 10 * M, "Ray actor", RPC),
    Row("step of 10 M, `memory:`, Python client", RPC, None, "step", 10 * M, "service, memory:, Python client", RPC),
    Row("step of 10 M, Redis, appendfsync always", RPC, None, ALWAYS, 10 * M, "service, Redis", RPC),
    Row("step of 1 k, Redis, appendfsync always", RPC, None, ALWAYS, 1 * K, "service, Redis", RPC),
    Row("step of 1 k, `memory:`", RPC, None, "step", 1 * K, "service, memory:", RPC),
    Row("step of 1 k, LMDB", RPC, None, "step", 1 * K, "service, LMDB", RPC),
    Row("step of 1 k, Redis", "Ray actor", None, "step", 1 * K, "service, Redis", "Ray actor"),
    Row(
        "step of 100 k as JSON, Redis", "plain FastAPI, answers untyped", None,
        "json", 100 * K, "service, Redis", "plain FastAPI, answers untyped",
    ),
    Row(
        "engine, fused, 1,000 tensors of 100", "engine, fused, one tensor of 100,000", None,
        "tensors", 100 * K, "1,000 tensors, fused", "one tensor, fused",
    ),
    Row("engine, NumPy, two threads, 10 M", "torch foreach, two threads", None, TWO, 10 * M, "engine", "torch foreach"),
    Row(
        "peak memory, step of 10 M, Redis", "3 × state + 2 × body", None,
        "peak-memory", 10 * M, "server on Redis", "3 × state + 2 × body",
    ),
)  # fmt: skip
"""The comparisons, which explain the promises."""


def results(rows: tuple[Row, ...], measured: Measured) -> Iterator[Result | None]:
    """Yield the results in the order of the rows; `None` for a row that was not measured."""
    for row in rows:
        found = measured.get(row.group, {}).get(str(row.size), {})
        if row.this in found and row.that in found:
            yield Result(row, found[row.this]["median"], found[row.that]["median"])
        else:
            yield None


def promises(measured: Measured) -> list[list[str]]:
    """Return the cells of the table of promises; the first row is its head."""
    lines = [["work", "against", "ratio", "at most", "met", "measured"]]
    for row, result in zip(ROWS, results(ROWS, measured), strict=True):
        cells = (
            [f"**{result.ratio:.2f}**", f"{row.at_most:.2f}", result.verdict]
            if result
            else ["", f"{row.at_most:.2f}", ""]
        )
        lines.append([row.work, row.against, *cells, _medians(result)])
    return lines


def comparisons(measured: Measured) -> list[list[str]]:
    """Return the cells of the table of comparisons; the first row is its head."""
    lines = [["work", "against", "ratio", "measured"]]
    for row, result in zip(BESIDE, results(BESIDE, measured), strict=True):
        lines.append([row.work, row.against, f"{result.ratio:.2f}" if result else "", _medians(result)])
    return lines


GROWING = ("service, memory:", "service, LMDB relaxed", "service, LMDB", "service, Redis", RPC, "Ray actor")


def growth(measured: Measured) -> list[list[str]]:
    """Return the table of the ratios between steps of ten times the parameters."""
    lines = [["step", "1 M to 10 M", "10 M to 100 M"]]
    sizes = [measured.get("step", {}).get(str(size), {}) for size in (M, 10 * M, 100 * M)]
    for name in GROWING:
        medians = [found[name]["median"] if name in found else None for found in sizes]
        times = [f"{b / a:.1f} ×" if a and b else "" for a, b in pairwise(medians)]
        lines.append([f"`{name}`", *times])
    return lines


def _medians(result: Result | None) -> str:
    if result is None:
        return NOT_MEASURED
    unit = "MiB" if result.row.group == "peak-memory" else "ms"
    return f"{shown(result.this)} to {shown(result.that)} {unit}"


def shown(value: float) -> str:
    """Return the number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
