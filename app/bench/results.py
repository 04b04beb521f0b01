"""The results of a bench: the parts of a step, what limits it, and the tables for people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.bench.timing import Times


@dataclass(frozen=True)
class Step:
    """A step of one size: its times, and those of what it cannot do without.

    `preview` is the same step without the save, `echo` the same bytes to and fro on this machine, `engine` the
    arithmetic alone.
    """

    size: int
    sent_bytes: int
    step: Times
    preview: Times
    echo: Times
    engine: Times
    json: Times | None = None

    @property
    def parts(self) -> Mapping[str, float]:
        """Return the milliseconds of each part of the median step; what is left is the service's own."""
        step, preview = self.step.p50, min(self.step.p50, self.preview.p50)
        echo, engine = min(self.echo.p50, preview), min(self.engine.p50, preview)
        own = max(0.0, preview - echo - engine)
        return {"sockets": echo, "engine": engine, "service": own, "store": step - preview}

    @property
    def limit(self) -> str:
        """Return the largest part, with its share of the step."""
        name, most = max(self.parts.items(), key=lambda part: part[1])
        return f"{name} ({most / sum(self.parts.values()):.0%})"

    def document(self) -> dict[str, object]:
        """Return the results for programs, in milliseconds."""
        json = {"json_p50": self.json.p50} if self.json else {}
        return {
            "parameters": self.size, "p50": self.step.p50, "p99": self.step.p99, **json, "parts": dict(self.parts),
            "mb_per_second": self.megabytes, "limited_by": self.limit,
        }  # fmt: skip

    @property
    def megabytes(self) -> float:
        """Return the megabytes a second, to and fro together."""
        return 2 * self.sent_bytes / 1e6 / (self.step.p50 / 1e3)


@dataclass(frozen=True)
class Results:
    """The results: the steps by size, and by the number of connections the answers a second."""

    steps: tuple[Step, ...]
    rates: Mapping[int, tuple[float, float]]
    """By connections, the service's answers a second and those of the echo."""

    def document(self) -> dict[str, object]:
        """Return the results for programs."""
        rates = {str(count): {"steps": own, "echo": echo} for count, (own, echo) in self.rates.items()}
        return {"steps": [step.document() for step in self.steps], "per_second": rates}

    def step_rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of the table of steps, a column for each size."""
        yield "one step, median", *(_ms(step.step.p50) for step in self.steps)
        for part in self.steps[0].parts:
            yield f"  of it {part}", *(_ms(step.parts[part]) for step in self.steps)
        yield "one step, 99th percentile", *(_ms(step.step.p99) for step in self.steps)
        yield "as JSON, median", *(_ms(step.json.p50) if step.json else "–" for step in self.steps)
        yield "MB/s, to and fro", *(f"{step.megabytes:,.1f}" for step in self.steps)
        yield "limited by", *(step.limit for step in self.steps)

    def rate_rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of the table of rates, a column for each number of connections."""
        yield "steps/s", *(f"{own:,.0f}" for own, _ in self.rates.values())
        yield "echoes/s", *(f"{echo:,.0f}" for _, echo in self.rates.values())


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3g} ms" if milliseconds < 100 else f"{milliseconds:,.0f} ms"
