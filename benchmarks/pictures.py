"""The pictures of `docs/performance.md`: cost against size, one set for each processor. Needs neither torch nor Ray."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.plots import Chart, Line, draw
from benchmarks.table import FLOOR, FUSED, IN_PLACE, LMDB, MEMORY, ONE, RAY, REDIS, RELAXED, RPC, TWO, Measured

LOOKS = {
    MEMORY: "c0",
    RELAXED: "c1",
    LMDB: "c2",
    REDIS: "c3",
    RPC: "c4 peer",
    RAY: "c5 peer",
    FLOOR: "c6 floor",
    "floor, Redis": "c7 floor",
}
IN_PROCESS_LOOKS = {
    "engine": "c0",
    FUSED: "c1",
    IN_PLACE: "c2",
    "torch fused": "c4 peer",
    "torch foreach": "c5 peer",
    "torch single-tensor": "c6 peer",
}
JSON_LOOKS = {
    REDIS: "c3",
    "plain FastAPI": "c4 peer",
    "plain FastAPI, answers untyped": "c5 peer",
}


def _of_a_step(size: int, ms: float) -> float:
    return ms


def _of_a_parameter(size: int, ms: float) -> float:
    """Return nanoseconds."""
    return 1e6 * ms / size


@dataclass(frozen=True)
class Picture:
    """A picture of a group: its words, the looks of its lines by competitor, and the cost that they show."""

    title: str
    subtitle: str
    unit: str
    group: str
    looks: Mapping[str, str]
    cost: Callable[[int, float], float] = _of_a_step

    def draw(self, measured: Measured) -> str:
        """Return the SVG. A competitor that was not measured has no line."""
        lines = []
        for name, look in self.looks.items():
            sizes = {int(size): found[name] for size, found in measured[self.group].items() if name in found}
            if sizes:
                lines.append(Line(name, look, [(size, self.cost(size, at["median"])) for size, at in sizes.items()]))
        return draw(Chart(self.title, self.subtitle, self.unit, lines))


PICTURES = {
    "step": Picture(
        "One step, by the number of parameters",
        "gradients to another process, new parameters back; medians",
        "ms",
        "step",
        LOOKS,
    ),
    "step-per-parameter": Picture(
        "The same for each parameter: where a line is flat, cost grows linearly",
        "nanoseconds of a step, divided by its parameters",
        "ns",
        "step",
        LOOKS,
        _of_a_parameter,
    ),
    "step-json": Picture(
        "One step as JSON lists",
        "parameters and gradients there, new parameters back, moments on Redis; medians",
        "ms",
        "json",
        JSON_LOOKS,
    ),
    "step-in-process-1": Picture(
        "The arithmetic alone, one thread",
        "AdamW in process, nanoseconds for each parameter; medians",
        "ns",
        ONE,
        IN_PROCESS_LOOKS,
        _of_a_parameter,
    ),
    "step-in-process-2": Picture(
        "The arithmetic alone, two threads",
        "AdamW in process, nanoseconds for each parameter; medians",
        "ns",
        TWO,
        IN_PROCESS_LOOKS,
        _of_a_parameter,
    ),
}
"""The pictures by name."""
