"""The training loop: it learns, and resumes at any step."""

import numpy as np
import pytest

from app.demo import digits, network
from app.demo.training import STEPS, Point, first_difference, local_update, train


def _run(update_steps: int, last: int) -> list[Point]:
    train_set, _ = digits.load()
    return list(train(local_update(update_steps), network.init(), train_set, range(1, last + 1)))


@pytest.mark.long
def test_a_run_reaches_97_percent_on_unseen_images() -> None:
    points = _run(STEPS, STEPS)
    _, test = digits.load()
    assert network.accuracy(points[-1].params, test) >= 0.97
    assert points[-1].loss < points[0].loss / 20


def test_a_resumed_run_equals_an_unbroken_one() -> None:
    train_set, _ = digits.load()
    update = local_update(60)
    first = list(train(update, network.init(), train_set, range(1, 31)))
    second = list(train(update, first[-1].params, train_set, range(31, 61)))
    assert first_difference([*first, *second], train_set) is None


def test_a_single_differing_bit_is_found_at_its_step() -> None:
    points = _run(40, 40)
    changed = {name: tensor.copy() for name, tensor in points[24].params.items()}
    changed["hidden.bias"][3] = np.nextafter(changed["hidden.bias"][3], np.float32(1))
    points[24] = Point(25, points[24].loss, changed)
    assert first_difference(points, digits.load()[0]) == 25
