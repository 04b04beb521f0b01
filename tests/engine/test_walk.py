"""The walk over a run: block by block it gives the same bits, and numbers are filled once."""

from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, arrays, step
from optim_engine.arrays import CHUNK
from optim_engine.sums import chunks_of
from optim_engine.walk import Update, Vectors, update_blocks
from tests.engine.cases import RULES, Case, each_case_and_dtype, tensors
from tests.engine.packs import run, same


@each_case_and_dtype
def test_blocks_of_any_size_give_the_same_bits(case: Case, dtype: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(case, dtype, steps=3)
    monkeypatch.setattr(arrays, "BLOCK", 25)
    assert same(whole, run(case, dtype, steps=3))


def test_only_the_first_chunk_fills_the_product_of_its_tensor() -> None:
    """The others would fill it once more when it may be on its way to a store."""
    config, size = Config.parse("nadam"), CHUNK + 5
    update = Update(config.rule_of(None), config.hyperparameters, 1, 0.1, 1.0, None, (size,))
    x = np.ones(size, np.float32)
    old = {"m": x, "v": x, "params": x, "mu_product": np.zeros(1)}
    new = {"m": x.copy(), "v": x.copy(), "params": x.copy(), "mu_product": np.full(1, 7.0)}
    first, second = chunks_of([size])
    for chunk, filled in [(second, False), (first, True)]:
        update_blocks(update, Vectors(x, old, new).of(chunk), chunk)
        assert (new["mu_product"] != 7).all() == filled
    assert (new["params"] != 1).all()


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_a_step_in_place_reads_the_old_moments(case: Case) -> None:
    """A session that takes a tensor anew is updated in place: the old moments are those that are overwritten."""
    config = Config.parse(case.optimizer, hyperparameters=case.hyperparameters, hold_params=True)
    params, grads = case.tensors(0, np.float32), case.tensors(1, np.float32)
    state = step(config, State.empty(), params, grads).state
    new = {"new": case.shaped(np.ones(6))}
    in_place = step(config, state.with_params(new), {}, {**case.tensors(2, np.float32), **new}).state
    plain = step(config, state, {}, case.tensors(2, np.float32)).state
    for slot, tensor, array in plain.arrays():
        assert in_place.array(tensor, slot).tobytes() == array.tobytes(), (slot, tensor)


def test_a_step_in_place_reads_the_old_product() -> None:
    """A session that takes parameters anew is updated in place: every block must see the product of before."""
    config, size = Config.parse("nadam", hold_params=True), {"w": (2 * CHUNK + 5,)}
    params, grads = tensors(0, np.float32, size), tensors(1, np.float32, size)
    state = step(config, State.empty(), params, grads).state
    in_place = step(config, state.with_params({"new": np.ones(2)}), {}, {**grads, "new": np.ones(2)})
    plain = step(config, state, {}, grads)
    assert in_place.params["w"].tobytes() == plain.params["w"].tobytes()
    assert in_place.state.array("w", "mu_product") == plain.state.array("w", "mu_product")
