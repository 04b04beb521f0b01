"""The comparison of competitors' parameters."""

import numpy as np
import pytest

from benchmarks.agreement import check_agreement
from benchmarks.peers.engine import Engine
from benchmarks.peers.plain_fastapi import adamw
from optim_engine.arrays import Array

START, GRADS = np.random.default_rng(0).standard_normal((2, 1000), np.float32)


def by_the_engine(steps: int) -> Array:
    engine = Engine({"w": START}, {"w": GRADS})
    return [engine.step() for _ in range(steps)][-1].params["w"]


def textbook(steps: int) -> Array:
    params, moments = START, (0, np.zeros_like(START), np.zeros_like(START))
    for _ in range(steps):
        params, moments = adamw(params, GRADS, moments)
    return params


def test_the_plain_service_computes_the_engines_steps() -> None:
    check_agreement({"engine": by_the_engine(50), "plain": textbook(50)}, START)


def test_a_missing_step_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="'plain' and 'engine' do not take the same steps"):
        check_agreement({"engine": by_the_engine(50), "plain": textbook(49)}, START)


def test_parameters_that_never_moved_are_noticed() -> None:
    with pytest.raises(RuntimeError, match="do not take the same steps"):
        check_agreement({"engine": by_the_engine(1), "idle": START}, START)
