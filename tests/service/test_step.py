"""One step as it is asked for and answered: its size, and the word for what became of it."""

import numpy as np
import pytest

from app.once import Once
from app.step import KeptAnswer, StepAnswer, StepRequest

KEPT = KeptAnswer(step=1, key=None, body="", lr=None, metrics={}, digest="")


def test_the_size_of_a_request_counts_gradients_and_parameters() -> None:
    grads, params = {"w": np.zeros(3, np.float32), "b": np.zeros(0)}, {"w": np.zeros(3, np.float64)}
    assert StepRequest(grads, Once("POST …")).nbytes == 12
    assert StepRequest(grads, Once("POST …"), params).nbytes == 36


@pytest.mark.parametrize(
    ("skipped", "replayed", "outcome"),
    [(False, False, "applied"), (True, False, "skipped"), (False, True, "replayed"), (True, True, "replayed")],
)
def test_an_answer_says_what_became_of_its_step(skipped: bool, replayed: bool, outcome: str) -> None:
    assert StepAnswer(KEPT, {}, '"1-a"', skipped, replayed).outcome == outcome
