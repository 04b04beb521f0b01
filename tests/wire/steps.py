"""A step's conditions and its answer, for what codecs read and write."""

from typing import Any

from app.once import Once
from app.step import KeptAnswer, StepAnswer
from optim_engine.arrays import Arrays

ONCE = Once("POST …/steps")


def answer_of(
    params: Arrays, *, rows: Arrays | None = None, step: int = 1, skipped: bool = False, **kept: Any
) -> StepAnswer:
    """Return the answer of a step that led to these parameters."""
    about = {"metrics": {}, "digest": "d", "params_digest": "p"} | kept
    kept_answer = KeptAnswer(step=step, key=None, body="", lr=None, **about)
    return StepAnswer(kept_answer, params, '"1-a"', skipped, rows=rows or {})
