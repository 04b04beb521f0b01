"""Gradients that are rounded to halves: the bits of NumPy and ml_dtypes, and the log of underflows and overflows."""

import time
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from optim_client._halves import BLOCK, Loss, narrow

from tests.client.conftest import Connect

DTYPES: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
each_half = pytest.mark.parametrize("half", DTYPES)


def narrowed(values: NDArray[np.float32], half: str, loss: Loss | None = None) -> NDArray[Any]:
    into = np.empty(values.shape, DTYPES[half])
    narrow(values, into, loss)
    return into


def assert_rounds_as_the_reference(values: NDArray[np.float32], half: str) -> None:
    with np.errstate(all="ignore"):
        expected = values.astype(DTYPES[half])
    got = narrowed(values, half)
    differ = (got.view(np.uint16) != expected.view(np.uint16)) & ~np.isnan(values)
    assert not differ.any(), values[differ][:5]
    assert np.array_equal(np.isnan(got), np.isnan(values))


@each_half
def test_every_exponent_is_rounded_to_nearest_even(half: str) -> None:
    """Round all signs and exponents, with low bits at, just below and just above each middle."""
    high = np.arange(1 << 19, dtype=np.uint32)[:, None] << np.uint32(13)
    low = np.uint32([0, 1, 0x7FF, 0x800, 0x801, 0xFFF, 0x1000, 0x1001, 0x1FFE, 0x1FFF])
    values = (high | low).reshape(-1).view(np.float32)
    assert_rounds_as_the_reference(values, half)


@each_half
def test_random_bits_are_rounded_right(half: str) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 4_000_000, np.uint32)
    assert_rounds_as_the_reference(bits.view(np.float32), half)
    finite = bits & np.uint32(0x8000_FFFF) | (bits & np.uint32(0x3FFF_0000)) % np.uint32(0x4780_0000)
    assert_rounds_as_the_reference(finite.view(np.float32), half)


@each_half
def test_results_below_the_least_normal_and_ties_are_rounded_right(half: str) -> None:
    steps = np.arange(-(1 << 13), 1 << 13, dtype=np.float64)
    for unit in (2.0**-24, 2.0**-25, 2.0**-26, 2.0**-133, 2.0**-134):
        values = (steps * unit).astype(np.float32)
        assert_rounds_as_the_reference(np.concatenate([values, np.nextafter(values, np.float32(1))]), half)


@each_half
@pytest.mark.parametrize("length", [0, 1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_every_length_is_converted_whole(half: str, length: int) -> None:
    assert_rounds_as_the_reference(np.random.default_rng(length).standard_normal(length, np.float32), half)


@each_half
def test_shapes_are_kept(half: str) -> None:
    for shape in ((), (3, 4), (2, 0), (2, 3, 5)):
        values = np.random.default_rng(0).standard_normal(shape, np.float32)
        assert narrowed(np.asarray(values), half).tolist() == np.asarray(values).astype(DTYPES[half]).tolist()


@pytest.mark.parametrize(
    ("half", "value", "zeros", "infinities"),
    [
        ("float16", 1e-8, 1, 0), ("float16", -1e-8, 1, 0), ("float16", 2.0**-25, 1, 0), ("float16", 3.1e-8, 0, 0),
        ("float16", 65519, 0, 0), ("float16", 65520, 0, 1), ("float16", -1e30, 0, 1), ("float16", 0.0, 0, 0),
        ("float16", -0.0, 0, 0), ("float16", np.inf, 0, 0), ("float16", np.nan, 0, 0), ("float16", 1e-45, 1, 0),
        ("bfloat16", 1e-8, 0, 0), ("bfloat16", 1e-41, 1, 0), ("bfloat16", 3.4e38, 0, 1), ("bfloat16", -np.inf, 0, 0),
        ("bfloat16", np.nan, 0, 0), ("bfloat16", 0.0, 0, 0),
    ],
)  # fmt: skip
def test_underflows_and_overflows_are_counted(half: str, value: float, zeros: int, infinities: int) -> None:
    loss = Loss()
    narrowed(np.float32([1, value, 0, np.inf, 2]), half, loss)
    assert (loss.zeros, loss.infinities) == (zeros, infinities)
    assert bool(loss) == bool(zeros or infinities)


def test_small_gradients_are_converted_as_quickly_as_others() -> None:
    """Compare times: NumPy needs 25 times as long for small ones. A busy machine may stretch either."""
    values = np.random.default_rng(0).standard_normal(1 << 20, np.float32)
    small = values * np.float32(1e-6)
    into = np.empty(len(values), np.float16)

    def seconds(array: NDArray[np.float32]) -> float:
        started = time.process_time()
        for _ in range(5):
            narrow(array, into)
        return time.process_time() - started

    assert min(seconds(small) / seconds(values) for _ in range(5)) < 3


@each_half
def test_a_loss_is_logged_once_for_a_session(connect: Connect, caplog: pytest.LogCaptureFixture, half: str) -> None:
    client = connect("memory:")
    small = np.float32([1, 1e-41, 3e38 if half == "float16" else 1])
    for _ in range(2):
        session = client.sessions.create("sgd", lr=0.1, wire_dtype=half, hold_params=True, on_non_finite="skip")
        session.put_params({"w": np.zeros(3, np.float32), "v": np.zeros(3, np.float32)})
        session.step(grads={"w": np.float32([1, 2, 0]), "v": np.zeros(3, np.float32)})
        assert not caplog.messages
        for _ in range(3):
            session.step(grads={"v": small, "w": small})
        said = "1 that were not zero became zero" + " and 1 that were finite became infinite" * (half == "float16")
        assert caplog.messages == [f"session {session.id}: of grads['v'], {said} on the way in {half}"]
        caplog.clear()
