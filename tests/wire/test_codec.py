"""The parts that every codec shares: limits, shapes, and the joining of small buffers."""

from typing import Any

import orjson
import pytest

from app.errors import MalformedBody
from app.wire.codec import LARGEST_COPIED, Limits, checked_shape, checked_weight, joined
from app.wire.codecs import JSON
from tests.wire.steps import ONCE

LIMITS = Limits(max_tensors=3, max_name_length=8)


@pytest.mark.parametrize("section", ["params", "grads"])
@pytest.mark.parametrize(
    "tensors", [{"": 1}, {"x" * 9: 1}, {"ü" * 9: 1}, {"x" * 100_000: "no tensor"}, dict.fromkeys("abcd", 1), [], "w", 1]
)
def test_names_and_numbers_of_tensors_are_bounded(section: str, tensors: Any) -> None:
    with pytest.raises(MalformedBody) as raised:
        JSON.read_step(orjson.dumps({section: tensors}), LIMITS, ONCE)
    assert len(str(raised.value.problem())) < 500


def test_small_buffers_are_joined_and_large_ones_stay() -> None:
    large = bytes(LARGEST_COPIED)
    assert joined([b"a", b"b", large, b"c"]) == [b"ab", large, b"c"]
    assert joined([large, b"", b"c"])[0] is large
    assert joined([]) == []


@pytest.mark.parametrize("shape", [[], [0], [0, 5], [2, 3], [1] * 32, [(1 << 48) - 1]])
def test_a_shape_is_read(shape: list[int]) -> None:
    assert checked_shape("w", shape) == tuple(shape)


@pytest.mark.parametrize("shape", [None, 3, [-1], [True], [1.0], [1] * 33, [1 << 48], [0, 1 << 48], [1 << 24, 1 << 24]])
def test_an_impossible_shape_is_refused(shape: Any) -> None:
    with pytest.raises(MalformedBody) as raised:
        checked_shape("w", shape)
    assert raised.value.fields["tensor"] == "w"


@pytest.mark.parametrize("weight", [0.0, -1.0, 5e-324, 1e-320, 1e308, float("inf"), float("nan")])
def test_a_weight_that_sums_would_lose_is_refused(weight: float) -> None:
    with pytest.raises(MalformedBody, match="weight"):
        checked_weight(weight)
