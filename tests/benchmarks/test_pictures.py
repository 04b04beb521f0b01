"""The pictures of the benchmarks' results."""

import pytest

from benchmarks.pictures import PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_the_competitors_that_were_measured(name: str) -> None:
    picture = PICTURES[name]
    first, second, *_ = picture.looks
    both = {picture.group: {"1000": {first: {"median": 1.0}, second: {"median": 2.0}, "a stranger": {"median": 3.0}}}}
    one = {picture.group: {"1000": {first: {"median": 1.0}}}}
    assert f">{second}</text>" in picture.draw(both)
    assert f">{second}</text>" not in picture.draw(one)
    assert "stranger" not in picture.draw(both)


def test_a_parameter_costs_its_part_of_a_step() -> None:
    assert PICTURES["step"].cost(1_000, 2.0) == 2.0
    assert PICTURES["step-per-parameter"].cost(1_000, 2.0) == 2_000.0
