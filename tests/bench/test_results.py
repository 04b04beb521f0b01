"""The results: the parts of a step, what limits it, and the tables."""

from app.bench.results import Results, Step
from app.bench.timing import Times


def times(milliseconds: float) -> Times:
    return Times((milliseconds,))


STEP = Step(1000, 4000, step=times(10), preview=times(4), echo=times(1), engine=times(0.5), json=times(12))
RESULTS = Results((STEP,), {1: (100.0, 1000.0)})


def test_the_parts_of_a_step_add_up_to_it() -> None:
    assert STEP.parts == {"sockets": 1, "engine": 0.5, "service": 2.5, "store": 6}
    assert STEP.limit == "store (60%)"


def test_a_noisy_measurement_leaves_no_negative_part() -> None:
    noisy = Step(1000, 4000, step=times(3), preview=times(4), echo=times(5), engine=times(5))
    assert min(noisy.parts.values()) >= 0
    assert noisy.parts["store"] == 0


def test_bytes_are_counted_to_and_fro() -> None:
    assert STEP.megabytes == 0.8


def test_the_tables_and_the_document_say_the_same() -> None:
    rows = dict(row for row in RESULTS.step_rows())
    assert (rows["one step, median"], rows["as JSON, median"], rows["limited by"]) == ("10 ms", "12 ms", "store (60%)")
    assert dict(RESULTS.rate_rows()) == {"steps/s": "100", "echoes/s": "1,000"}
    document = RESULTS.document()
    assert document["per_second"] == {"1": {"steps": 100.0, "echo": 1000.0}}
    assert document["steps"] == [
        {
            "parameters": 1000, "p50": 10, "p99": 10, "json_p50": 12, "parts": STEP.parts, "mb_per_second": 0.8,
            "limited_by": "store (60%)",
        }
    ]  # fmt: skip
