"""The promises: each row is a piece of work, its reference, and the bound of their ratio.

Reads only results, by processor, and needs neither torch nor Ray.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Measured = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""Group, size, competitor, then median, p10, p90 (in the group's unit) and rounds: as in the JSON."""

Runs = Mapping[str, Measured]
"""The results of each processor, by its name."""


@dataclass(frozen=True)
class Row:
    """A row. `work` and `against` are words for the reader, `this` and `that` the names in the group.

    With `plus`, the reference is the sum of `that` and `plus`. The promise is a ratio of at most `at_most`, or of at
    least `at_least`; a row with neither is a comparison.
    """

    work: str
    against: str
    group: str
    size: int
    this: str
    that: str
    plus: str | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def bound(self) -> str:
        return f"at least {self.at_least:.2f}" if self.at_least is not None else f"at most {self.at_most:.2f}"


@dataclass(frozen=True)
class Result:
    """The medians of a row on one processor, in the group's unit."""

    row: Row
    this: float
    that: float

    @property
    def ratio(self) -> float:
        return self.this / self.that

    @property
    def is_kept(self) -> bool:
        """Return whether the ratio is within the bound; a comparison has none."""
        row = self.row
        return (row.at_most is None or self.ratio <= row.at_most) and (
            row.at_least is None or self.ratio >= row.at_least
        )


NOT_MEASURED = "not measured"
UNITS = {"peak-memory": "MiB", "connections": "requests/s", "watched": "ms of CPU"}
"""The units of groups that do not measure milliseconds."""

K, M = 1_000, 1_000_000
RPC, RAY, ECHO, FLOOR = "torch RPC", "Ray actor", "echo", "floor, memory"
MEMORY, LMDB, RELAXED, REDIS = "service, memory:", "service, LMDB", "service, LMDB relaxed", "service, Redis"
CLIENT = "service, memory:, Python client"
FUSED, IN_PLACE = "engine fused", "engine fused, in place"
SMALL, ALONE, SAVED, CONNECTIONS = "small-step", "small-step-alone", "small-step-saved", "connections"
ONE, TWO = "one-thread", "two-threads"
MACHINE, ALWAYS = "one-machine", "appendfsync-always"
LIMIT = "load generator's limit"

ROWS = (
    Row("step of 1 k, `memory:`, in turns", "bare ASGI echo", SMALL, 1 * K, MEMORY, ECHO, at_most=3.0),
    Row("step of 1 k, `memory:`, alone", "bare ASGI echo", ALONE, 1 * K, MEMORY, ECHO, at_most=4.5),
    Row(
        "64 connections, each with a session of 1 k, `memory:`, requests a second", "bare ASGI echo",
        CONNECTIONS, 1 * K, MEMORY, ECHO, at_least=0.20,
    ),
    Row("step of 1 k, Redis", RPC, "step", 1 * K, REDIS, RPC, at_most=0.60),
    Row(
        "step of 1 k, LMDB default", "a file written and synced, plus the echo",
        SAVED, 1 * K, LMDB, "file, synced", ECHO, at_most=3.0,
    ),
    Row(
        "step of 10 M, unix socket and region, `memory:`, Python client, copied in", "Ray actor",
        MACHINE, 10 * M, "service, unix socket", RAY, at_most=0.75,
    ),
    Row(
        "step of 10 M, unix socket and region, `memory:`, Python client, gradients made in the region", "Ray actor",
        MACHINE, 10 * M, "service, unix socket, made in the region", RAY, at_most=0.60,
    ),
    Row("step of 10 M, TCP, `memory:`", "the floor, unsaved", "step", 10 * M, MEMORY, FLOOR, at_most=1.25),
    Row("step of 10 M, Redis", "the floor", "step", 10 * M, REDIS, "floor, Redis", at_most=1.15),
    Row("step of 10 M, Redis", RPC, "step", 10 * M, REDIS, RPC, at_most=1.15),
    Row(
        "step of 10 M, LMDB default", "bare py-lmdb, plus the floor, unsaved",
        "lmdb", 10 * M, LMDB, "bare LMDB", FLOOR, at_most=1.15,
    ),
    Row(
        "step of 10 M, LMDB relaxed", "bare py-lmdb relaxed, plus the floor, unsaved",
        "lmdb-relaxed", 10 * M, RELAXED, "bare LMDB relaxed", FLOOR, at_most=1.25,
    ),
    Row(
        "40 MB up and down, no step", "bare-socket exchange",
        "exchange", 10 * M, "service", "bare socket", at_most=1.15,
    ),
    Row(
        "engine, fused, in place, one thread, 10 M", "torch fused, one thread",
        ONE, 10 * M, IN_PLACE, "torch fused", at_most=0.90,
    ),
    Row(
        "engine, fused, in place, two threads, 10 M", "torch fused, two threads",
        TWO, 10 * M, IN_PLACE, "torch fused", at_most=0.90,
    ),
    Row(
        "engine, NumPy, one thread, 10 M", "torch foreach, one thread",
        ONE, 10 * M, "engine", "torch foreach", at_most=0.80,
    ),
    Row(
        "engine, NumPy, 1,000 tensors of 100", "engine, NumPy, one tensor of 100,000",
        "tensors", 100 * K, "1,000 tensors", "one tensor", at_most=2.2,
    ),
    Row(
        "engine, fused, 1,000 tensors of 100", "engine, fused, one tensor of 100,000",
        "tensors", 100 * K, "1,000 tensors, fused", "one tensor, fused", at_most=3.0,
    ),
    Row(
        "step of 100 k in 1,000 tensors, `memory:`, Python client", "the same in one tensor",
        "client-tensors", 100 * K, "1,000 tensors", "one tensor", at_most=3.0,
    ),
    Row(
        "step of 10 M, TCP, `memory:`, `RemoteAdamW` of torch", "the same by `session.step` from NumPy",
        "client-torch", 10 * M, "service, memory:, RemoteAdamW", CLIENT, at_most=1.25,
    ),
    Row(
        "step of 1,000 rows next to each other, of a table of 1 M × 64, `memory:`", "a step of as many elements, dense",
        "table", 1 * K, "rows next to each other", "as many elements, dense", at_most=1.5,
    ),
    Row(
        "step of all rows of the same table", "a step of 1,000 rows anywhere",
        "table", 1 * K, "the table, dense", "rows anywhere", at_least=100,
    ),
    Row(
        "round of 8 workers × 1 M, TCP, `memory:`", "8 uploads at the wire's speed, plus a plain step of 1 M",
        "workers", 1 * M, "service, memory:, 8 workers", "sink, 8 uploads", MEMORY, at_most=1.3,
    ),
    Row("step of 100 k as JSON, Redis", "plain FastAPI", "json", 100 * K, REDIS, "plain FastAPI", at_most=0.45),
    Row(
        "CPU of the server, step of 1 k, `memory:`, its events followed", "the same, nobody follows",
        "watched", 1 * K, "followed", "not followed", at_most=1.03,
    ),
    Row(
        "peak memory, step of 10 M, `memory:`", "3 × state + 2 × body",
        "peak-memory", 10 * M, "server on memory:", "3 × state + 2 × body", at_most=0.95,
    ),
)  # fmt: skip
"""The promises."""

BESIDE = (
    Row("the echo, 64 connections, requests a second", LIMIT, CONNECTIONS, 1 * K, ECHO, LIMIT),
    Row("step of 1 k, `memory:`", RPC, "step", 1 * K, MEMORY, RPC),
    Row("step of 1 k, LMDB default", RPC, "step", 1 * K, LMDB, RPC),
    Row("step of 1 k, Redis", RAY, "step", 1 * K, REDIS, RAY),
    Row("step of 1 k, Redis, appendfsync always", RPC, ALWAYS, 1 * K, REDIS, RPC),
    Row("the floor, unsaved, 10 M", RPC, "step", 10 * M, FLOOR, RPC),
    Row("the floor with Redis, 10 M", RPC, "step", 10 * M, "floor, Redis", RPC),
    Row("Ray actor, 10 M", RPC, "step", 10 * M, RAY, RPC),
    Row("step of 10 M, TCP, `memory:`", RPC, "step", 10 * M, MEMORY, RPC),
    Row("step of 10 M, TCP, `memory:`, Python client", "the same, bare-socket client", "step", 10 * M, CLIENT, MEMORY),
    Row("step of 10 M, TCP, `memory:`, Python client", "Ray actor", MACHINE, 10 * M, CLIENT, RAY),
    Row("step of 10 M, LMDB relaxed", RPC, "step", 10 * M, RELAXED, RPC),
    Row("step of 10 M, LMDB default", RPC, "step", 10 * M, LMDB, RPC),
    Row("step of 10 M, Redis, appendfsync always", RPC, ALWAYS, 10 * M, REDIS, RPC),
    Row("engine, fused, new state, one thread, 10 M", "torch fused, one thread", ONE, 10 * M, FUSED, "torch fused"),
    Row("engine, fused, new state, two threads, 10 M", "torch fused, two threads", TWO, 10 * M, FUSED, "torch fused"),
    Row("engine, NumPy, two threads, 10 M", "torch foreach, two threads", TWO, 10 * M, "engine", "torch foreach"),
    Row("step of 1 k with traces, alone", "the same without", "traces", 1 * K, "service, memory:, traced", MEMORY),
    Row("health of 10 M, `memory:`", "a step of 10 M", "health", 10 * M, "health, memory:", MEMORY),
    Row(
        "step of 100 k as JSON, Redis", "plain FastAPI, answers untyped",
        "json", 100 * K, REDIS, "plain FastAPI, answers untyped",
    ),
    Row(
        "peak memory, step of 10 M, Redis", "3 × state + 2 × body",
        "peak-memory", 10 * M, "server on Redis", "3 × state + 2 × body",
    ),
)  # fmt: skip
"""The comparisons, which explain the promises."""


def results(rows: tuple[Row, ...], measured: Measured) -> Iterator[Result | None]:
    """Yield the results in the order of the rows; `None` for a row that was not measured."""
    for row in rows:
        found = measured.get(row.group, {}).get(str(row.size), {})
        reference = [row.that] if row.plus is None else [row.that, row.plus]
        if {row.this, *reference} <= found.keys():
            yield Result(row, found[row.this]["median"], sum(found[name]["median"] for name in reference))
        else:
            yield None


def verdict(found: Sequence[Result | None]) -> str:
    """Return the verdict on a promise from its results on all processors: one miss is enough for a no."""
    if any(result and not result.is_kept for result in found):
        return "**no**"
    return "yes" if found and all(found) else NOT_MEASURED


def promises(runs: Runs) -> list[list[str]]:
    """Return the cells of the table of promises; the first row is its head."""
    lines = [["work", "against", "promise", "kept", *runs]]
    for row, *found in zip(ROWS, *(results(ROWS, measured) for measured in runs.values()), strict=True):
        lines.append([row.work, row.against, row.bound, verdict(found), *map(_cell, found)])
    return lines


def comparisons(runs: Runs) -> list[list[str]]:
    """Return the cells of the table of comparisons; the first row is its head."""
    lines = [["work", "against", *runs]]
    for row, *found in zip(BESIDE, *(results(BESIDE, measured) for measured in runs.values()), strict=True):
        lines.append([row.work, row.against, *map(_cell, found)])
    return lines


GROWING = (MEMORY, RELAXED, LMDB, REDIS, RPC, RAY)


def growth(runs: Runs) -> list[list[str]]:
    """Return the table of the ratios between steps of ten times the parameters."""
    lines = [["step", *(f"{name}, {sizes}" for name in runs for sizes in ("1 M to 10 M", "10 M to 100 M"))]]
    for name in GROWING:
        times = []
        for measured in runs.values():
            sizes = [measured.get("step", {}).get(str(size), {}) for size in (M, 10 * M, 100 * M)]
            medians = [found[name]["median"] if name in found else None for found in sizes]
            times += [f"{b / a:.1f} ×" if a and b else NOT_MEASURED for a, b in pairwise(medians)]
        lines.append([f"`{name}`", *times])
    return lines


def _cell(result: Result | None) -> str:
    """Return the ratio and the medians; the ratio is bold if it misses its bound."""
    if result is None:
        return NOT_MEASURED
    ratio = f"{result.ratio:.2f}" if result.is_kept else f"**{result.ratio:.2f}**"
    unit = UNITS.get(result.row.group, "ms")
    return f"{ratio} ({shown(result.this)} to {shown(result.that)} {unit})"


def shown(value: float) -> str:
    """Return the number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
